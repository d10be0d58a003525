"""The index by what nodes can give is what a look at all of them would tell, whatever befell them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.model.allocations import Grant
from scheduler.model.cluster import NodeState
from scheduler.placement import Fleet, Room
from scheduler.placement.index import ShelfIndex
from tests.support.builders import CATALOG, cluster, pool

RACKS = Fleet(cluster([pool("h200", 7, 4, domain_nodes=3), pool("h200", 3, 2, name="small")]), CATALOG)
PACKAGES = Fleet(cluster([pool("ascend-910c", 6, 8)]), CATALOG)

steps = st.lists(
    st.tuples(st.sampled_from(["toggle", "state", "close", "fork"]), st.integers(0, 9), st.integers(0, 7)), max_size=30
)


def change(room: Room, held: dict[int, Grant], what: str, node: int, bit: int) -> Room:
    node %= len(room.fleet.pool)
    if what == "fork":
        return room.fork()
    if what == "state":
        room.set_state(node, NodeState.READY if bit % 2 else NodeState.CORDONED)
    elif what == "close":
        room.closed = np.arange(len(room.fleet.pool)) == node
    elif node in held:
        room.give((held.pop(node),))
    else:
        held[node] = Grant(node, 0, int(room.free[node]) & (1 << bit) - 1, 0, 0)
        room.take((held[node],))
    return room


def fresh(room: Room, shelf: int) -> ShelfIndex:
    copy = room.fork()
    copy.forget_index()
    return copy.index(shelf)


@given(steps, st.sampled_from([RACKS, PACKAGES]))
@settings(max_examples=150, deadline=None)
def test_the_index_kept_by_changes_equals_one_built_anew(taken, fleet):
    room, held = Room(fleet), {}
    shelf = int(fleet.shelf[0])
    room.index(shelf)
    for step in taken:
        room = change(room, held, *step)
    kept, built = room.index(shelf), fresh(room, shelf)
    assert (kept.at, kept.bits, kept.total) == (built.at, built.bits, built.total)
    assert np.array_equal(kept.have, built.have)
    assert np.array_equal(kept.give, built.give)


@given(steps, st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_each_order_yields_every_node_that_can_give_enough_and_no_other(taken, least):
    room, held = Room(RACKS), {}
    for step in taken:
        room = change(room, held, *step)
    index = room.index(int(RACKS.shelf[0]))
    usable = room.usable_at() & (np.bitwise_count(room.free) >= least)
    expected = np.flatnonzero(usable).tolist()
    assert sorted(index.ascending(least)) == expected
    assert sorted(index.descending(least)) == expected
    assert sorted(set(index.packed(least))) == expected
    assert index.count(least) == len(expected)
    assert [index.pick(least, turn) for turn in range(len(expected))] == list(index.ascending(least))


def test_ascending_starts_with_the_fullest_and_descending_with_the_emptiest_node():
    room = Room(RACKS)
    room.take((Grant(4, 0, 0b1, 0, 0), Grant(5, 0, 0b111, 0, 0)))
    index = room.index(int(RACKS.shelf[0]))
    assert next(index.ascending(3)) == 4
    assert next(index.descending()) == 0
    assert next(index.ascending(1)) == 5


def test_blocks_are_domains_and_come_with_the_least_left_over_first():
    room = Room(RACKS)
    room.take((Grant(0, 0, 0b1111, 0, 0),))
    index = room.index(int(RACKS.shelf[0]))
    assert list(index.blocks_for(5)) == [0, 1]  # racks of 8 and 12; one of 4 is too small
    assert index.fullest_blocks()[0] == 1


def test_a_turn_past_the_last_node_is_an_error():
    index = Room(PACKAGES).index(int(PACKAGES.shelf[0]))
    with pytest.raises(IndexError):
        index.pick(1, 6)


def test_an_index_that_a_copy_asked_for_is_built_once_more_and_then_kept_for_every_later_copy(monkeypatch):
    room, shelf = Room(RACKS), int(RACKS.shelf[0])
    room.fork().index(shelf)
    room.fork()
    monkeypatch.setattr("scheduler.placement.room.ShelfIndex", lambda *_: pytest.fail("it was built anew"))
    room.take((Grant(0, 0, 0b11, 0, 0),))
    assert room.fork().index(shelf).total == int(np.bitwise_count(room.free[RACKS.nodes_on(shelf)]).sum())


@given(steps, st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_node_is_usable_alone_where_it_is_usable_among_all(taken, reachable):
    room, held = Room(RACKS), {}
    room.reachable[:] = reachable
    for step in taken:
        room = change(room, held, *step)
    assert [room.usable(node) for node in range(len(RACKS.pool))] == room.usable_at().tolist()
