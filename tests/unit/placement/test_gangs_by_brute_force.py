"""Tiny fleets, where every way to place a gang can be tried: placement finds one whenever there is one."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.config import load_catalog
from scheduler.model.allocations import Grant
from scheduler.model.jobs import Level
from scheduler.placement import STRATEGIES, Demand, Fleet, Room, admits, place, strategy_named
from scheduler.placement.granting import devices_for
from tests.support.builders import CATALOG, cluster, pool

PLAIN = Fleet(cluster([pool("h200", 4, 3, domain_nodes=2)], [pool("h200", 2, 3, name="far")]), CATALOG)
PACKAGES = Fleet(cluster([pool("ascend-910c", 3, 8)]), CATALOG)
BOXES = Fleet(cluster([pool("ascend-910b2", 2, 16)]), load_catalog())

names = st.sampled_from(sorted(STRATEGIES))
levels = st.sampled_from(Level)


def room_with(fleet: Fleet, idle: list[int]) -> Room:
    room = Room(fleet)
    room.take([Grant(n, 0, int(fleet.devices[n]) & ~mask, 0, 0) for n, mask in enumerate(idle)])
    return room


def ways(fleet: Fleet, room: Room, nodes: list[int], count: int) -> list[tuple[int, ...]]:
    """Every split of `count` over the nodes that the vendor's tools can grant."""
    rule = fleet.granting[int(fleet.pool[nodes[0]])]
    parts = [[n for n in range(count + 1) if not n or devices_for(rule, int(room.free[node]), n)] for node in nodes]
    return [way for way in product(*parts) if sum(way) == count]


def possible(fleet: Fleet, room: Room, count: int, require: Level) -> bool:
    nodes = [n for n in range(len(fleet.pool)) if fleet.cell[n] == 0]
    if require is Level.NODE:
        return any(ways(fleet, room, [node], count) for node in nodes)
    if require is Level.DOMAIN:
        domains = {int(fleet.domain[n]) for n in nodes}
        return any(ways(fleet, room, [n for n in nodes if fleet.domain[n] == d], count) for d in domains)
    return bool(ways(fleet, room, nodes, count))


@given(st.lists(st.integers(0, 7), min_size=6, max_size=6), st.integers(1, 12), levels, levels, names)
@settings(max_examples=300, deadline=None)
def test_a_gang_is_placed_exactly_where_brute_force_finds_a_place(idle, count, require, prefer, name):
    room = room_with(PLAIN, idle)
    demand = Demand(role=0, accelerator="h200", count=count, require=require, prefer=prefer)
    grants = place(room, 0, [demand], strategy_named(name, PLAIN, recent=[demand]))
    assert (grants is not None) == possible(PLAIN, room, count, require)
    if grants is not None:
        assert sum(grant.count for grant in grants) == count
        assert {int(PLAIN.cell[grant.node]) for grant in grants} == {0}
        assert admits(room, grants)


@pytest.mark.parametrize(("fleet", "accelerator"), [(PACKAGES, "ascend-910c"), (BOXES, "ascend-910b2")])
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_what_the_vendors_tools_can_grant_is_found_and_nothing_else(fleet, accelerator, data):
    idle = [data.draw(st.integers(0, int(mask))) for mask in fleet.devices]
    count = data.draw(st.integers(1, int(fleet.devices[0]).bit_count() + 4))
    room = room_with(fleet, idle)
    demand = Demand(role=0, accelerator=accelerator, count=count)
    grants = place(room, 0, [demand], strategy_named(data.draw(names), fleet, recent=[demand]))
    assert (grants is not None) == possible(fleet, room, count, Level.CELL)
    for grant in grants or ():
        rule = fleet.granting[int(fleet.pool[grant.node])]
        assert devices_for(rule, grant.devices, grant.count) == grant.devices


@given(
    st.lists(st.integers(0, 7), min_size=6, max_size=6),
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0, 1, 2, 3])), min_size=1, max_size=3),
    names,
)
@settings(max_examples=200, deadline=None)
def test_several_roles_are_placed_whole_or_not_at_all_and_the_room_is_left_as_it_was(idle, roles, name):
    room = room_with(PLAIN, idle)
    before = (room.free.copy(), room.cpu_milli.copy(), room.memory_mib.copy())
    demands = [
        Demand(role=n, accelerator="h200", count=count * (granule or 1), granule=granule)
        for n, (count, granule) in enumerate(roles)
    ]
    grants = place(room, 0, demands, strategy_named(name, PLAIN, recent=demands))
    assert all(
        (now == then).all() for now, then in zip((room.free, room.cpu_milli, room.memory_mib), before, strict=True)
    )
    if grants is None:
        return
    for demand in demands:
        mine = [grant for grant in grants if grant.role == demand.role]
        assert sum(grant.count for grant in mine) == demand.count
        if demand.granule:
            assert all(grant.count == demand.granule for grant in mine)
    assert admits(room, grants)
    room.take(grants)
    room.give(grants)
    assert (room.free == before[0]).all()
