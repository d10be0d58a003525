"""What people ask of the scheduler in the crash scenario: a hundred jobs, and all that befalls them, from one seed."""

import random
from collections.abc import Iterator

from msgspec import Struct

from scheduler.model.accelerators import Accelerator, Catalog, Figure, Track, WorkClass
from scheduler.model.cluster import Cell, Cluster, NodeState, Pool
from scheduler.model.events import Actor, Configured, JobAction
from scheduler.model.jobs import (
    Array,
    Checkpoint,
    Dependency,
    Job,
    JobType,
    Moves,
    Option,
    Resources,
    Retries,
    Role,
    Work,
)
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants
from scheduler.model.units import US_PER_S
from tests.crash.world import WORK

JOBS = 100
ARRAYS = (20, 60)
ARRAY_SIZE = 5


class Ask(Struct, frozen=True):
    """One request at a time: a submission, an action on the job of an earlier ask, or a state for a node."""

    at_us: int
    actor: Actor
    job: Job | None = None
    action: JobAction | None = None
    of: int = -1  # number of the ask that submitted the job
    node: str = ""
    state: NodeState | None = None


def configuration() -> Configured:
    """Two cells: 3 nodes of H200 beside 2 of H20, and 2 more of H20; three tenants who all want the H200."""
    kinds = tuple(
        Accelerator(
            name=name,
            family=name,
            vendor="nvidia",
            adapter="nvidia",
            track=Track.IMPORTED,
            compute_units=units,
            hbm_gib=Figure(141.0, 141.0, 141.0),
            rates={WorkClass.DENSE_TRAINING: Figure(units / 1000, units / 1000, units / 1000)},
        )
        for name, units in (("h200", 6000), ("h20", 1000))
    )

    def pool(name: str, kind: str, nodes: int) -> Pool:
        return Pool(
            name=name, accelerator=kind, nodes=nodes, devices_per_node=8, cpu_milli=96_000, memory_mib=1_000_000
        )

    north = Cell(name="north", executor="fake", pools=(pool("fast", "h200", 3), pool("slow", "h20", 2)))
    south = Cell(name="south", executor="fake", pools=(pool("more", "h20", 2),))
    tenants = tuple(
        Tenant(name=name, quotas=(Quota(resource="h200", nominal=fast), Quota(resource="h20", nominal=slow)))
        for name, fast, slow in (("search", 8, 16), ("ads", 8, 24), ("labs", 8, 16))
    )
    return Configured(
        catalog=Catalog(kinds),
        cluster=Cluster(name="crash", cells=(north, south)),
        tenants=Tenants(tenants=tenants),
        rules=Rules(),
        policy=Policy(
            min_run_us=5 * US_PER_S,
            notice_min_us=2 * US_PER_S,
            notice_max_us=4 * US_PER_S,
            start_timeout_us=60 * US_PER_S,
            stop_grace_us=10 * US_PER_S,
        ),
    )


def asks(seed: int) -> tuple[Ask, ...]:
    """A hundred jobs by arrival (arrays count by their members), with actions and nodes that go and come back."""
    chance = random.Random(seed)
    found = list(_submissions(chance))
    single = [n for n, ask in enumerate(found) if ask.job is not None and ask.job.array is None]
    for action, count in ((JobAction.CANCEL, 4), (JobAction.REQUEUE, 3), (JobAction.SUSPEND, 3)):
        for of in chance.sample(single, count):
            at_us = found[of].at_us + chance.randint(1, 30) * US_PER_S
            found.append(Ask(at_us, found[of].actor, action=action, of=of))
            if action is JobAction.SUSPEND:
                found.append(Ask(at_us + 40 * US_PER_S, found[of].actor, action=JobAction.RESUME, of=of))
    operator = Actor("olga", "", True)
    for node, state, at_s in (
        ("fast-0", NodeState.DRAINING, 60),
        ("fast-0", NodeState.READY, 100),
        ("slow-1", NodeState.DOWN, 120),
        ("slow-1", NodeState.READY, 170),
        ("more-0", NodeState.CORDONED, 30),
        ("more-0", NodeState.READY, 90),
    ):
        found.append(Ask(at_s * US_PER_S, operator, node=node, state=state))
    return tuple(found)


def _submissions(chance: random.Random) -> Iterator[Ask]:
    at_us = US_PER_S
    newest: dict[str, str] = {}
    for number in range(JOBS - len(ARRAYS) * (ARRAY_SIZE - 1)):
        at_us += chance.randint(0, 5) * US_PER_S
        tenant = chance.choice(("search", "ads", "labs"))
        array = Array(first=0, last=ARRAY_SIZE - 1, max_running=2) if number in ARRAYS else None
        after = (Dependency(job=newest[tenant]),) if tenant in newest and chance.random() < 0.1 else ()
        job = _job(chance, number, tenant, array, after)
        newest[tenant] = job.name
        yield Ask(at_us, Actor(f"{tenant}-{number % 3}", tenant, True), job)


def _job(chance: random.Random, number: int, tenant: str, array: Array | None, after: tuple[Dependency, ...]) -> Job:
    small = Option(accelerator="h20", counts=chance.choice(((1,), (2, 4), (8,))))
    large = Option(accelerator="h200", counts=chance.choice(((1, 2), (4,), (8,))))
    options = chance.choice(((large, small), (large,), (small,)))
    role = Role(entrypoint=("train", str(number)), resources=Resources(options=options), env={"B": "1", "A": "2"})
    return Job(
        name=f"job-{number}",
        type=JobType.TRAINING,
        roles=(role,),
        tenant=tenant,
        job_class=chance.choice((JobClass.PRODUCTION, JobClass.STANDARD, JobClass.STANDARD, JobClass.OPPORTUNISTIC)),
        priority=chance.randint(0, 1000),
        work=Work(amount=WORK),
        moves=Moves.ANY,
        checkpoint=Checkpoint(path=f"ckpt/{number}", every_us=US_PER_S, portable=True),
        retries=Retries(limit=3),
        after=after,
        array=array,
    )
