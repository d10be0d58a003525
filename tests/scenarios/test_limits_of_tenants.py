"""What a tenant, a user and a class may hold, as jobs meet it: who starts, who waits and what it is told."""

import msgspec
import pytest

from scheduler.engine.explain import explain
from scheduler.errors import DeniedError, InfeasibleError
from scheduler.model.events import Actor
from scheduler.model.lifecycle import JobState
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.rules import Lot, Rules, Tranche, TrancheState
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants, UserLimits
from scheduler.policies import DEALS, POLICIES
from tests.support.builders import QUICK, cluster, configured, job, options, pool
from tests.support.harness import Table

BOB = Actor("bob", "red", True)
FLEET = (pool("h200", 2, 4), pool("h20-96", 2, 8), pool("ascend-910c", 2, 8))


def table(*quotas: Quota, policy: str = "priority", **tenant: object) -> Table:
    """Red has these quotas; blue is bound by nothing of its own."""
    red = Tenant(name="red", quotas=quotas, **tenant)
    tree = Tenants(tenants=(red, Tenant(name="red/vision"), Tenant(name="blue")))
    return Table(configured(cluster(FLEET), tree, msgspec.structs.replace(QUICK, name=policy)))


def why(at: Table, found) -> list[Reason]:
    return [reason for option in explain(at.state, found.number, at.now_us) for reason in option.reasons]


@pytest.mark.parametrize("job_class", list(JobClass))
@pytest.mark.parametrize(
    ("limit", "first", "second", "left"),
    [
        (Quota(resource="track:imported", ceiling=6), options(h200=4), options(h20_96=4), 2),
        (Quota(resource="track:domestic", ceiling=6), options(ascend_910c=4), options(ascend_910c=4), 2),
        (Quota(resource="family:h20", ceiling=6), options(h20_96=4), options(h20_96=4), 2),
    ],
    ids=["imported", "domestic", "family"],
)
def test_a_ceiling_binds_every_class_below_it_and_nobody_else(job_class, limit, first, second, left):
    at = table(limit)
    at.submit(job("first", *first, tenant="red/vision", job_class=job_class))
    assert at.starts() == ["first"]
    held = at.submit(job("second", *second, job_class=job_class))
    at.submit(job("other", *second, tenant="blue", job_class=job_class))
    assert at.starts() == ["other"]
    (told,) = why(at, held)
    assert (told.code, told.who, told.resource) == (ReasonCode.QUOTA_IN_USE, "red", limit.resource)
    assert (told.need, told.have) == (4, left)


def test_a_ceiling_of_compute_units_binds_over_all_accelerators():
    """In thousandths of an H20-96: an H200 counts six."""
    at = table(Quota(resource="compute_units", ceiling=26_000))
    at.submit(job("first", *options(h200=4)))
    held = at.submit(job("second", *options(h20_96=4)))
    fits = at.submit(job("third", *options(h20_96=2), tenant="red/vision"))
    at.starts()
    assert (held.state, fits.state) == (JobState.WAITING, JobState.STARTING)
    (told,) = why(at, held)
    assert (told.code, told.resource, told.need, told.have) == (ReasonCode.QUOTA_IN_USE, "compute_units", 4000, 0)


def test_what_a_ceiling_can_never_admit_is_refused_at_once():
    at = table(Quota(resource="family:h20", ceiling=6))
    with pytest.raises(DeniedError, match="`red` may hold 6 of family:h20, and it needs 8"):
        at.submit(job("large", *options(h20_96=8)))


def test_a_users_limit_binds_that_user_alone_and_says_so():
    at = table(per_user=UserLimits(max_devices=4))
    at.submit(job("first", *options(h200=4)))
    held = at.submit(job("second", *options(h20_96=2)))
    bobs = at.submit(job("bobs", *options(h20_96=4)), BOB)
    assert at.starts() == ["first", "bobs"]
    (told,) = why(at, held)
    assert (told.code, told.who, told.need, told.have) == (ReasonCode.USER_LIMIT_IN_USE, "ann", 2, 0)
    at.end(bobs)
    assert at.starts() == []
    at.end(at.state.jobs[0])
    assert at.starts() == ["second"]


@pytest.mark.parametrize("policy", sorted(set(POLICIES) - set(DEALS)))
@pytest.mark.parametrize(
    ("limit", "unit"),
    [
        (Quota(resource="h20-96", nominal=8), 1),
        (Quota(resource="family:h20", nominal=8), 1),
        (Quota(resource="compute_units", ceiling=8000), 1000),
        (None, 1),
    ],
    ids=["nominal", "family", "compute_units", "user"],
)
def test_what_is_told_of_a_limit_counts_what_starts_in_the_same_decision(policy, limit, unit):
    users = UserLimits(max_devices=8) if limit is None else UserLimits()
    at = table(*([limit] if limit else []), per_user=users, policy=policy)
    jobs = [at.submit(job(f"j{n}", *options(h20_96=3))) for n in range(3)]
    assert len(at.starts()) == 2
    (held,) = (found for found in jobs if found.state is JobState.WAITING)
    for told in (held.reason, *why(at, held)):
        assert (told.need, told.have, told.limit, told.used) == tuple(n * unit for n in (3, 2, 8, 6))
        assert (told.who, told.tenant) == (("ann", "red") if limit is None else ("red", ""))


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_users_limit_counts_all_jobs_of_the_user_below_the_tenant(policy):
    at = table(per_user=UserLimits(max_devices=4), policy=policy)
    at.submit(job("below", *options(h200=3), tenant="red/vision"))
    assert at.starts() == ["below"]
    at.later(400)  # past the round in which those that share time out have dealt
    held = [at.submit(job(f"more-{t[-3:]}", *options(h20_96=2), tenant=t)) for t in ("red", "red/vision")]
    at.submit(job("beside", *options(h20_96=2), tenant="blue"))
    at.submit(job("bobs", *options(h20_96=4), tenant="red/vision"), BOB)
    assert sorted(at.starts()) == ["beside", "bobs"]
    for waiting in held:
        (told,) = why(at, waiting)
        assert (told.code, told.who, told.need, told.have) == (ReasonCode.USER_LIMIT_IN_USE, "ann", 2, 1)
    with pytest.raises(DeniedError, match="one user of `red` may hold 4 devices, and it needs 5"):
        at.submit(job("large", *options(h200=5), tenant="red/vision"))
    at.end(at.state.jobs[0])
    at.later(400)
    assert len(at.starts()) == 2


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_job_is_never_pinned_to_a_type_that_has_quota_but_no_room(policy):
    """Quota and placement are judged together: the type with room is taken, if the job likes the other more, too."""
    at = table(Quota(resource="h200", nominal=8), Quota(resource="h20-96", nominal=8), policy=policy)
    at.run_all(*(at.submit(job(f"full-{n}", *options(h200=4), tenant="red")) for n in range(2)))
    at.later(400)  # past the round in which those that share time out have dealt
    at.submit(job("either", *options(h200=4, h20_96=4)))
    assert at.starts() == ["either"]
    assert at.state.jobs[-1].attempts[-1].allocation.chosen[0].accelerator == "h20-96"


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_job_is_never_pinned_to_a_type_that_has_room_but_no_quota(policy):
    at = table(Quota(resource="h200", nominal=2), Quota(resource="h20-96", nominal=8), policy=policy)
    at.submit(job("either", *options(h200=4, h20_96=4)))
    assert at.starts() == ["either"]
    assert at.state.jobs[-1].attempts[-1].allocation.chosen[0].accelerator == "h20-96"


def test_with_quota_here_and_room_there_each_type_says_its_own():
    at = table(Quota(resource="h200", nominal=8), Quota(resource="h20-96", nominal=2))
    at.run_all(*(at.submit(job(f"full-{n}", *options(h200=4))) for n in range(2)))
    at.run_all(at.submit(job("some", *options(h20_96=2))))
    held = at.submit(job("either", *options(h200=4, h20_96=2)))
    assert at.starts() == []
    told = {reason.accelerator: reason.code for reason in why(at, held) if reason.accelerator == "h20-96"}
    assert told == {"h20-96": ReasonCode.QUOTA_IN_USE}
    assert ReasonCode.NO_ROOM in {reason.code for reason in why(at, held) if reason.accelerator == "h200"}


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("asks", [JobClass.PRODUCTION, JobClass.STANDARD])
def test_production_is_never_preempted(policy, asks):
    """Not by a job of its own tenant with a higher priority, nor for what another tenant was promised."""
    promised = Quota(resource="h200", nominal=8)
    at = table(promised, policy=policy)
    jobs = [at.submit(job(f"p{n}", *options(h200=4), priority=1, job_class=JobClass.PRODUCTION)) for n in range(2)]
    at.run_all(*jobs)
    for _ in range(10):
        at.later(86_400)
        at.submit(job(f"asks-{at.now_us}", *options(h200=4), priority=1000, job_class=asks))
        assert at.stops() == []
    assert all(held.state is JobState.RUNNING for held in jobs)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_production_starts_below_a_tenant_that_has_no_quota_itself(policy):
    """What lies below it was promised; its own jobs were not, and neither takes from the other."""
    promised = (Quota(resource="h200", nominal=4),)
    names = (Tenant(name="org"), Tenant(name="org/team", quotas=promised), Tenant(name="red", quotas=promised))
    at = Table(configured(cluster(FLEET), Tenants(tenants=names), msgspec.structs.replace(QUICK, name=policy)))
    at.submit(job("promised", *options(h200=4), tenant="org/team", job_class=JobClass.PRODUCTION))
    with pytest.raises(DeniedError, match="`org` may hold 0 of h200, and it needs 1"):
        at.submit(job("unpromised", *options(h200=1), tenant="org", job_class=JobClass.PRODUCTION))
    at.submit(job("either", *options(h200=1, ascend_910c=1), tenant="org", job_class=JobClass.PRODUCTION))
    assert sorted(at.starts()) == ["either", "promised"]
    assert at.state.jobs[1].attempts[-1].allocation.chosen[0].accelerator == "ascend-910c"


def test_priority_orders_within_a_tenant_and_not_between_tenants():
    """Blue's job borrows, however urgent it is to blue; red's lie within what red was promised."""
    tree = Tenants(
        tenants=(
            Tenant(name="red", quotas=(Quota(resource="h200", nominal=8),)),
            Tenant(name="blue", quotas=(Quota(resource="h200", nominal=0, borrowing_limit=8),)),
        )
    )
    at = Table(configured(cluster([pool("h200", 1, 4)]), tree))
    for name, tenant, priority in (("urgent", "blue", 1000), ("low", "red", 1), ("high", "red", 500)):
        at.submit(job(name, *options(h200=4), tenant=tenant, priority=priority))
    order = []
    for _ in range(3):
        order += at.starts()
        (running,) = at.state.holding()
        at.up(running)
        at.end(running)
    assert order == ["high", "low", "urgent"]


def test_what_may_not_be_bought_any_more_goes_on_working():
    """Closed to buying and allowed in use are two things."""
    lot = Lot(id="old", accelerator="h20-96", procurement="closed", tranches=(arrived(16),))
    at = Table(configured(cluster([pool("h20-96", 2, 8, lot="old")])))
    at.tell(msgspec.structs.replace(at.config, rules=Rules(lots=(lot,))))
    at.submit(job("train", *options(h20_96=8)))
    assert at.starts() == ["train"]


def test_a_lot_creates_no_capacity():
    """More was delivered, by the rules, than stands on healthy nodes: only the nodes count."""
    lot = Lot(id="new", accelerator="h200", tranches=(arrived(64),))
    at = Table(configured(cluster([pool("h200", 1, 4, lot="new")])))
    at.tell(msgspec.structs.replace(at.config, rules=Rules(lots=(lot,))))
    with pytest.raises(InfeasibleError, match=r"exceeds fleet \(needs 8, at most 4\)"):
        at.submit(job("large", *options(h200=8)))


def arrived(count: int) -> Tranche:
    return Tranche(count=count, expected_us=0, state=TrancheState.IN_SERVICE)
