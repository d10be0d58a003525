"""Borrowed devices go back to whom they were promised: who leaves, who does not, and never in a circle."""

import msgspec
import pytest

from scheduler.cli.sentences import sentence
from scheduler.engine import JobRecord
from scheduler.engine.explain import explain
from scheduler.errors import DeniedError
from scheduler.model.cluster import NodeState
from scheduler.model.jobs import Checkpoint
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.reasons import ReasonCode
from scheduler.model.rules import Price, Rules
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants
from scheduler.policies import DEALS, POLICIES
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool
from tests.support.harness import Table

H200 = options(h200=4)


def table(policy=QUICK, nodes: int = 2, **quotas: Quota) -> Table:
    """`nodes` nodes of four h200 each; one quota on h200 per tenant."""
    listed = tuple(Tenant(name=name, quotas=(quota,)) for name, quota in quotas.items())
    return Table(configured(cluster([pool("h200", nodes, 4)]), Tenants(tenants=listed), policy))


def quota(nominal: int, borrowing: int | None = None, **more: int) -> Quota:
    return Quota(resource="h200", nominal=nominal, borrowing_limit=borrowing, **more)


def settle(at: Table) -> None:
    """Victims leave, and what waits for their devices starts."""
    for held in at.state.holding():
        if held.state is JobState.STOPPING:
            at.end(held, AttemptEnd.PREEMPTED)
    at.decide()


def test_what_is_nominal_is_reclaimed_from_who_borrowed_it():
    at = table(red=quota(4), blue=quota(4, 4))
    own, borrowed = (at.submit(job(name, *H200, tenant="blue")) for name in ("own", "borrowed"))
    at.run_all(own, borrowed)
    at.later(10)
    asks = at.submit(job("asks", *H200))
    assert at.stops() == [("borrowed", "preempt")]
    settle(at)
    assert (asks.state, borrowed.state, own.state) == (JobState.STARTING, JobState.WAITING, JobState.RUNNING)


def test_the_reclaimed_job_does_not_reclaim_back():
    at = table(red=quota(4), blue=quota(4, 4))
    jobs = [at.submit(job(name, *H200, tenant="blue", priority=900)) for name in ("own", "borrowed")]
    at.run_all(*jobs)
    at.later(10)
    asks = at.submit(job("asks", *H200, priority=1))
    at.decide()
    settle(at)
    at.up(asks)
    for _ in range(5):
        at.later(3600)
        assert (at.stops(), at.starts()) == ([], [])
    at.end(asks)
    assert at.starts() == ["borrowed"]


def test_who_borrows_does_not_displace_who_borrows_less_urgently_within_nominal():
    at = table(red=quota(8), blue=quota(0, 8))
    first, second = (at.submit(job(name, *H200, priority=1)) for name in ("first", "second"))
    at.run_all(first, second)
    at.later(10)
    asks = at.submit(job("asks", *H200, tenant="blue", priority=1000))
    assert at.stops() == []
    assert asks.state is JobState.WAITING


def test_idle_use_leaves_before_borrowed_and_borrowed_before_nominal():
    at = table(nodes=3, red=quota(4), blue=quota(4, 4), green=quota(0))
    own = at.submit(job("own", *H200, tenant="blue"))
    borrowed = at.submit(job("borrowed", *H200, tenant="blue"))
    idle = at.submit(job("idle", *H200, tenant="green", job_class=JobClass.OPPORTUNISTIC))
    at.run_all(own, borrowed, idle)
    at.later(10)
    at.submit(job("asks", *H200))
    assert at.stops() == [("idle", "preempt")]


def test_the_job_that_loses_least_work_leaves_first():
    at = table(red=quota(4), blue=quota(0, 8))
    saves = Checkpoint(path="c", save_us=S, restart_us=S)
    fresh, stale = (at.submit(job(n, *H200, tenant="blue", checkpoint=saves)) for n in ("fresh", "stale"))
    at.run_all(fresh, stale)
    at.later(100)
    at.progress(fresh, done=50, saved=49)
    at.progress(stale, done=50, saved=1)
    at.submit(job("asks", *H200))
    assert at.stops() == [("fresh", "preempt")]


def test_a_job_within_its_minimum_run_is_not_reclaimed():
    at = table(msgspec.structs.replace(QUICK, min_run_us=1800 * S), red=quota(4), blue=quota(0, 8))
    borrowed = [at.submit(job(name, *H200, tenant="blue")) for name in ("a", "b")]
    at.run_all(*borrowed)
    at.submit(job("asks", *H200))
    at.later(1799)
    assert at.stops() == []
    at.later(1)
    assert len(at.stops()) == 1


def test_the_storm_guard_bounds_how_many_leave_at_once():
    at = table(msgspec.structs.replace(QUICK, max_preemptions_per_cycle=1), red=quota(8), blue=quota(0, 8))
    borrowed = [at.submit(job(name, *H200, tenant="blue")) for name in ("a", "b")]
    at.run_all(*borrowed)
    at.later(10)
    for name in ("x", "y"):
        at.submit(job(name, *H200))
    assert len(at.stops()) == 1


def test_a_shortfall_alone_preempts_nobody():
    at = table(red=quota(4), blue=quota(4))
    red, blue = at.submit(job("r", *H200)), at.submit(job("b", *H200, tenant="blue"))
    at.run_all(red, blue)
    at.later(10)
    at.node("h200-0", NodeState.CORDONED)
    at.submit(job("asks", *options(h200=2), priority=900))
    assert at.stops() == []


def test_production_starts_within_what_is_entitled_and_waits_beyond_it():
    at = table(red=quota(4), blue=quota(4))
    at.node("h200-0", NodeState.CORDONED)
    held = at.submit(job("large", *H200, job_class=JobClass.PRODUCTION))
    small = at.submit(job("small", *options(h200=2), job_class=JobClass.PRODUCTION))
    assert at.starts() == ["small"]
    assert held.reason is not None
    assert (held.reason.code, held.reason.who) == (ReasonCode.QUOTA_IN_USE, "red")
    at.node("h200-0", NodeState.READY)
    at.end(small)
    assert at.starts() == ["large"]


def test_production_beyond_what_the_whole_fleet_entitles_to_is_refused():
    at = table(nodes=1, red=quota(4), blue=quota(4))
    with pytest.raises(DeniedError, match="may hold 2 of h200"):
        at.submit(job("large", *H200, job_class=JobClass.PRODUCTION))


def test_a_quota_that_shrinks_below_what_runs_stops_starts_and_no_jobs():
    at = table(red=quota(8), blue=quota(0))
    running = [at.submit(job(name, *H200)) for name in ("a", "b")]
    at.run_all(*running)
    smaller = Tenants(tenants=(Tenant(name="red", quotas=(quota(4),)), Tenant(name="blue", quotas=(quota(4),))))
    at.tell(msgspec.structs.replace(at.config, tenants=smaller))
    at.submit(job("more", *options(h200=1)))
    assert at.stops() == []
    assert all(held.state is JobState.RUNNING for held in running)
    at.end(running[0])
    assert at.starts() == []


def test_a_tenants_time_limit_holds_for_jobs_that_ask_for_more_or_for_none():
    parent = Tenant(name="red", time_limit_us=60 * S)
    at = Table(configured(cluster([pool("h200", 2, 4)]), Tenants(tenants=(parent, Tenant(name="red/vision")))))
    asked = [(None, 60), (90 * S, 60), (30 * S, 30)]
    for number, (limit_us, seconds) in enumerate(asked):
        found = at.submit(job(f"j{number}", tenant="red/vision", time_limit_us=limit_us))
        assert found.time_limit_us == seconds * S


HOUR = 3600 * S


def spent(resource: str, budget: int, prices: tuple[Price, ...] = ()) -> tuple[Table, JobRecord]:
    """A day's budget that four h200 used up in the first hour; the job that waits for it asks for one."""
    at = Table(configured(cluster([pool("h200", 2, 4)])))
    limits = Quota(resource=resource, budget=budget, budget_period_us=24 * HOUR)
    tree = Tenants(tenants=(Tenant(name="red", quotas=(limits,)), Tenant(name="red/vision"), Tenant(name="blue")))
    at.tell(msgspec.structs.replace(at.config, tenants=tree, rules=Rules(prices=prices)))
    first = at.submit(job("a", *H200))
    at.run_all(first)
    at.later(3600)
    at.end(first)
    held = at.submit(job("b", *options(h200=1), tenant="red/vision"))
    assert at.starts() == []
    return at, held


@pytest.mark.parametrize(
    ("resource", "budget", "used", "says"),
    [
        ("h200", 4000, 4000, "has used 4 hours on h200 of its budget of 4 hours on h200 for this period"),
        ("family:h200", 3500, 4000, "has used 4 hours on h200 of its budget of 3.5 hours on h200"),
        ("track:imported", 4000, 4000, "has used 4 hours on imported devices of its budget"),
        ("compute_units", 24_000, 24_000, "has used 24 compute-unit-hours of its budget of 24 compute-unit-hours"),
        ("money", 4000, 4052, "has used 40.52 CNY of its budget of 40.00 CNY for this period"),
    ],
)
def test_a_spent_budget_says_of_what_how_much_and_until_when(resource, budget, used, says):
    at, held = spent(resource, budget, (Price(of="h200", fen_per_device_hour=1013),))
    ((told,),) = (option.reasons for option in explain(at.state, held.number, at.now_us))
    assert held.reason == told
    assert (told.code, told.who, told.until_us) == (ReasonCode.MONEY_BUDGET, "red", 24 * HOUR)
    assert (told.need, told.have) == (budget, used)
    assert says in sentence(told)


def test_a_spent_budget_starts_nothing_until_its_next_period():
    at, _ = spent("money", 4000, (Price(of="h200", fen_per_device_hour=1000),))
    other = at.submit(job("c", tenant="blue"))
    assert at.starts() == ["c"], "the budget of another is not spent"
    assert at.plan is not None
    assert at.plan.wake_us == 24 * HOUR
    at.run_all(other)
    at.later(23 * 3600)
    assert at.starts() == ["b"]


def test_what_runs_goes_on_when_its_budget_is_spent():
    at = table(red=Quota(resource="h200", budget=1000, budget_period_us=24 * HOUR))
    work = at.submit(job("a", *H200))
    at.run_all(work)
    at.later(7200)
    assert at.stops() == []
    assert work.state is JobState.RUNNING


@pytest.mark.parametrize("policy", sorted(set(POLICIES) - set(DEALS) - {"fifo", "fifo-best-type"}))
def test_who_borrowed_less_lately_borrows_first(policy):
    """Whatever the policy makes of the jobs; those left out are fair by what they deal, or promise to go by arrival."""
    named = msgspec.structs.replace(QUICK, name=policy)
    at = table(named, red=quota(0, 8), blue=quota(0, 8), green=quota(8))
    heavy = [at.submit(job(f"h{n}", *H200)) for n in range(2)]
    at.run_all(*heavy)
    at.later(3600)
    late = at.submit(job("late", *H200, priority=900, deadline_us=at.now_us + 7200 * S))
    at.submit(job("fair", *H200, tenant="blue", priority=1))
    at.end(heavy[0])
    assert at.starts() == ["fair"]
    assert late.state is JobState.WAITING


@pytest.mark.parametrize("name", ["balanced", "priority", "srpt", "fifo-best-type"])
@pytest.mark.parametrize(("borrowing", "places"), [(None, 3), (4, 4), (1000, 4)])
def test_what_others_leave_idle_is_borrowed_as_far_as_the_quota_says_and_no_further(name, borrowing, places):
    """A plain number is never exceeded, though all that is idle of it is lent."""
    at = table(msgspec.structs.replace(QUICK, name=name), 4, red=quota(12, borrowing), blue=quota(4))
    asks = [at.submit(job(f"j{n}", *H200)) for n in range(5)]
    at.run_all(*asks)
    at.later(10)
    at.run_all(*asks)
    assert [j.state for j in asks].count(JobState.RUNNING) == places
    if places == 3:
        assert {j.reason.code for j in asks if j.state is JobState.WAITING} == {ReasonCode.QUOTA_IN_USE}
