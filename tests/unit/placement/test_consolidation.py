"""Moves are proposed only where they pay, and then the cheapest that brute force knows."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.model.allocations import Grant
from scheduler.model.jobs import Level
from scheduler.placement import Demand, Fleet, Movable, Room, Wanting, consolidate, place
from tests.support.builders import CATALOG, cluster, pool

FLEET = Fleet(cluster([pool("h200", 3, 4)]), CATALOG)


def h200(count: int, **more: object) -> Demand:
    return Demand(role=0, accelerator="h200", count=count, **more)


def running(room: Room, job: int, node: int, devices: int, *, rate: float = 1.0, switch_s: float = 100.0) -> Movable:
    grant = Grant(node, 0, devices, 0, 0)
    room.take((grant,))
    demands = (h200(devices.bit_count()),)
    return Movable(job=job, demands=demands, grants=(grant,), rate=rate, switch_s=switch_s)


def wanting(count: int, *, rate: float = 4.0, sooner_s: float = 3600.0) -> Wanting:
    return Wanting(job=9, demands=(h200(count, require=Level.NODE),), rate=rate, sooner_s=sooner_s)


def test_one_job_moves_so_that_a_gang_finds_a_whole_node():
    room = Room(FLEET)
    movables = [running(room, n, n, 0b1) for n in range(3)]
    found = consolidate(room, 0, wanting(4), movables)
    assert found is not None
    assert (len(found.moves), found.cost, found.gain) == (1, 100.0, 14_400.0)
    assert {grant.node for grant in found.grants} == {found.moves[0].job}
    assert room.free.tolist() == [0b1110] * 3, "a proposal changes nothing"


def test_the_cheaper_job_moves():
    room = Room(FLEET)
    movables = [running(room, n, n, 0b1, rate=rate) for n, rate in enumerate((6.0, 2.0, 3.0))]
    found = consolidate(room, 0, wanting(4), movables)
    assert found is not None and [move.job for move in found.moves] == [1]


def test_moves_that_cost_more_than_they_gain_are_not_proposed():
    room = Room(FLEET)
    movables = [running(room, n, n, 0b1, switch_s=300.0) for n in range(3)]
    assert consolidate(room, 0, wanting(4, rate=1.0, sooner_s=299.0), movables) is None
    assert consolidate(room, 0, wanting(4, rate=1.0, sooner_s=301.0), movables) is not None


def test_nothing_moves_for_a_job_that_fits_or_that_no_moves_would_help():
    room = Room(FLEET)
    movables = [running(room, n, n, 0b1) for n in range(2)]
    assert consolidate(room, 0, wanting(4), movables) is None  # node 2 is idle
    full = Room(FLEET)
    crowd = [running(full, n, n, 0b111) for n in range(3)]
    assert consolidate(full, 0, wanting(4), crowd) is None


def test_several_nodes_are_emptied_where_one_is_not_enough():
    fleet = Fleet(cluster([pool("h200", 4, 4)]), CATALOG)
    room = Room(fleet)
    movables = [running(room, n, n, 0b11) for n in range(4)]
    both = Wanting(job=9, demands=(h200(4, require=Level.NODE), h200(4, require=Level.NODE)), rate=8.0, sooner_s=3600.0)
    found = consolidate(room, 0, both, movables)
    assert found is not None and len(found.moves) == 2 and found.cost == 200.0


def test_a_job_that_may_not_move_stays():
    room = Room(FLEET)
    running(room, 0, 0, 0b1)  # not among those that may move
    movables = [running(room, 1, 1, 0b1), running(room, 2, 2, 0b11)]
    found = consolidate(room, 0, wanting(4), movables)
    assert found is not None and [move.job for move in found.moves] == [1]


def cheapest(room: Room, want: Wanting, movables: list[Movable]) -> float | None:
    """The least cost over all sets of jobs that might be lifted, each put down by best fit, the largest first."""
    costs = []
    for size in range(1, len(movables) + 1):
        for gone in combinations(movables, size):
            trial = room.fork()
            for movable in gone:
                trial.give(movable.grants)
            grants = place(trial, 0, want.demands)
            if grants is None:
                continue
            trial.take(grants)
            for movable in sorted(gone, key=lambda m: (-m.grants[0].count, m.job)):
                again = place(trial, 0, movable.demands)
                if again is None:
                    break
                trial.take(again)
            else:
                costs.append(sum(m.cost for m in gone))
    return min(costs, default=None)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 15), st.integers(1, 9)), max_size=5), st.integers(2, 4))
@settings(max_examples=200, deadline=None)
def test_a_proposal_is_the_cheapest_that_brute_force_finds_and_can_be_carried_out(jobs, count):
    room, movables = Room(FLEET), []
    for number, (node, devices, rate) in enumerate(jobs):
        if devices & ~int(room.free[node]) == 0:
            movables.append(running(room, number, node, devices, rate=float(rate)))
    want = wanting(count, sooner_s=1e6)
    found = consolidate(room, 0, want, movables)
    best = None if place(room, 0, want.demands) is not None else cheapest(room, want, movables)
    assert (found.cost if found else None) == best
    if found is None:
        return
    after = room.fork()
    moved = {move.job for move in found.moves}
    after.give([grant for m in movables if m.job in moved for grant in m.grants])
    for grants in (found.grants, *(move.grants for move in found.moves)):
        assert all(after.has(grant) for grant in grants)
        after.take(grants)
