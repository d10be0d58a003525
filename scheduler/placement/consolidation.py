"""Consolidation that pays for its moves: which running jobs to shift together so that a waiting gang finds room.

Everything is in H20-equivalents x seconds: a move costs what the job would have done while it is saved, restarted and
loaded again; a start is worth what the waiting job does until it would have started anyway. Nothing moves here: the
engine decides what becomes of a proposal, by the rules on moves, notice and minimum run.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, islice
from typing import Final

from msgspec import Struct

from scheduler.model.allocations import Grant
from scheduler.placement.feasibility import Demand
from scheduler.placement.gang import BEST_FIT, place
from scheduler.placement.room import Room
from scheduler.placement.strategies import Strategy

__all__ = ["Consolidation", "Movable", "Move", "Wanting", "consolidate"]

MAX_TRIED: Final = 512
MAX_ORDERS: Final = 16
MAX_COMBINED: Final = 5
"""Sets of jobs that are tried, orders of nodes, and jobs of one node of which every set is tried: the cheapest first,
so that a large fleet takes little longer than a small one."""


class Movable(Struct, frozen=True, kw_only=True):
    """A running job that may move within its cell: `rate` in H20-equivalents, `switch_s` from notice to running."""

    job: int
    demands: tuple[Demand, ...]
    grants: tuple[Grant, ...]
    rate: float
    switch_s: float

    @property
    def cost(self) -> float:
        return self.rate * self.switch_s


class Wanting(Struct, frozen=True, kw_only=True):
    """A waiting job: `rate` in H20-equivalents once it runs, `sooner_s` by which it would start earlier."""

    job: int
    demands: tuple[Demand, ...]
    rate: float
    sooner_s: float

    @property
    def worth(self) -> float:
        return self.rate * self.sooner_s


class Move(Struct, frozen=True):
    job: int
    grants: tuple[Grant, ...]  # where it goes


class Consolidation(Struct, frozen=True, kw_only=True):
    """`gain` is above `cost`; `grants` is the place that the waiting job finds once all have moved."""

    job: int
    grants: tuple[Grant, ...]
    moves: tuple[Move, ...]
    gain: float
    cost: float


def consolidate(
    room: Room,
    cell: int,
    wanting: Wanting,
    movables: Iterable[Movable],
    strategy: Strategy = BEST_FIT,
    most_tried: int = MAX_TRIED,
) -> Consolidation | None:
    """The cheapest moves found that make room for the job in the cell, if they cost less than they gain.

    None as well where it fits without any. First jobs of one node are lifted, few before many; where that never helps,
    nodes are emptied one after the other. Every job that was lifted has to find another place, or keeps its own where
    that is still free.
    """
    if place(room, cell, wanting.demands, strategy) is not None:
        return None
    known = [m for m in movables if m.cost < wanting.worth]
    tried = islice(_few_of_one_node(known), most_tried)
    found = [_lifted(room, cell, wanting, jobs, strategy) for jobs in tried]
    if not any(found):
        orders = islice(_orders(room, known), MAX_ORDERS)
        found = [_emptied(room, cell, wanting, known, nodes, strategy) for nodes in orders]
    return min((f for f in found if f is not None and f.cost < f.gain), key=lambda f: f.cost, default=None)


def _on_nodes(movables: Sequence[Movable]) -> dict[int, list[Movable]]:
    """The jobs on each node; the nodes that are cheapest to empty first."""
    found: dict[int, list[Movable]] = {}
    for movable in movables:
        for node in sorted({grant.node for grant in movable.grants}):
            found.setdefault(node, []).append(movable)
    return dict(sorted(found.items(), key=lambda entry: (sum(m.cost for m in entry[1]), entry[0])))


def _few_of_one_node(movables: Sequence[Movable]) -> Iterator[list[Movable]]:
    """Sets of jobs of one node: every set of its cheapest, then all of them."""
    for jobs in _on_nodes(movables).values():
        cheapest = sorted(jobs, key=lambda m: (m.cost, m.job))[:MAX_COMBINED]
        for size in range(1, len(cheapest) + 1):
            yield from map(list, combinations(cheapest, size))
        if len(jobs) > len(cheapest):
            yield jobs


def _orders(room: Room, movables: Sequence[Movable]) -> Iterator[list[int]]:
    """Orders in which to empty nodes: from each node, first itself, then those of its domain, then all others."""
    cheapest, domain = list(_on_nodes(movables)), room.fleet.domain
    for start in cheapest:
        near = [node for node in cheapest if node != start and domain[node] == domain[start]]
        far = [node for node in cheapest if domain[node] != domain[start]]
        yield [start, *near, *far]


def _emptied(
    room: Room, cell: int, wanting: Wanting, movables: Sequence[Movable], nodes: Sequence[int], strategy: Strategy
) -> Consolidation | None:
    gone: list[Movable] = []
    room = room.fork()
    for node in nodes:
        leaving = [m for m in movables if m not in gone and any(grant.node == node for grant in m.grants)]
        for movable in leaving:
            room.give(movable.grants)
        gone += leaving
        if place(room, cell, wanting.demands, strategy) is not None:
            return _settled(room, cell, wanting, gone, strategy)
    return None


def _lifted(
    room: Room, cell: int, wanting: Wanting, gone: Sequence[Movable], strategy: Strategy
) -> Consolidation | None:
    room = room.fork()
    for movable in gone:
        room.give(movable.grants)
    return _settled(room, cell, wanting, gone, strategy)


def _settled(
    room: Room, cell: int, wanting: Wanting, gone: Sequence[Movable], strategy: Strategy
) -> Consolidation | None:
    """The waiting job takes its place, then those who had to go take theirs. None if anybody finds none."""
    grants = place(room, cell, wanting.demands, strategy)
    if grants is None:
        return None
    room.take(grants)
    moves = _rehoused(room, cell, gone, strategy)
    if moves is None:
        return None
    moving = {move.job for move in moves}
    cost = sum(m.cost for m in gone if m.job in moving)
    return Consolidation(job=wanting.job, grants=grants, moves=moves, gain=wanting.worth, cost=cost)


def _rehoused(room: Room, cell: int, gone: Sequence[Movable], strategy: Strategy) -> tuple[Move, ...] | None:
    """Those whose old place is still free keep it; the others move, the largest first. None if one finds no place."""
    moves = []
    for movable in sorted(gone, key=lambda m: (-sum(grant.count for grant in m.grants), m.job)):
        if _take_all(room, movable.grants):
            continue
        grants = place(room, cell, movable.demands, strategy)
        if grants is None:
            return None
        room.take(grants)
        moves.append(Move(movable.job, grants))
    return tuple(moves)


def _take_all(room: Room, grants: Sequence[Grant]) -> bool:
    if not all(room.has(grant) for grant in grants):
        return False
    room.take(grants)
    return True
