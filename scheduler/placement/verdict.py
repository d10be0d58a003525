"""Could it ever be placed: the fleet as if it were empty and whole. Amounts for every reason that says for ever."""

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from scheduler.model.jobs import Level
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.placement.feasibility import Demand, devices_each_can_give
from scheduler.placement.fleet import Fleet
from scheduler.placement.gang import place
from scheduler.placement.room import Room

__all__ = ["now_reason", "whole_room", "why_never"]


def whole_room(fleet: Fleet) -> Room:
    """The fleet with every node ready and nothing granted; what others hold is taken all the same."""
    room = Room(fleet)
    room.make_ready()
    return room


def why_never(whole: Room, cells: Sequence[int], demands: Sequence[Demand]) -> Reason | None:
    """Why the demands could not be placed even in the whole fleet, or None if they could."""
    if any(place(whole, cell, demands) is not None for cell in cells):
        return None
    for demand in demands:
        reason = _too_large(whole, cells, demand)
        if reason is not None:
            return reason
    largest = max(demands, key=lambda d: d.count)
    return Reason(code=ReasonCode.EXCEEDS_CELL, accelerator=largest.accelerator, need=sum(d.count for d in demands))


def _too_large(whole: Room, cells: Sequence[int], demand: Demand) -> Reason | None:
    fleet = whole.fleet
    name = demand.accelerator
    per_cell = [_gives(whole, cell, demand) for cell in range(len(fleet.cells))]
    idle = [int(np.bitwise_count(whole.free[fleet.nodes_on(fleet.shelf_of(c, name))]).sum()) for c in cells]
    total = sum(
        int(np.bitwise_count(whole.free[fleet.nodes_on(fleet.shelf_of(c, name))]).sum())
        for c in range(len(fleet.cells))
    )
    if demand.count > total:
        return Reason(code=ReasonCode.EXCEEDS_FLEET, accelerator=name, need=demand.count, have=total)
    if demand.count > max(idle, default=0):
        return Reason(code=ReasonCode.EXCEEDS_CELL, accelerator=name, need=demand.count, have=max(idle, default=0))
    if demand.count and not demand.whole and not any(_shared(whole, cell, demand) for cell in cells):
        return Reason(code=ReasonCode.NOT_SHAREABLE, accelerator=name, need=demand.count)
    largest_node = max((int(gives.max(initial=0)) for gives in per_cell), default=0)
    if largest_node == 0 or (demand.granule and demand.granule > largest_node) or demand.require is Level.NODE:
        need = demand.granule or (demand.count if demand.require is Level.NODE else 1)
        return Reason(code=ReasonCode.EXCEEDS_NODE, accelerator=name, need=need, have=largest_node)
    if demand.require is Level.DOMAIN:
        have = max(_largest_domain(whole, cell, demand) for cell in cells)
        if demand.count > have:
            return Reason(code=ReasonCode.EXCEEDS_DOMAIN, accelerator=name, need=demand.count, have=have)
    if any(place(whole, cell, [demand]) is not None for cell in cells):
        return None
    if fleet.keeps_spares and any(place(whole, cell, [replace(demand, replaces=True)]) is not None for cell in cells):
        within = ReasonCode.EXCEEDS_DOMAIN if demand.require is Level.DOMAIN else ReasonCode.EXCEEDS_CELL
        have = max(_beside_spares(whole, cell, demand) for cell in cells)
        return Reason(code=within, accelerator=name, need=demand.count, have=have)
    kind = fleet.catalog.accelerators[fleet.accelerator_index[name]]
    if kind.grants or kind.ring:
        return Reason(code=ReasonCode.GRANULARITY, accelerator=name, need=demand.count)
    return Reason(code=ReasonCode.EXCEEDS_NODE, accelerator=name, need=demand.count, have=largest_node)


def _shared(room: Room, cell: int, demand: Demand) -> bool:
    """Whether a node of the cell could give the share if it were empty."""
    nodes = room.fleet.nodes_on(room.fleet.shelf_of(cell, demand.accelerator))
    return bool((room.fleet.share_row[nodes] >= 0).any())


def _beside_spares(room: Room, cell: int, demand: Demand) -> int:
    """What the cell, or its largest domain where one is required, gives without the nodes that are kept as spares."""
    fleet = room.fleet
    nodes = fleet.nodes_on(fleet.shelf_of(cell, demand.accelerator))
    if not len(nodes):
        return 0
    sums = np.bincount(fleet.domain[nodes], weights=devices_each_can_give(room, demand, nodes))
    kept = [fleet.spare[pool] * fleet.pools[pool].devices_per_node for pool in fleet.pool[nodes].tolist()]
    left = np.maximum(0, sums - np.bincount(fleet.domain[nodes], weights=kept) / np.maximum(1, _sizes(fleet, nodes)))
    return int(left.max() if demand.require is Level.DOMAIN else left.sum())


def _sizes(fleet: Fleet, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Nodes of each domain, by its number."""
    return np.bincount(fleet.domain[nodes])


def _gives(room: Room, cell: int, demand: Demand) -> np.ndarray:
    nodes = room.fleet.nodes_on(room.fleet.shelf_of(cell, demand.accelerator))
    return devices_each_can_give(room, demand, nodes)


def _largest_domain(room: Room, cell: int, demand: Demand) -> int:
    nodes = room.fleet.nodes_on(room.fleet.shelf_of(cell, demand.accelerator))
    if not len(nodes):
        return 0
    gives = devices_each_can_give(room, demand, nodes)
    return int(np.bincount(room.fleet.domain[nodes], weights=gives).max())


def now_reason(room: Room, cells: Sequence[int], demands: Sequence[Demand]) -> Reason | None:
    """Why the demands cannot be placed at this moment, or None if they can. `have` in idle devices of the best cell."""
    if any(place(room, cell, demands) is not None for cell in cells):
        return None
    demand = max(demands, key=lambda d: d.count)
    fleet, name = room.fleet, demand.accelerator
    if not any(room.reachable[cell] for cell in cells):
        return Reason(code=ReasonCode.CELL_UNREACHABLE, accelerator=name, who=fleet.cells[cells[0]])
    healed = room.fork()
    healed.make_ready()
    if not np.array_equal(healed.state, room.state) and any(place(healed, cell, demands) is not None for cell in cells):
        return Reason(code=ReasonCode.NODES_UNAVAILABLE, accelerator=name, need=demand.count)
    shelves = room.free_on_shelves()
    have = max(int(shelves[fleet.shelf_of(cell, name)]) for cell in cells)
    code = ReasonCode.FRAGMENTED if have >= demand.count else ReasonCode.NO_ROOM
    return Reason(code=code, accelerator=name, need=demand.count, have=have)
