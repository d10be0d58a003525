"""Shares of a device, and work that needs none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.model.allocations import Grant
from scheduler.model.cluster import Foreign
from scheduler.model.jobs import PerDevice
from scheduler.model.reasons import ReasonCode
from scheduler.placement import STRATEGIES, Demand, Fleet, Room, admits, place, strategy_named
from scheduler.placement.verdict import whole_room, why_never
from tests.support.builders import CATALOG, cluster, pool

FLEET = Fleet(cluster([pool("h20-96", 2, 2, shareable=True), pool("h200", 1, 2)]), CATALOG)
NO_CPU = PerDevice(cpu_milli=0, memory_mib=0)


def share(thousandths: int, **more: object) -> Demand:
    values = {"accelerator": "h20-96", "per_device": NO_CPU, **more}
    return Demand(role=0, count=1, thousandths=thousandths, **values)


def put(room: Room, demand: Demand, strategy: str = "best-fit") -> tuple[int, int] | None:
    """Place it and take it: (node, bits of the device), or None."""
    grants = place(room, 0, [demand], strategy_named(strategy, room.fleet, recent=[share(500)]))
    if grants is None:
        return None
    room.take(grants)
    return grants[0].node, grants[0].devices


def test_best_fit_fills_a_device_that_is_shared_before_it_begins_another():
    room = Room(FLEET)
    assert put(room, share(400)) == put(room, share(600)) == (0, 1)
    assert put(room, share(1)) == (0, 2)


def test_spread_begins_a_new_device_on_another_node():
    room = Room(FLEET)
    assert [put(room, share(300), "spread") for _ in range(2)] == [(0, 1), (1, 1)]


def test_a_device_of_which_somebody_holds_a_share_is_not_given_whole():
    room = Room(FLEET)
    for _ in range(3):
        put(room, share(900))
    whole = Demand(role=0, accelerator="h20-96", count=2, per_device=NO_CPU)
    assert place(room, 0, [whole]) is None
    assert put(room, Demand(role=0, accelerator="h20-96", count=1, per_device=NO_CPU)) == (1, 2)


def test_devices_that_are_granted_whole_are_never_shared():
    room = Room(FLEET)
    assert put(room, share(500, accelerator="h200")) is None
    reason = why_never(whole_room(FLEET), [0], [share(500, accelerator="h200")])
    assert reason is not None and reason.code is ReasonCode.NOT_SHAREABLE


def test_a_share_brings_its_share_of_the_nodes_cpu_and_memory():
    grants = place(Room(FLEET), 0, [share(250, per_device=None)])
    assert grants is not None
    assert (grants[0].cpu_milli, grants[0].memory_mib) == (8_000, 64_000)


def test_replicas_may_each_take_a_share():
    demand = Demand(role=0, accelerator="h20-96", count=3, granule=1, thousandths=400, per_device=NO_CPU)
    grants = place(Room(FLEET), 0, [demand])
    assert grants is not None
    assert [(grant.replica, grant.node, grant.devices) for grant in grants] == [(0, 0, 1), (1, 0, 1), (2, 0, 2)]


def test_what_others_hold_is_not_shared():
    fleet = Fleet(
        cluster([pool("h20-96", 1, 2, shareable=True)], foreign=(Foreign(node="h20-96-0", devices=1),)), CATALOG
    )
    room = Room(fleet)
    assert [put(room, share(700)) for _ in range(2)] == [(0, 1), None]
    room.set_foreign(())
    assert put(room, share(700)) == (0, 2)


def test_work_without_devices_takes_cpu_only():
    room = Room(FLEET)
    none = Demand(role=0, accelerator="h20-96", count=0, per_device=PerDevice(cpu_milli=40_000, memory_mib=1))
    taken = [put(room, none) for _ in range(3)]
    assert taken == [(0, 0), (1, 0), None]
    assert room.free.tolist() == [3, 3, 3]


def test_a_demand_of_several_accelerators_goes_where_the_strategy_likes_best():
    room = Room(FLEET)
    room.take((Grant(0, 0, 1, 0, 0), Grant(1, 0, 1, 0, 0)))
    either = Demand(role=0, accelerator="h20-96", count=2, per_device=NO_CPU, also=("h200",))
    assert put(room, either) == (2, 3)


def test_the_room_for_shares_beside_others_is_counted_for_the_choice():
    room = Room(FLEET)
    assert room.slots_beside_shares().sum() == 0
    for _ in range(3):
        put(room, share(300))
    shelf = FLEET.shelf_of(0, "h20-96")
    assert room.slots_beside_shares()[shelf] == 2 + 1  # two that share a device already, and one more tenth
    put(room, Demand(role=0, accelerator="h20-96", count=1, per_device=NO_CPU))
    assert room.slots_beside_shares()[shelf] == 3


orders = st.lists(st.tuples(st.integers(1, 1000), st.booleans()), max_size=25)


@given(orders, st.sampled_from(sorted(STRATEGIES)))
@settings(max_examples=150, deadline=None)
def test_no_device_is_ever_shared_beyond_itself_and_release_restores_it(wanted, strategy):
    room = Room(FLEET)
    made = strategy_named(strategy, FLEET, recent=[share(300), share(1000)])
    held: list[Grant] = []
    for thousandths, leaves in wanted:
        if leaves and held:
            room.give((held.pop(0),))
            continue
        grants = place(room, 0, [share(thousandths)], made)
        if grants is None:
            assert room.left.max() < thousandths
            continue
        assert admits(room, grants)
        room.take(grants)
        held.extend(grants)
    sums = np.zeros_like(room.left)
    for grant in held:
        sums[grant.node, grant.devices.bit_length() - 1] += grant.thousandths
    assert np.array_equal(room.left, 1000 - sums)
    assert [int(mask) for mask in room.free[:2]] == [sum(1 << b for b in range(2) if not row[b]) for row in sums]
    room.give(held)
    assert (room.left == 1000).all() and room.free.tolist() == [3, 3, 3] and not room.sharers.any()


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4), st.integers(1, 1000))
@settings(max_examples=150, deadline=None)
def test_best_fit_finds_the_device_that_brute_force_finds(left, thousandths):
    room = Room(FLEET)
    for place_, amount in enumerate(left):
        if amount < 1000:
            room.take((Grant(place_ // 2, 0, 1 << place_ % 2, 0, 0, 0, 1000 - amount),))
    found = put(room, share(thousandths))
    nodes = [(sum(left[2 * n : 2 * n + 2]), n) for n in range(2) if max(left[2 * n : 2 * n + 2]) >= thousandths]
    if not nodes:
        assert found is None
        return
    node = min(nodes)[1]
    devices = [(left[2 * node + d], d) for d in range(2) if left[2 * node + d] >= thousandths]
    assert found == (node, 1 << min(devices)[1])


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_two_grants_of_one_plan_may_not_count_the_same_share(strategy):
    room = Room(FLEET)
    (grant,) = place(room, 0, [share(600)], strategy_named(strategy, FLEET, recent=[share(600)])) or ()
    assert admits(room, [grant])
    assert not admits(room, [grant, grant])
