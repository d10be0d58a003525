"""Where a gang goes: all demands of a job within one cell, or none of them."""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.model.allocations import Grant
from scheduler.model.jobs import Level
from scheduler.placement.feasibility import Demand, devices_each_can_give, floor_to_grants, granted_share
from scheduler.placement.room import Room

__all__ = ["best_fit", "place", "spread", "STRATEGIES", "Strategy"]

Strategy = Callable[[NDArray[np.int64], int], int]
"""(devices that each node can give, count wanted) -> position of the node to take a part from; never one with 0."""


class _Piece(Struct, frozen=True):
    node: int
    count: int


def best_fit(can_give: NDArray[np.int64], count: int) -> int:
    """The fullest node that still takes all of it; else the node that takes most, so that the gang spans few."""
    enough = np.flatnonzero(can_give >= count)
    if len(enough):
        return int(enough[np.argmin(can_give[enough])])
    return int(np.argmax(can_give))


def spread(can_give: NDArray[np.int64], count: int) -> int:
    """The emptiest node, so that a lost node costs each job little."""
    return int(np.argmax(can_give))


STRATEGIES: dict[str, Strategy] = {"best-fit": best_fit, "spread": spread}


def place(room: Room, cell: int, demands: Sequence[Demand], strategy: Strategy = best_fit) -> tuple[Grant, ...] | None:
    """Grants for every demand in the cell, or None. The room is as it was afterwards.

    A demand with a granule is split into blocks of that many devices, each on a single node.
    """
    taken: list[Grant] = []
    for demand in demands:
        grants = _place_role(room, cell, demand, strategy)
        if grants is None:
            room.give(taken)
            return None
        room.take(grants)
        taken.extend(grants)
    room.give(taken)
    return tuple(taken)


def _place_role(room: Room, cell: int, demand: Demand, strategy: Strategy) -> list[Grant] | None:
    if not demand.granule:
        return _place_block(room, cell, demand, demand.count, 0, strategy)
    placed: list[Grant] = []
    for replica in range(demand.count // demand.granule):
        grants = _place_block(room, cell, demand, demand.granule, replica, strategy)
        if grants is None:
            room.give(placed)
            return None
        room.take(grants)
        placed.extend(grants)
    room.give(placed)
    return placed


def _place_block(
    room: Room, cell: int, demand: Demand, count: int, replica: int, strategy: Strategy
) -> list[Grant] | None:
    nodes = room.fleet.nodes_on(room.fleet.shelf_of(cell, demand.accelerator))
    can_give = devices_each_can_give(room, demand, nodes)
    pieces: list[_Piece] | None = None
    if demand.granule or Level.NODE in (demand.require, demand.prefer):
        pieces = _on_one_node(nodes, can_give, count, strategy)
        if pieces is None and (demand.granule or demand.require is Level.NODE):
            return None
    if pieces is None and Level.DOMAIN in (demand.require, demand.prefer):
        pieces = _in_one_domain(room, demand, nodes, can_give, count, strategy)
        if pieces is None and demand.require is Level.DOMAIN:
            return None
    if pieces is None:
        pieces = _over_nodes(room, demand, nodes, can_give, count, strategy)
    if pieces is None:
        return None
    return [_grant(room, demand, piece, replica) for piece in pieces]


def _on_one_node(
    nodes: NDArray[np.int64], can_give: NDArray[np.int64], count: int, strategy: Strategy
) -> list[_Piece] | None:
    enough = np.flatnonzero(can_give >= count)
    if not len(enough):
        return None
    return [_Piece(int(nodes[enough[strategy(can_give[enough], count)]]), count)]


def _in_one_domain(
    room: Room,
    demand: Demand,
    nodes: NDArray[np.int64],
    can_give: NDArray[np.int64],
    count: int,
    strategy: Strategy,
) -> list[_Piece] | None:
    """The domain with the least left over that takes the gang whole."""
    domains, inverse = np.unique(room.fleet.domain[nodes], return_inverse=True)
    sums = np.bincount(inverse, weights=can_give, minlength=len(domains)).astype(np.int64)
    for position in np.argsort(np.where(sums >= count, sums, np.iinfo(np.int64).max), kind="stable"):
        if sums[position] < count:
            return None
        inside = inverse == position
        pieces = _over_nodes(room, demand, nodes[inside], can_give[inside], count, strategy)
        if pieces is not None:
            return pieces
    return None


def _over_nodes(
    room: Room,
    demand: Demand,
    nodes: NDArray[np.int64],
    can_give: NDArray[np.int64],
    count: int,
    strategy: Strategy,
) -> list[_Piece] | None:
    if int(can_give.sum()) < count:
        return None
    left, pieces, can_give = count, [], can_give.copy()
    while left > 0:
        position = strategy(can_give, left)
        part = min(left, int(can_give[position]))
        part = int(floor_to_grants(np.array([part], dtype=np.int64), room.fleet, demand.accelerator)[0])
        if part <= 0:
            return None  # what is left cannot be granted on any node
        pieces.append(_Piece(int(nodes[position]), part))
        can_give[position] = 0
        left -= part
    return pieces


def _grant(room: Room, demand: Demand, piece: _Piece, replica: int) -> Grant:
    free = int(room.free[piece.node])
    devices = 0
    while devices.bit_count() < piece.count:
        devices |= free & -free
        free &= free - 1
    cpu_milli, memory_mib = granted_share(room.fleet, piece.node, piece.count, demand.per_device)
    return Grant(piece.node, demand.role, devices, cpu_milli, memory_mib, replica)
