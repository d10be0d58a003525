"""A gang that only scattered devices keep out: running jobs move together where that pays, and nowhere else."""

import msgspec
import pytest

from scheduler.engine import Engine, JobRecord
from scheduler.engine.image import decode, encode
from scheduler.model.events import JobAction
from scheduler.model.jobs import Checkpoint, Job, Level, Moves, Topology
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.policy import Policy
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants
from scheduler.policies import DEALS, POLICIES
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool
from tests.support.harness import Table

SAVES = Checkpoint(path="c", save_us=S, restart_us=S)
CROWDED = msgspec.structs.replace(QUICK, many_jobs=0, gap=1.0)
"""As where jobs are many: newcomers are decided about alone for a minute, until much is missing."""

SINGLE_CELL = sorted(set(POLICIES) - set(DEALS) - {"fifo"})


def long(name: str, count: int, **more: object) -> Job:
    spec = job(name, *options(h200=count), **more)
    return msgspec.structs.replace(spec, work=msgspec.structs.replace(spec.work, amount=1e9))


def gang(name: str = "gang", count: int = 4, **more: object) -> Job:
    """All of it on one node."""
    spec = long(name, count, **more)
    (role,) = spec.roles
    resources = msgspec.structs.replace(role.resources, topology=Topology(require=Level.NODE))
    return msgspec.structs.replace(spec, roles=(msgspec.structs.replace(role, resources=resources),))


def scattered(
    policy: str = "priority", *, unsaved: float = 10.0, settings: Policy = QUICK, **spec: object
) -> tuple[Table, list[JobRecord]]:
    """Two nodes of four h200 with one job of one device on each, and no other within an hour's run."""
    named = msgspec.structs.replace(settings, name=policy, placement="spread")
    at = Table(configured(cluster([pool("h200", 2, 4)]), policy=named))
    jobs = [at.submit(long(f"s{n}", 1, **{"checkpoint": SAVES, **spec})) for n in range(2)]
    at.run_all(*jobs)
    at.later(3600)
    for n, found in enumerate(jobs):
        at.progress(found, done=20_000.0, saved=20_000.0 - unsaved * (n + 1))
    assert {found.attempts[-1].allocation.grants[0].node for found in jobs} == {0, 1}
    return at, jobs


def left(at: Table) -> None:
    for found in list(at.state.holding()):
        if found.state is JobState.STOPPING:
            at.end(found, AttemptEnd.PREEMPTED)


@pytest.mark.parametrize("policy", SINGLE_CELL)
def test_the_job_that_loses_least_moves_and_both_start_when_it_has_left(policy):
    at, jobs = scattered(policy)
    asks = at.submit(gang())
    assert at.stops() == [("s0", "resize")]
    assert at.stops() == [], "what moves already is not moved again"
    left(at)
    assert sorted(at.starts()) == ["gang", "s0"]
    nodes = {found.spec.name: found.attempts[-1].allocation.grants[0].node for found in (asks, *jobs)}
    assert nodes["s0"] == nodes["s1"] != nodes["gang"]


def test_where_jobs_are_many_they_move_at_the_next_whole_solution():
    at, _ = scattered("balanced", settings=CROWDED)
    at.later(60)
    at.submit(gang())
    assert at.stops() == [("s0", "resize")] and at.plan.whole
    assert at.stops() == [], "what moves already is not moved again"
    left(at)
    assert sorted(at.starts()) == ["gang", "s0"]


def test_where_jobs_are_many_nobody_moves_for_a_newcomer():
    at, _ = scattered("balanced", settings=CROWDED)
    at.later(60)
    assert at.stops() == [] and at.plan.whole
    at.later(1)
    at.submit(gang())
    assert at.stops() == [] and not at.plan.whole
    at.later(60)
    assert at.stops() == [("s0", "resize")] and at.plan.whole


def test_nobody_moves_where_the_moves_cost_more_than_they_gain():
    """The gang would start in a minute anyhow, and what it did until then is less than what would be done again."""
    at, _ = scattered(unsaved=20_000.0, time_limit_us=3660 * S)
    at.submit(gang())
    assert at.stops() == []


@pytest.mark.parametrize(
    "spec",
    [
        {"moves": Moves.NEVER},
        {"checkpoint": None},
        {"job_class": JobClass.PRODUCTION},
    ],
    ids=["forbidden by its file", "nothing to go on from", "production"],
)
def test_who_may_not_move_stays(spec):
    at, _ = scattered(**spec)
    at.submit(gang())
    assert at.stops() == []


def test_nobody_moves_before_the_minimum_run():
    at, _ = scattered()
    at.tell(msgspec.structs.replace(at.config, policy=msgspec.structs.replace(at.config.policy, min_run_us=7200 * S)))
    at.submit(gang())
    assert at.stops() == []
    at.later(3600)
    assert at.stops() == [("s0", "resize")]


def test_nobody_moves_where_preemption_is_switched_off():
    at, _ = scattered()
    at.tell(msgspec.structs.replace(at.config, policy=msgspec.structs.replace(at.config.policy, preemption=False)))
    at.submit(gang())
    assert at.stops() == []


def test_nobody_moves_for_a_gang_that_quota_holds():
    at, _ = scattered(tenant="blue")
    most = Quota(resource="h200", ceiling=5)
    at.tell(msgspec.structs.replace(at.config, tenants=Tenants(tenants=(Tenant(name="blue", quotas=(most,)),))))
    at.submit(gang(tenant="blue"))
    assert at.stops() == []


def test_nobody_moves_for_a_gang_that_lacks_devices():
    at, _ = scattered()
    more = at.submit(long("more", 3, checkpoint=SAVES))
    at.run_all(more)
    at.later(10)
    at.submit(gang())
    assert at.stops() == []


def test_it_comes_to_rest():
    at, jobs = scattered()
    jobs.append(at.submit(gang(checkpoint=SAVES)))
    told = 0
    for _ in range(20):
        told += len(at.stops())
        left(at)
        at.run_all(*jobs)
        at.later(3600)
    assert told == 1
    assert all(found.state is JobState.RUNNING for found in jobs)


def test_a_restart_in_between_forgets_neither_who_moves_nor_for_whom():
    at, _ = scattered()
    asks = at.submit(gang())
    assert len(at.stops()) == 1
    at.engine = Engine(decode(encode(at.state)))
    assert at.stops() == []
    left(at)
    assert "gang" in at.starts()
    assert at.state.jobs[asks.number].attempts[-1].allocation.grants[0].node == 0


def test_whoever_gives_up_the_place_keeps_nobody_else_from_it():
    at, _ = scattered()
    asks = at.submit(gang())
    at.stops()
    at.ask(asks, JobAction.CANCEL)
    at.submit(long("other", 3))
    assert at.starts() == ["other"], "the place that was kept is anybody's"
    assert not [name for name, _ in at.state.prices if "first" in name]
