"""Where a gang goes: all demands of a job within one cell, or none of them."""

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct

from scheduler.model.allocations import Grant
from scheduler.model.jobs import Level
from scheduler.placement.feasibility import Demand, fitting, gives, granted_share
from scheduler.placement.granting import devices_for
from scheduler.placement.index import ShelfIndex
from scheduler.placement.room import Room
from scheduler.placement.strategies import BestFit, Strategy

__all__ = ["BEST_FIT", "place"]

BEST_FIT = BestFit()
"""Has no state, so one serves all."""


class _Piece(Struct, frozen=True):
    node: int
    count: int
    device: int = 0  # whose share is taken


def place(room: Room, cell: int, demands: Sequence[Demand], strategy: Strategy = BEST_FIT) -> tuple[Grant, ...] | None:
    """Grants for every demand in the cell, or None. The room is as it was afterwards.

    A demand with a granule is split into blocks of that many devices, each on a single node.
    """
    if not room.reachable[cell]:
        return None
    if len(demands) == 1 and not demands[0].granule:
        return _place_block(room, cell, demands[0], demands[0].count, 0, strategy)
    blocks = [block for demand in demands for block in _blocks(demand)]
    taken: list[Grant] = []
    for block in blocks:
        grants = _place_block(room, cell, *block, strategy)
        if grants is None:
            room.give(taken)
            return None
        room.take(grants)
        taken.extend(grants)
    room.give(taken)
    return tuple(taken)


def _blocks(demand: Demand) -> Iterator[tuple[Demand, int, int]]:
    """(demand, devices, replica)"""
    if not demand.granule:
        yield demand, demand.count, 0
        return
    for replica in range(demand.count // demand.granule):
        yield demand, demand.granule, replica


def _place_block(
    room: Room, cell: int, demand: Demand, count: int, replica: int, strategy: Strategy
) -> tuple[Grant, ...] | None:
    pieces = _Search(room, cell, demand, strategy).find(count)
    if pieces is None and demand.avoid:
        pieces = _Search(room, cell, demand, strategy, lenient=True).find(count)
    if pieces is None:
        return None
    return tuple([_grant(room, demand, piece, replica) for piece in pieces])


class _Search:
    """One block of devices on the nodes of one shelf. `lenient`: on the nodes that the demand would avoid, too."""

    def __init__(self, room: Room, cell: int, demand: Demand, strategy: Strategy, lenient: bool = False) -> None:
        self.room = room
        self.demand = demand
        self.strategy = strategy
        self.cell = cell
        self.shelf = room.fleet.shelf_of(cell, demand.accelerator)
        self.shunned = frozenset(() if lenient else demand.avoid)
        self.index: ShelfIndex = room.index(self.shelf)
        self._picky = bool(self.shunned or demand.barred or room.fleet.keeps_spares)

    def find(self, count: int) -> list[_Piece] | None:
        demand, wished = self.demand, (self.demand.require, self.demand.prefer)
        if self._weighs_all:
            pieces = self._by_choice(count)
            if pieces is not None or not demand.whole or demand.also:
                return pieces
        if self.index.total < count:
            return None
        domain_is_node = not self.index.layout.domains
        if demand.granule or Level.NODE in wished or (domain_is_node and Level.DOMAIN in wished):
            pieces = self._on_one_node(count)
            strict = demand.require is Level.NODE or (domain_is_node and demand.require is Level.DOMAIN)
            if pieces is not None or demand.granule or strict:
                return pieces
        by_domain = self.strategy.by_domain and count > self.index.layout.widest
        if Level.DOMAIN in wished or (by_domain and not domain_is_node):
            pieces = self._in_one_domain(count)
            if pieces is not None or demand.require is Level.DOMAIN:
                return pieces
            return self._over_few_domains(count)
        return self._over_nodes(count)

    @property
    def _weighs_all(self) -> bool:
        """Whether CPU and shares count as much as devices, so that the index by devices does not tell the best."""
        demand = self.demand
        return not demand.whole or bool(demand.also) or self.shelf in self.room.fleet.shared_shelves

    def _by_choice(self, count: int) -> list[_Piece] | None:
        fleet, demand = self.room.fleet, self.demand
        names = (demand.accelerator, *demand.also)
        shelves = [fleet.nodes_on(fleet.shelf_of(self.cell, name)) for name in names]
        nodes = shelves[0] if len(shelves) == 1 else np.sort(np.concatenate(shelves))
        nodes = fitting(self.room, demand, nodes, count)
        if self.shunned:
            nodes = nodes[~np.isin(nodes, sorted(self.shunned))]
        if not len(nodes):
            return None
        node, device = self.strategy.choose(self.room, demand, nodes, count)
        return [_Piece(node, count, device)]

    def _on_one_node(self, count: int, block: int | None = None) -> list[_Piece] | None:
        for node in self.strategy.whole(self.room, self.index, self.demand, count, block):
            if self._gives(node, count) == count:
                return [_Piece(node, count)]
        return None

    def _in_one_domain(self, count: int) -> list[_Piece] | None:
        """The domain with the least left over that takes the gang whole."""
        for block in self.index.blocks_for(count):
            pieces = self._over_nodes(count, block)
            if pieces is not None:
                return pieces
        return None

    def _over_few_domains(self, count: int) -> list[_Piece] | None:
        """The emptiest domains whole, and the rest where least is left over."""
        pieces: list[_Piece] = []
        used: set[int] = set()
        for block in self.index.fullest_blocks():
            left = count - sum(piece.count for piece in pieces)
            for last in self.index.blocks_for(left):
                rest = self._over_nodes(left, last) if last not in used else None
                if rest is not None:
                    return pieces + rest
            part = self._over_nodes(left, block, partly=True) or []
            pieces += part
            used.add(block)
            if sum(piece.count for piece in pieces) == count:
                return pieces
        return None

    def _over_nodes(self, count: int, block: int | None = None, partly: bool = False) -> list[_Piece] | None:
        """Nodes that together give `count`; with `partly`, whatever the block can give of it."""
        if not partly and (self.index.total if block is None else self.index.give[block]) < count:
            return None
        alone = self._on_one_node(count, block) if count <= self.index.layout.widest else None
        if alone is not None:
            return alone
        left, used = count, set[int]()
        pieces: list[_Piece] = []
        parts = self.strategy.most(self.room, self.index, self.demand, block)
        while left > 0:
            if pieces and left <= self.index.layout.widest:
                for node in self.strategy.whole(self.room, self.index, self.demand, left, block):
                    if node not in used and self._gives(node, left, used) == left:
                        return [*pieces, _Piece(node, left)]
            node, part = next(self._some(parts, left, used), (-1, 0))
            if part == 0:
                return pieces if partly else None  # what is left cannot be granted on any node
            pieces.append(_Piece(node, part))
            used.add(node)
            left -= part
        return pieces

    def _some(self, nodes: Iterator[int], left: int, used: set[int]) -> Iterator[tuple[int, int]]:
        for node in nodes:
            part = self._gives(node, left, used) if node not in used else 0
            if part:
                yield node, part

    def _gives(self, node: int, most: int, used: set[int] | None = None) -> int:
        if self._picky and (node in self.shunned or self._is_barred(node) or self._is_spare(node, used)):
            return 0
        return gives(self.room, node, self.demand, most)

    def _is_barred(self, node: int) -> bool:
        return bool(self.demand.barred) and int(self.room.fleet.group[node]) in self.demand.barred

    def _is_spare(self, node: int, used: set[int] | None) -> bool:
        """True for an idle node that its domain keeps: of each domain, the last `spare_nodes` that are wholly idle."""
        fleet = self.room.fleet
        _, block, _, pool, _ = fleet.lies[node]
        kept = fleet.spare[pool]
        if not kept or self.demand.replaces:
            return False
        width = fleet.pools[pool].devices_per_node
        if int(self.room.free[node]).bit_count() < width:
            return False
        idle = int(self.index.have[width, block]) - sum(self._was_idle(n, block, width) for n in used or ())
        return idle <= kept

    def _was_idle(self, node: int, block: int, width: int) -> bool:
        return self.room.fleet.lies[node][1] == block and int(self.room.free[node]).bit_count() == width


def _grant(room: Room, demand: Demand, piece: _Piece, replica: int) -> Grant:
    cpu_milli, memory_mib = granted_share(room.fleet, piece.node, demand, piece.count)
    if not demand.whole:
        devices = 1 << piece.device if demand.count else 0
    else:
        rule = room.fleet.granting[room.fleet.lies[piece.node][3]]
        devices = devices_for(rule, room.free_at[piece.node], piece.count)
    return Grant(piece.node, demand.role, devices, cpu_milli, memory_mib, replica, demand.thousandths)
