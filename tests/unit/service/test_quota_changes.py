"""What a change of quota would do at once, found on copies of the state."""

import msgspec
import pytest

from scheduler.engine.image import encode
from scheduler.errors import ConflictError
from scheduler.model.lifecycle import JobState
from scheduler.model.rules import Eligibility, Lot, Mode, Price, Rules, Use
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants
from scheduler.model.units import US_PER_S
from scheduler.service.quota_changes import effects
from tests.support.builders import cluster, configured, job, options, pool
from tests.support.harness import Table

H200 = options(h200=4)


def tree(red: int, blue: int, *, borrowing: int = 8) -> Tenants:
    return Tenants(
        tenants=tuple(
            Tenant(name=name, quotas=(Quota(resource="h200", nominal=n, borrowing_limit=borrowing),))
            for name, n in (("red", red), ("blue", blue))
        )
    )


@pytest.fixture
def full():
    """Blue holds both nodes, which are its own; red, which may not borrow, waits for four."""
    at = Table(configured(cluster([pool("h200", 2, 4)]), tree(0, 8, borrowing=0)))
    at.run_all(*(at.submit(job(f"b{n}", *H200, tenant="blue")) for n in range(2)))
    at.later(10)
    at.submit(job("fits", *options(h200=1), tenant="blue"))
    at.decide()
    return at


def would(at: Table, **changes: object) -> dict:
    """The effects, with names instead of what they say at length."""
    found = effects(encode(at.state), msgspec.structs.replace(at.config, **changes), at.now_us)
    stranded = [(entry["name"], entry["running"], entry["why"]) for entry in found["stranded"]]
    reclaimed = [(entry["name"], entry["cause"], at.state.jobs[at.state.by_id[entry["for"]]].spec.name)
                 for entry in found["reclaimed"]]  # fmt: skip
    return {"stranded": stranded, "reclaimed": reclaimed}


def test_who_would_be_reclaimed_is_shown_with_whom_for_and_runs_on():
    at = Table(configured(cluster([pool("h200", 2, 4)]), tree(0, 8, borrowing=64)))
    at.run_all(*(at.submit(job(f"b{n}", *H200, tenant="blue")) for n in range(2)))
    at.later(10)
    at.submit(job("asks", *H200))
    at.decide()
    found = would(at, tenants=tree(4, 4, borrowing=64))
    assert found == {"stranded": [], "reclaimed": [("b1", "preempt", "asks")]}
    assert all(held.state is JobState.RUNNING for held in at.state.holding())
    assert at.stops() == [], "nothing was changed"


def test_nobody_is_shown_who_would_be_reclaimed_anyhow(full):
    full.submit(job("first", *H200, tenant="blue", priority=900))
    assert would(full, tenants=tree(0, 8))["reclaimed"] == []


def test_what_runs_is_stranded_where_the_quota_would_not_admit_the_like_again(full):
    found = would(full, tenants=tree(0, 2, borrowing=0))
    assert found["stranded"] == [("b0", True, "exceeds_quota"), ("b1", True, "exceeds_quota")]


def test_what_waits_is_stranded_where_it_could_never_start(full):
    found = would(full, tenants=tree(8, 0, borrowing=0))
    assert ("fits", False, "exceeds_quota") in found["stranded"]


def test_what_runs_is_stranded_where_its_like_would_cost_more_than_the_tenant_may_spend():
    """At the price of that time, whatever it was when the job started."""
    prices = tuple(Price(of="h200", fen_per_device_hour=fen, from_us=s * US_PER_S) for fen, s in ((10, 0), (1000, 60)))
    at = Table(configured(cluster([pool("h200", 2, 4)]), tree(8, 0)))
    at.tell(msgspec.structs.replace(at.config, rules=Rules(prices=prices)))
    at.run_all(at.submit(job("runs", *H200)))
    spends = Tenants(tenants=(Tenant(name="red", quotas=(Quota(resource="money", ceiling=3999),)),))
    change = {"tenants": spends, "rules": Rules(prices=prices)}
    assert would(at, **change)["stranded"] == []
    at.later(120)
    assert would(at, **change)["stranded"] == [("runs", True, "exceeds_quota")]


def test_jobs_of_a_tenant_that_goes_are_stranded(full):
    found = would(full, tenants=Tenants(tenants=(Tenant(name="red"),)))
    assert {why for _, _, why in found["stranded"]} == {"tenant_gone"}


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        (Rules(eligibility=(Eligibility(id="e", tenants=("blue",), sites=("south",), mode=Mode.HOLD),)), "eligibility"),
        (Rules(lots=(Lot(id="lot", accelerator="h200", use=Use.FORBIDDEN),)), "lot_forbidden"),
        (Rules(lots=(Lot(id="lot", accelerator="h200", use=Use.DRAIN),)), "lot_forbidden"),
    ],
)
def test_what_runs_is_stranded_where_a_rule_closes_the_nodes_to_its_like(rules, why):
    at = Table(configured(cluster([pool("h200", 2, 4, lot="lot")])))
    at.run_all(at.submit(job("b", *H200, tenant="blue")))
    assert would(at, rules=rules)["stranded"] == [("b", True, why)]


def test_what_runs_is_stranded_where_no_node_is_left_that_is_large_enough():
    at = Table(configured(cluster([pool("h200", 2, 4)])))
    at.run_all(at.submit(job("b", *options(h200=8), tenant="blue")))
    assert would(at, cluster=cluster([pool("h200", 1, 4)]))["stranded"] == [("b", True, "exceeds_fleet")]


def test_a_change_that_takes_a_cell_away_from_under_a_job_is_refused():
    at = Table(configured(cluster([pool("h200", 1, 4)], [pool("h200", 1, 4, name="other")])))
    at.run_all(*(at.submit(job(f"b{n}", *H200)) for n in range(2)))
    with pytest.raises(ConflictError, match="runs on cell `b`, which is not there any more"):
        would(at, cluster=cluster([pool("h200", 2, 4)]))


def test_production_that_outgrows_its_new_quota_runs_on_and_is_shown():
    at = Table(configured(cluster([pool("h200", 2, 4)]), tree(4, 4)))
    held = at.submit(job("p", *H200, job_class=JobClass.PRODUCTION))
    at.run_all(held)
    smaller = tree(2, 6)
    assert would(at, tenants=smaller) == {"stranded": [("p", True, "exceeds_quota")], "reclaimed": []}
    at.tell(msgspec.structs.replace(at.config, tenants=smaller))
    at.later(7200)
    assert at.stops() == []
    assert held.state is JobState.RUNNING
