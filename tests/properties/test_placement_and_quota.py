"""What must hold of placement and quota whatever the numbers are; tiny cases against brute force."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.statement import Statement
from scheduler.model.allocations import Allocation, Chosen, Grant
from scheduler.placement import STRATEGIES, Demand, Fleet, Room, admits, place, strategy_named
from scheduler.placement.feasibility import devices_each_can_give
from scheduler.quota import Ledger, TenantTree
from tests.support.builders import CATALOG, cluster, pool, tenants

FLEET = Fleet(cluster([pool("ascend-910c", 4, 4)], [pool("h200", 2, 4)]), CATALOG)
masks = st.lists(st.integers(0, 15), min_size=4, max_size=4)


def room_with(free: list[int]) -> Room:
    room = Room(FLEET)
    held = [Grant(node, 0, 15 & ~mask, 0, 0) for node, mask in enumerate(free)]
    room.take(held)
    return room


@given(masks, st.integers(1, 16), st.sampled_from(sorted(STRATEGIES)))
@settings(max_examples=200, deadline=None)
def test_a_placement_is_exactly_the_count_on_idle_devices_and_leaves_the_room_alone(
    free: list[int], count: int, strategy: str
) -> None:
    room = room_with(free)
    grants = place(room, 0, [Demand(role=0, accelerator="ascend-910c", count=count)], strategy_named(strategy, FLEET))
    assert room.free[:4].tolist() == free
    if grants is not None:
        assert sum(g.count for g in grants) == count
        assert admits(room, grants)
        assert all(g.count in (1, 2, 4, 8) for g in grants)
        assert len({g.node for g in grants}) == len(grants)


@given(masks, st.integers(1, 16))
@settings(max_examples=200, deadline=None)
def test_best_fit_finds_a_place_whenever_brute_force_does(free: list[int], count: int) -> None:
    room = room_with(free)
    demand = Demand(role=0, accelerator="ascend-910c", count=count)
    gives = devices_each_can_give(room, demand, FLEET.nodes_on(FLEET.shelf_of(0, "ascend-910c"))).tolist()
    ways = product(*[[p for p in (0, 1, 2, 4) if p <= most] for most in gives])
    possible = any(sum(way) == count for way in ways)
    assert (place(room, 0, [demand]) is not None) == possible


@given(masks, st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_each_replica_of_a_service_is_whole_on_one_node(free: list[int], granule: int, replicas: int) -> None:
    if granule == 3:
        granule = 4
    room = room_with(free)
    demand = Demand(role=0, accelerator="ascend-910c", count=granule * replicas, granule=granule)
    grants = place(room, 0, [demand])
    if grants is not None:
        assert sorted(g.replica for g in grants) == list(range(replicas))
        assert {g.count for g in grants} == {granule}


def test_a_gang_of_two_roles_is_placed_whole_or_not_at_all() -> None:
    fleet = Fleet(cluster([pool("h200", 1, 4), pool("h20-96", 1, 4)]), CATALOG)
    room = Room(fleet)
    roles = [Demand(role=0, accelerator="h200", count=4), Demand(role=1, accelerator="h20-96", count=5)]
    assert place(room, 0, roles) is None
    assert room.free.tolist() == [15, 15]


TREE = TenantTree(tenants(red={"h200": 4, "family__h20": 8}, red__vision={}, blue={"h200": 2}), CATALOG)
amounts = st.tuples(
    st.integers(0, 3), st.sampled_from(["ann", "bob"]), st.sampled_from(["h200", "h20-96"]), st.integers(1, 8)
)


def allocation(name: str, count: int) -> Allocation:
    grants = (Grant(0, 0, 0, 0, 0),)
    return Allocation(chosen=(Chosen(name, count),), grants=grants, rate=1.0, charge=count * 1000)


@given(st.lists(amounts, max_size=12))
@settings(max_examples=100, deadline=None)
def test_the_ledger_returns_to_nothing_when_all_is_released(entries: list[tuple[int, str, str, int]]) -> None:
    ledger = Ledger(TREE)
    for tenant, user, name, count in entries:
        ledger.add(tenant, user, allocation(name, count))
    root = ledger.used[0, TREE.resource_index["compute_units"]]
    assert root == sum(count * 1000 for *_, count in entries)
    for tenant, user, name, count in reversed(entries):
        ledger.add(tenant, user, allocation(name, count), sign=-1)
    assert not ledger.used.any() and not ledger.user_devices


@given(st.lists(amounts, max_size=12))
@settings(max_examples=100, deadline=None)
def test_taking_only_what_shows_no_shortage_never_exceeds_a_limit(entries: list[tuple[int, str, str, int]]) -> None:
    ledger = Ledger(TREE)
    for tenant, user, name, count in entries:
        held = allocation(name, count)
        if not ledger.shortages(tenant, user, held.chosen, held.charge):
            ledger.add(tenant, user, held)
    assert (ledger.used <= TREE.limit).all()


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), max_size=8), st.integers(0, 8))
@settings(max_examples=100, deadline=None)
def test_a_statement_rolls_back_to_any_moment(steps: list[tuple[int, int]], back: int) -> None:
    statement = Statement(Room(FLEET), Ledger(TREE))
    moments = []
    for tenant, count in steps:
        moments.append((statement.checkpoint(), statement.room.free.copy(), statement.ledger.used.copy()))
        grants = place(statement.room, 1, [Demand(role=0, accelerator="h200", count=count)])
        if grants is not None:
            held = Allocation(chosen=(Chosen("h200", count),), grants=grants, rate=1.0, charge=count)
            statement.take(tenant, "ann", held)
    if back < len(moments):
        moment, free, used = moments[back]
        statement.rollback(moment)
        assert np.array_equal(statement.room.free, free)
        assert np.array_equal(statement.ledger.used, used)
