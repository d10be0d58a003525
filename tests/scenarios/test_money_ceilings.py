"""A ceiling on what all that is held costs per hour: at the prices of each grant, whatever becomes of prices later."""

import msgspec
import pytest

from scheduler.engine import Engine, invariants
from scheduler.engine.explain import explain
from scheduler.engine.image import decode, encode
from scheduler.engine.usage import account
from scheduler.errors import DeniedError
from scheduler.model.lifecycle import JobState
from scheduler.model.reasons import ReasonCode
from scheduler.model.rules import Lot, Price, Rules
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants
from scheduler.policies import DEALS, POLICIES
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool
from tests.support.harness import Table

HOUR = 3600 * S
PRICES = (
    Price(of="h200", fen_per_device_hour=1000),
    Price(of="h20-96", fen_per_device_hour=300),
    Price(of="h200", fen_per_device_hour=2000, from_us=10 * HOUR),
    Price(of="h200", fen_per_device_hour=500, from_us=20 * HOUR),
)
FLEET = cluster((pool("h200", 2, 4), pool("h20-96", 2, 8)))


def tree(*limits: Quota) -> Tenants:
    return Tenants(tenants=(Tenant(name="red", quotas=limits), Tenant(name="red/vision"), Tenant(name="blue")))


def table(ceiling: int, prices=PRICES, policy: str = "priority", fleet=FLEET, lots=()) -> Table:
    """Red may spend so many fen an hour."""
    limits = tree(Quota(resource="money", ceiling=ceiling))
    at = Table(configured(fleet, limits, msgspec.structs.replace(QUICK, name=policy)))
    at.tell(msgspec.structs.replace(at.config, rules=Rules(prices=prices, lots=lots)))
    at.decide()
    at.later(400)  # past the round in which those that share time out have dealt
    return at


def why(at: Table, found) -> list[tuple]:
    reasons = [reason for option in explain(at.state, found.number, at.now_us) for reason in option.reasons]
    return [(r.code, r.who, r.resource, r.need, r.limit, r.used) for r in reasons]


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_it_binds_over_all_accelerators_and_all_tenants_below(policy):
    at = table(4600, policy=policy)
    at.submit(job("first", *options(h200=4), tenant="red/vision"))
    assert at.starts() == ["first"]
    at.later(400)
    held = at.submit(job("second", *options(h20_96=4)))
    at.submit(job("cheap", *options(h20_96=2)))
    at.submit(job("other", *options(h200=4), tenant="blue"))
    assert sorted(at.starts()) == ["cheap", "other"]
    assert why(at, held) == [(ReasonCode.QUOTA_IN_USE, "red", "money", 1200, 4600, 4600)]
    at.end(at.state.jobs[0])
    at.later(400)
    assert at.starts() == ["second"]


def test_what_can_never_be_paid_is_refused_at_once_with_its_cost():
    at = table(4600)
    with pytest.raises(DeniedError, match=r"`red` may spend 46\.00 CNY an hour, and it needs 50\.00"):
        at.submit(job("large", *options(h200=5)))


def test_opportunistic_jobs_pay_their_part():
    at = table(4000)
    at.submit(job("idle", *options(h200=4), job_class=JobClass.OPPORTUNISTIC))
    assert at.starts() == ["idle"]
    assert at.state.jobs[0].attempts[-1].allocation.fen_per_hour == 2000
    at.submit(job("half", *options(h200=2)))
    assert at.starts() == ["half"]


@pytest.mark.parametrize("policy", sorted(set(POLICIES) - set(DEALS)))
def test_nobody_leaves_because_a_price_rose_and_what_starts_later_pays_the_new_one(policy):
    at = table(8000, policy=policy)
    running = [at.submit(job(f"r{n}", *options(h200=2))) for n in range(2)]
    at.run_all(*running)
    at.later(11 * 3600)
    held = at.submit(job("three", *options(h200=3)))
    fits = at.submit(job("two", *options(h200=2)))
    assert at.starts() == ["two"]
    assert at.stops() == []
    assert why(at, held)[0] == (ReasonCode.QUOTA_IN_USE, "red", "money", 6000, 8000, 8000)
    assert fits.attempts[-1].allocation.fen_per_hour == 4000
    assert all(found.state is JobState.RUNNING for found in running)


def test_a_price_that_falls_is_waited_for():
    at = table(8000)
    at.run_all(at.submit(job("first", *options(h200=4))))
    at.later(11 * 3600)
    at.submit(job("second", *options(h200=4)))
    assert at.starts() == []
    assert at.plan is not None
    assert at.plan.wake_us == 20 * HOUR
    at.later(9 * 3600)
    assert at.starts() == ["second"]


def test_before_its_nodes_are_known_a_choice_counts_as_dear_as_they_could_be_and_then_as_what_they_are():
    lots = (Lot(id="old", accelerator="h200"), Lot(id="new", accelerator="h200"))
    prices = (Price(of="old", fen_per_device_hour=100), Price(of="new", fen_per_device_hour=900))
    fleet = cluster((pool("h200", 1, 4, name="a", lot="old"), pool("h200", 1, 4, name="b", lot="new")))
    at = table(2000, prices, fleet=fleet, lots=lots)
    with pytest.raises(DeniedError, match=r"it needs 27\.00"):
        at.submit(job("three", *options(h200=3)))
    at.submit(job("two", *options(h200=2)))
    at.decide()
    on_old = next(found.attempts[-1].allocation for found in at.state.holding())
    node = at.state.fleet.pools[int(at.state.fleet.pool[on_old.grants[0].node])]
    assert on_old.fen_per_hour == {"old": 200, "new": 1800}[node.lot]


def test_cost_stays_frozen_through_new_prices_new_quota_and_a_restart():
    at = table(4600)
    at.run_all(at.submit(job("first", *options(h200=4))))
    dear = Rules(prices=(Price(of="h200", fen_per_device_hour=7000),))
    at.tell(msgspec.structs.replace(at.state.config, rules=dear, tenants=tree()))
    at.tell(msgspec.structs.replace(at.state.config, tenants=tree(Quota(resource="money", ceiling=4000))))
    at.engine = Engine(decode(encode(at.state)))
    at.later(3600)
    at.decide()
    column = at.state.tree.resource_index["money"]
    assert at.state.ledger.used[1, column] == 4000
    assert account(at.state, ("tenant",), 0, at.now_us)[("red",)].hours()["cost_cny"] == 40.0
    invariants.check(at.state)
    at.end(at.state.jobs[0])
    assert not at.state.ledger.used[:, column].any()


def test_a_record_that_does_not_tell_its_cost_is_priced_by_the_book():
    at = table(4600)
    at.submit(job("first", *options(h200=4)))
    at.decide()
    attempt = at.state.jobs[0].attempts[-1]
    attempt.allocation = msgspec.structs.replace(attempt.allocation, fen_per_hour=None)
    again = decode(encode(at.state))
    assert again.jobs[0].attempts[-1].allocation.fen_per_hour == 4000
    assert again.ledger.used[1, again.tree.resource_index["money"]] == 4000
