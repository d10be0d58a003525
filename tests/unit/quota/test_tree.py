"""The tree by class: nominal, borrowing, lending, ceilings and entitlement, on small numbers."""

import numpy as np
import pytest

from scheduler.model.allocations import Allocation, Chosen, Grant
from scheduler.model.tenants import JobClass, Quota, Shortfall, Tenant, Tenants
from scheduler.quota import Ledger, TenantTree
from scheduler.quota.budgets import BudgetUse
from scheduler.quota.entitlement import by_rank, entitlements, proportional
from tests.support.builders import CATALOG

PRODUCTION, STANDARD, IDLE = JobClass


def quota(resource: str, nominal: int = 0, **more: int) -> Quota:
    return Quota(resource=resource, nominal=nominal, **more)


def ledger_of(shortfall: Shortfall = Shortfall.PROPORTIONAL, **entries: tuple[Quota, ...]) -> Ledger:
    """`ledger_of(red=(quota(...),), red__vision=())`."""
    listed = tuple(Tenant(name=name.replace("__", "/"), quotas=quotas) for name, quotas in entries.items())
    return Ledger(TenantTree(Tenants(tenants=listed, shortfall=shortfall), CATALOG))


def serve(ledger: Ledger, **devices: int) -> None:
    """So many devices are in service; families are summed."""
    tree = ledger.tree
    found = np.zeros(len(tree.resources), dtype=np.int64)
    for name, count in devices.items():
        column = tree.resource_index[name.replace("_", "-")]
        found[column] += count
        found[tree.family_of[column]] += count
    ledger.serve(found)


def take(
    ledger: Ledger, tenant: str, name: str, count: int, job_class: JobClass = STANDARD
) -> tuple[tuple[str, str, int], ...]:
    """Hold it if nothing is in the way; else what is: (tenant, resource, have)."""
    number, chosen = ledger.tree.index[tenant], (Chosen(name, count),)
    short = ledger.shortages(number, "ann", chosen, 1000 * count, job_class)
    if not short:
        grants = (Grant(0, 0, 0, 0, 0),)
        held = Allocation(chosen=chosen, grants=grants, rate=1.0, charge=1000 * count, job_class=job_class)
        ledger.add(number, "ann", held)
    return tuple((s.tenant, s.resource, s.have) for s in short)


def test_a_plain_number_is_neither_exceeded_nor_kept_from_others():
    ledger = ledger_of(red=(quota("h200", 4),), blue=(quota("h200", 4, borrowing_limit=4),))
    serve(ledger, h200=8)
    assert take(ledger, "red", "h200", 5) == (("red", "h200", 4),)
    assert take(ledger, "blue", "h200", 8) == ()


def test_borrowing_ends_at_the_borrowing_limit():
    ledger = ledger_of(red=(quota("h200", 6),), blue=(quota("h200", 2, borrowing_limit=3),))
    serve(ledger, h200=8)
    assert take(ledger, "blue", "h200", 6) == (("blue", "h200", 5),)
    assert take(ledger, "blue", "h200", 5) == ()


def test_what_a_tenant_does_not_lend_stays_free_for_it_alone():
    ledger = ledger_of(red=(quota("h200", 6, lending_limit=2),), blue=(quota("h200", 2, borrowing_limit=6),))
    serve(ledger, h200=8)
    assert take(ledger, "blue", "h200", 5) == (("", "h200", 4),)
    assert take(ledger, "blue", "h200", 4) == ()
    assert take(ledger, "red", "h200", 5) == (("", "h200", 4),)
    assert take(ledger, "red", "h200", 4) == ()


def test_children_borrow_from_each_other_below_their_parent_and_from_its_neighbours_above():
    ledger = ledger_of(
        red=(quota("h200", 6, borrowing_limit=2),),
        red__vision=(quota("h200", 3, borrowing_limit=5),),
        red__text=(quota("h200", 3),),
        blue=(quota("h200", 4),),
    )
    serve(ledger, h200=10)
    assert take(ledger, "red/vision", "h200", 9) == (("red/vision", "h200", 8), ("red", "h200", 8))
    assert take(ledger, "red/vision", "h200", 8) == ()
    assert take(ledger, "red/text", "h200", 1) == (("red", "h200", 0),)


def test_borrowing_one_member_of_a_family_leaves_the_nominal_of_another():
    ledger = ledger_of(
        red=(quota("h20-96", 4), quota("family:h20", 8)),
        blue=(quota("h20-141", 2, borrowing_limit=8), quota("family:h20", 8)),
    )
    serve(ledger, h20_96=8, h20_141=8)
    assert take(ledger, "blue", "h20-141", 8) == ()
    assert take(ledger, "red", "h20-96", 4, PRODUCTION) == ()
    assert take(ledger, "blue", "h20-96", 1) == (("blue", "family:h20", 0),)


def test_production_holds_what_its_tenant_is_entitled_to_and_no_more():
    ledger = ledger_of(red=(quota("h200", 6, borrowing_limit=6),), blue=(quota("h200", 6),))
    serve(ledger, h200=8)
    assert take(ledger, "red", "h200", 5, PRODUCTION) == (("red", "h200", 4),)
    assert take(ledger, "red", "h200", 4, PRODUCTION) == ()
    assert take(ledger, "red", "h200", 2) == ()


def test_a_production_job_within_nominal_waits_out_a_shortfall_and_is_not_refused_for_ever():
    ledger = ledger_of(red=(quota("h200", 8),))
    serve(ledger, h200=4)
    chosen = (Chosen("h200", 8),)
    (short,) = ledger.shortages(1, "ann", chosen, 8000, PRODUCTION)
    assert (short.have, short.limit, short.for_ever, short.tier) == (4, 8, False, PRODUCTION)
    (short,) = ledger.shortages(1, "ann", (Chosen("h200", 9),), 9000, PRODUCTION)
    assert short.for_ever


def test_production_without_nominal_quota_has_no_place_where_others_have_one():
    ledger = ledger_of(red=(quota("h200", 4),), blue=())
    assert take(ledger, "blue", "h200", 1, PRODUCTION) == (("blue", "h200", 0),)
    assert take(ledger, "blue", "h20-96", 1, PRODUCTION) == ()
    assert take(ledger, "blue", "h200", 1) == ()


def test_a_tenant_without_quota_is_not_in_the_way_of_what_those_below_it_were_promised():
    ledger = ledger_of(org=(), org__team=(quota("h200", 8),), other=(quota("h200", 4),))
    assert take(ledger, "org/team", "h200", 8, PRODUCTION) == ()
    assert take(ledger, "org/team", "h200", 1, PRODUCTION) == (("org/team", "h200", 0),)
    assert take(ledger, "org", "h200", 1, PRODUCTION) == (("org", "h200", 0),)
    assert ledger.held[0, :, 0].tolist() == [8000, 8000, 8000, 0]


def test_a_family_stands_for_its_members_also_for_production():
    ledger = ledger_of(red=(quota("family:h20", 4),), blue=(quota("h20-96", 4),))
    assert take(ledger, "red", "h20-141", 4, PRODUCTION) == ()
    assert take(ledger, "red", "h20-96", 1, PRODUCTION) == (("red", "family:h20", 0),)


def test_idle_use_counts_against_the_ceiling_only():
    ledger = ledger_of(red=(quota("h200", 2, ceiling=6),), blue=(quota("h200", 6),))
    serve(ledger, h200=8)
    assert take(ledger, "red", "h200", 7, IDLE) == (("red", "h200", 6),)
    assert take(ledger, "red", "h200", 4, IDLE) == ()
    assert take(ledger, "red", "h200", 2) == ()
    assert take(ledger, "red", "h200", 1) == (("red", "h200", 0),)
    assert ledger.held[:, 1, 0].tolist() == [0, 2000, 6000]


def test_a_ceiling_alone_promises_nothing_and_forbids_nothing_below_it():
    ledger = ledger_of(red=(quota("h200", ceiling=4), quota("compute_units", ceiling=5000)))
    assert take(ledger, "red", "h200", 5) == (("red", "h200", 4),)
    assert take(ledger, "red", "h200", 4) == ()
    assert take(ledger, "red", "h20-96", 2) == (("red", "compute_units", 1000),)


def test_a_tenant_without_an_entry_passes_on_what_its_children_have():
    tree = ledger_of(red=(), red__vision=(quota("h200", 3),), red__text=(quota("h200", 2),)).tree
    assert tree.nominal[:, 0].tolist() == [5, 5, 3, 2]


def test_entitlement_scales_every_level_and_sums_exactly():
    ledger = ledger_of(
        red=(quota("h200", 10),),
        red__vision=(quota("h200", 4),),
        red__text=(quota("h200", 3),),
        blue=(quota("h200", 5),),
    )
    serve(ledger, h200=7)
    assert ledger.entitled[:, 0].tolist() == [7, 5, 2, 2, 2]


def test_by_rank_serves_the_first_rank_whole():
    tenants = (
        Tenant(name="red", rank=2, quotas=(quota("h200", 6),)),
        Tenant(name="blue", rank=1, quotas=(quota("h200", 5),)),
        Tenant(name="green", rank=1, quotas=(quota("h200", 5),)),
    )
    tree = TenantTree(Tenants(tenants=tenants, shortfall=Shortfall.BY_RANK), CATALOG)
    in_service = np.full(len(tree.resources), 12, dtype=np.int64)
    assert entitlements(tree, in_service)[:, 0].tolist() == [12, 2, 5, 5]


@pytest.mark.parametrize(
    ("claims", "given", "shares"),
    [
        ((8, 8, 1), 8, [4, 4, 0]),
        ((1, 1, 1), 2, [1, 1, 0]),
        ((5, 0), 9, [5, 0]),
        ((7, 3), 5, [4, 1]),
        ((0, 0), 0, [0, 0]),
    ],
)
def test_parts_go_to_the_largest_remainders(claims: tuple[int, ...], given: int, shares: list[int]):
    assert proportional(claims, given) == shares


def test_equal_ranks_share_what_earlier_ones_left():
    assert by_rank([4, 4, 4], [1, 0, 1], 7) == [2, 4, 1]


def test_a_spent_budget_stops_starts_until_the_next_period_brings_it_back():
    ledger = ledger_of(red=(quota("h200", budget=1000, budget_period_us=10),))
    assert take(ledger, "red", "h200", 2) == ()
    in_service = np.full(len(ledger.tree.resources), 8, dtype=np.int64)
    spent = BudgetUse(budget=4000, used=4100, period_ends_us=77)
    ledger.serve(in_service, {(1, 0): spent})
    (short,) = ledger.shortages(1, "ann", (Chosen("h200", 1),), 1000)
    assert (short.have, short.for_ever, short.budget) == (0, False, spent)
    ledger.serve(in_service)
    assert take(ledger, "red", "h200", 2) == ()
