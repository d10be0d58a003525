"""What must hold of quota whatever the numbers are; tiny trees against a slow and plain reading of the rules."""

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.model.allocations import Allocation, Chosen, Grant
from scheduler.model.tenants import JobClass, Tenant, Tenants
from scheduler.quota import UNLIMITED, Ledger, TenantTree
from scheduler.quota.claims import Claim, within
from scheduler.quota.entitlement import entitlements, proportional
from scheduler.quota.reclaim import Holder, lost_work, victims_first
from tests.support.builders import CATALOG
from tests.support.plain_quota import CHIPS, NAMES, RESOURCES, Held, Plain, shares, trees

fleets = st.lists(st.integers(0, 12), min_size=3, max_size=3)
steps = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(CHIPS), st.integers(1, 5) | shares, st.sampled_from(JobClass)),
    max_size=14,
)


def in_service(tree: TenantTree, devices: list[int]) -> np.ndarray:
    found = np.zeros(len(tree.resources), dtype=np.int64)
    for name, count in zip(CHIPS, devices, strict=True):
        column = tree.resource_index[name]
        found[column] += count
        found[tree.family_of[column]] += count
    return found


def chosen(name: str, count: float) -> tuple[Chosen, ...]:
    return (Chosen(name, int(count)) if count >= 1 else Chosen(name, 1, round(1000 * count)),)


def allocation(name: str, count: float, job_class: JobClass) -> Allocation:
    return Allocation(
        chosen=chosen(name, count), grants=(Grant(0, 0, 0, 0, 0),), rate=1.0, charge=5, job_class=job_class
    )


def play(tenants: Tenants, devices: list[int], asked: list[tuple]) -> tuple[Ledger, Held]:
    """Everything that finds no shortage is taken; more than is in service never runs."""
    tree = TenantTree(tenants, CATALOG)
    ledger, held = Ledger(tree), []
    ledger.serve(in_service(tree, devices))
    idle = {chip: 1000 * count for chip, count in zip(CHIPS, devices, strict=True)}
    for tenant, chip, count, job_class in asked:
        wanted = allocation(chip, count, job_class)
        short = ledger.shortages(tree.index[tenant], "ann", wanted.chosen, wanted.charge, job_class)
        amount = sum(part.amount for part in wanted.chosen)
        if not short and idle[chip] >= amount:
            ledger.add(tree.index[tenant], "ann", wanted)
            held.append((tenant, wanted))
            idle[chip] -= amount
    return ledger, held


@given(trees, fleets, steps)
@settings(max_examples=300, deadline=None)
def test_no_limit_is_exceeded_at_any_level_by_any_sequence_of_decisions(
    tenants: Tenants, devices: list[int], asked: list[tuple]
) -> None:
    ledger, held = play(tenants, devices, asked)
    tree = ledger.tree
    for resource in RESOURCES:
        column = tree.resource_index[resource]
        entitled = {name: int(ledger.entitled[i, column]) for i, name in enumerate(tree.names)}
        plain = Plain(tenants, resource, entitled, held)
        for name in NAMES:
            quota, tenant = plain.quota(name), tenants.get(name)
            ceiling = next((q.ceiling for q in tenant.quotas if q.resource == resource), None) if tenant else None
            if quota is not None:
                assert plain.use(name, JobClass.PRODUCTION) <= entitled[name] <= quota.nominal
                firm = plain.use(name, JobClass.PRODUCTION, JobClass.STANDARD)
                assert firm <= quota.nominal + (quota.borrowing_limit or 0)
            if ceiling is not None:
                assert plain.use(name, *JobClass) <= ceiling


@given(trees, fleets, steps)
@settings(max_examples=300, deadline=None)
def test_production_runs_where_and_only_where_it_lies_within_the_nominal_of_those_on_its_path(
    tenants: Tenants, devices: list[int], asked: list[tuple]
) -> None:
    """Both ways, at every step: within the entitlement of all on the path who have one, and of one of them at least
    where anybody has. A tenant without quota stands in nobody's way."""
    tenants = without_other_limits(tenants)
    tree = TenantTree(tenants, CATALOG)
    ledger, held = Ledger(tree), []
    ledger.serve(in_service(tree, devices))
    for tenant, chip, count, _ in asked:
        wanted = allocation(chip, count, JobClass.PRODUCTION)
        short = ledger.shortages(tree.index[tenant], "ann", wanted.chosen, wanted.charge, JobClass.PRODUCTION)
        about = [chip, *(["family:h20"] if chip != "h200" else [])]
        fits, promised, governed = True, False, False
        for resource in about:
            column = tree.resource_index[resource]
            entitled = {name: int(ledger.entitled[i, column]) for i, name in enumerate(tree.names)}
            plain = Plain(tenants, resource, entitled, [*held, (tenant, wanted)])
            claims = [name for name in NAMES if plain.quota(name) is not None]
            path = [name for name in claims if (tenant + "/").startswith(name + "/")]
            governed, promised = governed or bool(claims), promised or bool(path)
            fits &= all(plain.use(name, JobClass.PRODUCTION) <= entitled[name] for name in path)
        assert (not short) == (fits and (promised or not governed))
        if not short:
            ledger.add(tree.index[tenant], "ann", wanted)
            held.append((tenant, wanted))


def without_other_limits(tenants: Tenants) -> Tenants:
    """With nominal quota and borrowing alone."""
    plain = [
        msgspec.structs.replace(
            tenant,
            quotas=tuple(
                msgspec.structs.replace(q, lending_limit=None, ceiling=None, borrowing_limit=q.borrowing_limit or 0)
                for q in tenant.quotas
            ),
        )
        for tenant in tenants.tenants
    ]
    return msgspec.structs.replace(tenants, tenants=tuple(plain))


@given(trees, fleets, steps)
@settings(max_examples=300, deadline=None)
def test_what_is_kept_from_lending_is_there_when_it_is_asked_for(
    tenants: Tenants, devices: list[int], asked: list[tuple]
) -> None:
    asked = [(t, chip, count, JobClass.STANDARD) for t, chip, count, _ in asked]
    ledger, held = play(tenants, devices, asked)
    tree = ledger.tree
    for resource in RESOURCES:
        column = tree.resource_index[resource]
        entitled = {name: int(ledger.entitled[i, column]) for i, name in enumerate(tree.names)}
        plain = Plain(tenants, resource, entitled, held)
        if any(plain.keeps(name) for name in NAMES) and plain.use("", JobClass.STANDARD):
            reserved = sum(max(plain.drawn(t), plain.keeps(t)) for t in plain.children(""))
            kept_at_first = sum(
                max(Plain(tenants, resource, entitled, []).drawn(t), plain.keeps(t)) for t in plain.children("")
            )
            assert reserved <= max(int(ledger.in_service[column]), kept_at_first)


@given(trees, fleets, steps, st.data())
@settings(max_examples=200, deadline=None)
def test_the_ledger_is_a_sum_that_never_drifts(
    tenants: Tenants, devices: list[int], asked: list[tuple], data: st.DataObject
) -> None:
    """Whatever is released, however the fleet and the quota change: only what is held counts."""
    ledger, held = play(tenants, devices, asked)
    kept: Held = []
    for tenant, held_by in held:
        if data.draw(st.booleans()):
            kept.append((tenant, held_by))
        else:
            ledger.add(ledger.tree.index[tenant], "ann", held_by, sign=-1)
    ledger.serve(in_service(ledger.tree, data.draw(fleets)))
    fresh = Ledger(ledger.tree)
    for tenant, held_by in kept:
        fresh.add(fresh.tree.index[tenant], "ann", held_by)
    fresh.serve(ledger.in_service)
    assert np.array_equal(fresh.held, ledger.held)
    assert fresh.user_devices == ledger.user_devices
    assert np.array_equal(fresh.limits, ledger.limits)
    asked_for = chosen(data.draw(st.sampled_from(CHIPS)), data.draw(st.integers(1, 5) | shares))
    who, job_class = data.draw(st.integers(1, len(NAMES))), data.draw(st.sampled_from(JobClass))
    both = [at.shortages(who, "ann", asked_for, 1, job_class) for at in (ledger, fresh)]
    assert both[0] == both[1]


@given(trees, fleets)
@settings(max_examples=200, deadline=None)
def test_entitlements_never_exceed_nominal_and_sum_exactly(tenants: Tenants, devices: list[int]) -> None:
    tree = TenantTree(tenants, CATALOG)
    found = entitlements(tree, in_service(tree, devices))
    assert (found <= np.maximum(tree.nominal, 0)).all()
    promised = tree.nominal[[1, 4]].sum(axis=0)
    served = np.minimum(promised, in_service(tree, devices))
    assert (found[[1, 4]].sum(axis=0) == served)[: tree.device_columns].all()
    for parent, children in ((1, (2, 3)), (4, (5,))):
        together = found[list(children)].sum(axis=0)
        assert (together <= found[parent]).all()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(0, 300))
def test_parts_sum_exactly_and_differ_from_the_quota_by_less_than_one(claims: list[int], given_: int) -> None:
    shares = proportional(claims, given_)
    assert sum(shares) == min(given_, sum(claims))
    for claim, share in zip(claims, shares, strict=True):
        assert 0 <= share <= claim
        if sum(claims) > given_:
            assert abs(share - claim * given_ / sum(claims)) < 1


@given(trees, fleets, steps)
@settings(max_examples=200, deadline=None)
def test_more_devices_or_a_better_class_of_limit_never_refuse_what_was_allowed(
    tenants: Tenants, devices: list[int], asked: list[tuple]
) -> None:
    ledger, _ = play(tenants, devices, asked)
    for who in range(1, len(NAMES) + 1):
        for chip in CHIPS:
            chosen = (Chosen(chip, 1),)
            short = [bool(ledger.shortages(who, "bo", chosen, 1, job_class)) for job_class in JobClass]
            assert short[0] >= short[1] >= short[2]  # production's limits hold more than standard's, idle's fewer


jobs = st.lists(
    st.dictionaries(st.integers(0, 3), st.integers(1, 5), max_size=3).map(lambda d: sorted(d.items())), max_size=12
)


@given(jobs, st.lists(st.integers(0, 12), min_size=4, max_size=4))
@settings(max_examples=500, deadline=None)
def test_who_is_within_nominal_is_found_as_if_one_job_were_tried_after_the_other(
    wanted: list[list[tuple[int, int]]], limits: list[int]
) -> None:
    left, expected = list(limits), []
    for uses in wanted:
        fits = all(amount <= left[row] for row, amount in uses)
        for row, amount in uses if fits else ():
            left[row] -= amount
        expected.append(fits)
    flat = [pair for uses in wanted for pair in uses]
    ptr = np.concatenate(([0], np.cumsum([len(uses) for uses in wanted]))).astype(np.int64)
    row, amount = (np.array([pair[i] for pair in flat], dtype=np.int64) for i in (0, 1))
    assert within(ptr, row, amount, np.array(limits, dtype=np.int64)).tolist() == expected


holders = st.lists(
    st.builds(
        Holder,
        number=st.integers(0, 1000),
        tenant=st.integers(0, 2),
        claim=st.sampled_from(Claim),
        priority=st.integers(0, 3),
        worth=st.floats(0, 100),
        since_saved_us=st.none() | st.integers(0, 10**9),
        overhead_us=st.integers(0, 10**8),
    ),
    max_size=12,
    unique_by=lambda h: h.number,
)


@given(holders)
@settings(max_examples=300, deadline=None)
def test_victims_are_ordered_by_right_and_within_a_tenant_by_priority(found: list[Holder]) -> None:
    order = victims_first(found)
    by_number = {h.number: h for h in found}
    assert sorted(order) == sorted(by_number)
    claims = [by_number[n].claim for n in order]
    assert claims == sorted(claims, reverse=True)
    for i, first in enumerate(order):
        for second in order[i + 1 :]:
            a, b = by_number[first], by_number[second]
            if (a.tenant, a.claim) == (b.tenant, b.claim):
                assert a.priority <= b.priority


@given(holders.filter(lambda hs: any(h.since_saved_us is not None for h in hs)), st.data())
@settings(max_examples=200, deadline=None)
def test_to_hide_a_checkpoint_neither_saves_a_job_nor_exposes_it(found: list[Holder], data: st.DataObject) -> None:
    """Whoever hides loses as the median of those who declare: between the least and the most of them."""
    declared = [h.since_saved_us + h.overhead_us for h in found if h.since_saved_us is not None]
    for h, lost in zip(found, lost_work(found), strict=True):
        if h.since_saved_us is None:
            assert h.worth * min(declared) / 1e6 - 1e-6 <= lost <= h.worth * max(declared) / 1e6 + 1e-6


def test_a_fleet_without_quota_limits_nobody() -> None:
    tree = TenantTree(Tenants(tenants=(Tenant(name="red"),)), CATALOG)
    assert (tree.limits == UNLIMITED).all()
