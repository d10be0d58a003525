"""The smallest fleets and jobs: one pool of h20-96, one tenant, rates of one unit per second."""

from scheduler.model.cluster import Cell, Cluster, Pool
from scheduler.model.events import Configured
from scheduler.model.jobs import Job, JobType, Measured, Option, Resources, Role, Work
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.tenants import Tenant, Tenants
from tests.simulation.schedules import CATALOG


def configured(nodes: int = 2, accelerator: str = "h20-96", policy: str = "priority") -> Configured:
    """`nodes` nodes of eight devices in one cell, without quota."""
    pool = Pool(
        name="pool",
        accelerator=accelerator,
        nodes=nodes,
        devices_per_node=8,
        cpu_milli=96_000,
        memory_mib=800_000,
    )
    cluster = Cluster(name="small", cells=(Cell(name="cell", executor="fake", pools=(pool,)),))
    return Configured(CATALOG, cluster, Tenants(tenants=(Tenant(name="team"),)), Rules(), Policy(name=policy))


def plain_job(name: str, devices: int = 1, work: float | None = 100.0, accelerator: str = "h20-96") -> Job:
    """One option, one unit of work per second."""
    option = Option(accelerator=accelerator, counts=(devices,))
    measured = Measured(accelerator=accelerator, count=devices, rate=1.0)
    return Job(
        name=name,
        type=JobType.TRAINING,
        roles=(Role(entrypoint=("train",), resources=Resources(options=(option,))),),
        tenant="team",
        work=Work(amount=work, measured=(measured,)),
    )
