"""How long it takes until what was borrowed is back, with the times that a policy has by itself."""

import msgspec
import pytest

from scheduler.config import decode_policy
from scheduler.engine import JobRecord
from scheduler.errors import ConfigError
from scheduler.model.cluster import NodeState
from scheduler.model.commands import Stop
from scheduler.model.jobs import Checkpoint, Job
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.policy import RECLAIM_BOUND_US, Policy
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants
from scheduler.policies import DEALS, POLICIES
from tests.support.builders import S, cluster, configured, job, options, pool
from tests.support.harness import Table

H200 = options(h200=4)
MIN_RUN_S = 1800


def fleet(nodes: int = 1, policy: Policy | None = None, **nominal: int) -> Table:
    """Nodes of four h200; who was promised fewer than it asks for borrows."""
    named = tuple(
        Tenant(name=name, quotas=(Quota(resource="h200", nominal=n, borrowing_limit=64),))
        for name, n in nominal.items()
    )
    return Table(configured(cluster([pool("h200", nodes, 4)]), Tenants(tenants=named), policy or Policy()))


def lending(policy: Policy | None = None, save_us: int | None = None) -> tuple[Table, JobRecord, JobRecord]:
    """Blue runs on four h200 that are red's, and red asks for them after half an hour."""
    at = fleet(1, policy, red=4, blue=0)
    saves = None if save_us is None else Checkpoint(path="c", save_us=save_us, restart_us=S)
    borrowed = at.submit(job("borrowed", *H200, tenant="blue", checkpoint=saves))
    at.run_all(borrowed)
    at.later(MIN_RUN_S)
    asks = at.submit(job("asks", *H200))
    return at, borrowed, asks


def notices(at: Table) -> list[int]:
    """Decide; the notice in seconds that each attempt gets which is told to leave."""
    return [command.notice_us // S for command in at.decide() if isinstance(command, Stop)]


@pytest.mark.parametrize(
    ("save_us", "notice_s"), [(None, 60), (10 * S, 60), (100 * S, 200), (400 * S, 600), (3600 * S, 600)]
)
def test_the_notice_is_twice_the_time_to_save_between_one_and_ten_minutes(save_us, notice_s):
    at, _, _ = lending(save_us=save_us)
    assert notices(at) == [notice_s]


def test_a_victim_that_does_not_stop_is_killed_and_the_devices_are_back_within_the_bound():
    at, borrowed, asks = lending(save_us=3600 * S)
    ordered_us = at.now_us
    assert notices(at) == [600]
    at.later(600)
    assert notices(at) == [], "its supervisor kills it at the end of the notice"
    at.later(60)
    assert notices(at) == [0], "what is still there is killed from here"
    at.end(borrowed, AttemptEnd.KILLED)
    at.decide()
    assert asks.state is JobState.STARTING
    assert at.now_us - ordered_us <= RECLAIM_BOUND_US


def test_who_cannot_be_reached_is_given_up_within_the_bound():
    """Its node is down: nobody will ever tell that it has stopped."""
    at = fleet(2, red=4, blue=4)
    borrowed = at.submit(job("borrowed", *options(h200=8), tenant="blue", checkpoint=Checkpoint(path="c", save_us=S)))
    at.run_all(borrowed)
    at.later(MIN_RUN_S)
    asks = at.submit(job("asks", *H200))
    ordered_us = at.now_us
    assert notices(at) == [60]
    at.node("h200-0", NodeState.DOWN)
    at.decide()
    at.later(120)
    at.decide()
    assert borrowed.attempts[-1].how is AttemptEnd.LOST
    at.decide()
    assert asks.state is JobState.STARTING, "on the node that is left"
    assert at.now_us - ordered_us <= RECLAIM_BOUND_US


def test_an_executor_that_does_not_hear_is_told_again_and_again():
    at, _, _ = lending(save_us=S)
    told = 0
    for _ in range(12):
        told += len(notices(at))
        at.later(60)
    assert told >= 10


@pytest.mark.parametrize(
    "times", [{"notice_max": "15m"}, {"stop_grace": "6m"}, {"notice_max": "12m", "stop_grace": "4m"}]
)
def test_a_policy_by_which_devices_would_come_back_later_is_refused(times):
    named = {"schema": "dualtrack/v1", "kind": "policy", "name": "priority"}
    with pytest.raises(ConfigError, match=f"policy: {min(times)}: .* longer than 15 minutes"):
        decode_policy({**named, **times}, "policy")
    assert decode_policy({**named, "notice_max": "14m", "stop_grace": "1m"}, "policy")


def test_nobody_is_told_to_leave_in_the_first_half_hour():
    at, _, _ = lending()
    early = fleet(1, red=4, blue=0)
    young = early.submit(job("young", *H200, tenant="blue"))
    early.run_all(young)
    early.later(MIN_RUN_S - 1)
    early.submit(job("asks", *H200))
    assert (notices(early), notices(at)) == ([], [60])


def endless(name: str, **more: object) -> Job:
    spec = job(name, *H200, **more)
    return msgspec.structs.replace(spec, work=msgspec.structs.replace(spec.work, amount=1e12))


@pytest.mark.parametrize("policy", sorted(set(POLICIES) - {"fifo", "fifo-best-type"}))
@pytest.mark.parametrize("job_class", [JobClass.STANDARD, JobClass.OPPORTUNISTIC])
def test_who_was_reclaimed_never_reclaims_back(policy, job_class):
    """With one and the same demand it comes to rest: what was reclaimed stays reclaimed for two days. Policies that
    share time out among equals go on with that, among those who hold by the lesser right."""
    at = fleet(2, Policy(name=policy), red=4, blue=4)
    saves = Checkpoint(path="c", save_us=S, restart_us=S)
    blue = [endless(f"b{n}", tenant="blue", job_class=job_class, priority=900, checkpoint=saves) for n in range(2)]
    jobs = [at.submit(spec) for spec in blue]
    at.run_all(*jobs)
    at.later(MIN_RUN_S)
    jobs.append(at.submit(endless("asks", priority=1)))
    stops: list[str] = []
    for _ in range(96):
        for stop in (command for command in at.decide() if isinstance(command, Stop)):
            stops.append(stop.job_id)
            at.end(at.state.jobs[stop.job], AttemptEnd.PREEMPTED)
        at.run_all(*jobs)
        at.later(MIN_RUN_S)
    assert (jobs[2].state, len(jobs[2].attempts)) == (JobState.RUNNING, 1)
    shares_time = policy in DEALS or policy == "las"
    assert len(stops) == 1 or (shares_time and job_class is JobClass.OPPORTUNISTIC)


def loser(at: Table, name: str, unsaved: float, **spec: object) -> JobRecord:
    """A job that has run for half an hour on four h200 and would lose so much work if it left."""
    saves = Checkpoint(path="c", save_us=S, restart_us=S)
    found = at.submit(endless(name, checkpoint=saves, **spec))
    at.run_all(found)
    at.later(MIN_RUN_S)
    at.progress(found, done=1000, saved=1000 - unsaved)
    return found


def test_who_holds_idle_devices_leaves_before_who_borrowed_whatever_it_loses():
    at = fleet(2, red=8, blue=0)
    loser(at, "idle", 900, tenant="blue", job_class=JobClass.OPPORTUNISTIC)
    loser(at, "borrowed", 1, tenant="blue")
    at.submit(job("asks", *H200))
    assert at.stops() == [("idle", "preempt")]


@pytest.mark.parametrize("asks", [JobClass.PRODUCTION, JobClass.STANDARD])
def test_among_equal_rights_of_all_tenants_who_loses_least_leaves_whoever_asks(asks):
    at = fleet(3, red=12, blue=0, green=0)
    for name, tenant, unsaved in (("most", "blue", 900), ("least", "green", 10), ("more", "blue", 500)):
        loser(at, name, unsaved, tenant=tenant)
    at.submit(job("asks", *H200, job_class=asks))
    assert at.stops() == [("least", "preempt")]


def test_to_hide_a_checkpoint_does_not_pay():
    """Who declares none counts as the median of those who do: neither the first to leave nor the last."""
    at = fleet(3, red=12, blue=0)
    loser(at, "least", 10, tenant="blue")
    loser(at, "most", 900, tenant="blue")
    hidden = at.submit(endless("hidden", tenant="blue"))
    at.run_all(hidden)
    at.later(MIN_RUN_S)
    for n in range(2):
        at.submit(job(f"asks-{n}", *H200))
    assert sorted(name for name, _ in at.stops()) == ["hidden", "least"]
