"""One decision on a small fleet that does not exist, so that what a policy loads and compiles for its first is there
before the first job comes: seconds that somebody would otherwise wait for."""

import logging
import threading

from msgspec import structs

from scheduler.engine import intake
from scheduler.engine.engine import Engine
from scheduler.engine.state import State
from scheduler.model.cluster import Cluster
from scheduler.model.events import Actor, Configured
from scheduler.model.jobs import Job, JobType, Option, Resources, Role
from scheduler.model.rules import Rules
from scheduler.model.tenants import Tenant, Tenants

__all__ = ["rehearse", "rehearse_aside"]

log = logging.getLogger(__name__)


def rehearse(config: Configured) -> int:
    """Decide about three jobs on one pool, under the policy in force; returns how many of them would start."""
    pool = structs.replace(config.cluster.cells[0].pools[0], nodes=1, domain_nodes=1, spare_nodes=0, lot="")
    cell = structs.replace(config.cluster.cells[0], pools=(pool,))
    small = structs.replace(
        config,
        cluster=Cluster(name="rehearsal", cells=(cell,)),
        tenants=Tenants(tenants=(Tenant(name="nobody"),)),
        rules=Rules(),
    )
    engine = Engine(State.new(small))
    actor = Actor("nobody", "nobody", False)
    ids = (f"#{number}" for number in range(3))
    for number in range(3):
        option = Option(accelerator=pool.accelerator, counts=(1,))
        role = Role(entrypoint=("true",), resources=Resources(options=(option,)))
        job = Job(name=f"job-{number}", type=JobType.TRAINING, roles=(role,), tenant="nobody")
        for event in intake.submission(engine.state, job, actor, lambda: next(ids), 0):
            engine.fold(event, 0)
    return len(engine.decide(0).plan.starts)


def rehearse_aside(config: Configured) -> None:
    """In a thread of its own; nothing depends on it."""
    threading.Thread(target=_try, args=(config,), name="rehearsal", daemon=True).start()


def _try(config: Configured) -> None:
    try:
        rehearse(config)
    # What is only there to save time must never stop what it saves time for.
    except Exception:
        log.exception("the rehearsal met a defect")
