"""The room there is: one column per property of a node, kept by every grant and release."""

from collections.abc import Iterable
from itertools import count as counter
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scheduler.model.allocations import Grant
from scheduler.model.cluster import Foreign, NodeState
from scheduler.model.units import WHOLE_DEVICE
from scheduler.placement.fleet import Fleet
from scheduler.placement.granting import largest
from scheduler.placement.index import ShelfIndex, closely

__all__ = ["Fleet", "Room"]

NODE_STATES: tuple[NodeState, ...] = tuple(NodeState)
READY = NODE_STATES.index(NodeState.READY)

SMALLEST_EXPECTED = WHOLE_DEVICE // 10
"""The share that a choice expects to fit beside others; smaller ones find their place a few cycles later."""


class Room:
    """What is free now. `free` is int64[nodes], bit i for device i; CPU in thousandths of a core, memory in MiB.

    `left` is int64[shareable nodes, devices]: thousandths of each device that nobody holds, by `Fleet.share_row`, and
    `sharers` the number of grants that hold some of it; a device is free in `free` if it is whole. `stamp` int64[nodes]
    changes whenever the node does. Change the columns through the methods only: an index is kept beside them.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.free = fleet.devices.copy()
        self.cpu_milli = fleet.cpu_milli.copy()
        self.memory_mib = fleet.memory_mib.copy()
        self.state = np.full(len(fleet.pool), READY, dtype=np.int8)
        self.reachable = np.ones(len(fleet.cells), dtype=bool)
        self.foreign = np.zeros_like(self.free)
        self._closed = np.zeros(len(fleet.pool), dtype=np.bool_)  # by rules on lots: takes nothing new
        width = int(np.bitwise_count(fleet.devices[fleet.shared]).max(initial=0))
        self.left = WHOLE_DEVICE * (fleet.devices[fleet.shared, None] >> np.arange(width) & 1)
        self.sharers = np.zeros_like(self.left)
        self.stamp = np.zeros(len(fleet.pool), dtype=np.int64)
        self._strays: dict[tuple[int, int], int] = {}
        self._stamps = counter(1)  # shared by copies: equal stamps mean equal nodes
        self._index: dict[int, ShelfIndex] = {}
        self._level: dict[int, list[int]] = {}
        self._asked: set[int] = set()  # shelves whose index some copy has needed; shared by copies
        self._look_closely()
        for change in fleet.cluster.changes:
            index = fleet.cluster.node_index(change.node)
            if index is not None:
                self.set_state(index, change.state)
        self.set_foreign(fleet.cluster.foreign)

    def fork(self, *, indexed: bool = True) -> Self:
        """An independent copy for hypotheses; the fleet is shared.

        What a copy asks of the index, its next sister gets ready made: copying is much faster than building. A copy in
        which nothing will be searched is better off without: `indexed` False.
        """
        for shelf in self._asked - self._index.keys() if indexed else ():
            self.index(shelf)
        copy = type(self).__new__(type(self))
        copy.fleet = self.fleet
        copy.free = self.free.copy()
        copy.cpu_milli = self.cpu_milli.copy()
        copy.memory_mib = self.memory_mib.copy()
        copy.state = self.state.copy()
        copy.reachable = self.reachable.copy()
        copy.foreign = self.foreign.copy()
        copy._closed = self._closed
        copy.left = self.left.copy()
        copy.sharers = self.sharers.copy()
        copy._strays = self._strays.copy()
        copy.stamp = self.stamp.copy()
        copy._stamps = self._stamps
        copy._asked = self._asked
        copy._index = {shelf: index.fork() for shelf, index in self._index.items()} if indexed else {}
        copy._level = {shelf: level.copy() for shelf, level in self._level.items()} if indexed else {}
        copy._look_closely()
        return copy

    def _look_closely(self) -> None:
        self.free_at, self.cpu_at, self.memory_at = (
            closely(self.free),
            closely(self.cpu_milli),
            closely(self.memory_mib),
        )
        self._state_at, self._stamp_at = closely(self.state), closely(self.stamp)

    @property
    def closed(self) -> NDArray[np.bool_]:
        """bool[nodes]: closed by rules on lots, so that they take nothing new. Replace it; never write into it."""
        return self._closed

    @closed.setter
    def closed(self, closed: NDArray[np.bool_]) -> None:
        if not np.array_equal(closed, self._closed):
            self.forget_index()
        self._closed = closed

    def forget_index(self) -> None:
        """Have the index built anew when it is next asked for; after any column was written from outside."""
        self._index.clear()
        self._level.clear()
        self.stamp[:] = next(self._stamps)

    def index(self, shelf: int) -> ShelfIndex:
        """The shelf's nodes by what they can give: READY and not closed; CPU and memory are not looked at."""
        found = self._index.get(shelf)
        if found is None:
            levels = self._levels(self.fleet.nodes_on(shelf))
            found = self._index[shelf] = ShelfIndex(self.fleet.layout(shelf), levels)
            self._level[shelf] = levels.tolist()
            self._asked.add(shelf)
        return found

    def _levels(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[nodes]: as `_level_of`, at once where the vendor's tools grant any count."""
        levels = np.where(
            (self.state[nodes] == READY) & ~self._closed[nodes], np.bitwise_count(self.free[nodes]), 0
        ).astype(np.int64)
        ruled = [pool for pool, rule in enumerate(self.fleet.granting) if not rule.free_choice]
        for place in np.flatnonzero(np.isin(self.fleet.pool[nodes], ruled)).tolist():
            levels[place] = self._level_of(int(nodes[place]))
        return levels

    def _level_of(self, node: int) -> int:
        if self._state_at[node] != READY or self._closed[node]:
            return 0
        idle: int = self.free_at[node]
        pool = self.fleet.lies[node][3]
        return idle.bit_count() if self.fleet.any_count[pool] else largest(self.fleet.granting[pool], idle, 64)

    def _changed(self, node: int) -> None:
        self._stamp_at[node] = next(self._stamps)
        shelf, block, bit, _, place = self.fleet.lies[node]
        index = self._index.get(shelf)
        if index is None:
            return
        level = self._level[shelf]
        before, after = level[place], self._level_of(node)
        if before != after:
            index.move(block, bit, before, after)
            level[place] = after

    def usable_at(self, nodes: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.bool_]:
        """bool[nodes]: ready, in a cell whose executor answers, and not closed by a rule."""
        ready: NDArray[np.bool_] = (self.state[nodes] == READY) & self.reachable[self.fleet.cell[nodes]]
        usable: NDArray[np.bool_] = ready & ~self._closed[nodes]
        return usable

    def usable(self, node: int) -> bool:
        """`usable_at` for one node."""
        ready = self._state_at[node] == READY and not self._closed[node]
        return bool(ready and self.reachable[self.fleet.cell[node]])

    def take(self, grants: Iterable[Grant]) -> None:
        for grant in grants:
            self._change(grant, 1)

    def give(self, grants: Iterable[Grant]) -> None:
        for grant in grants:
            self._change(grant, -1)

    def _change(self, grant: Grant, sign: int) -> None:
        node = grant.node
        self.cpu_at[node] -= sign * grant.cpu_milli
        self.memory_at[node] -= sign * grant.memory_mib
        if self.fleet.shared_shelves and self.fleet.share_row[node] >= 0:
            self._change_share(grant, sign)
        elif sign > 0:
            self.free_at[node] &= ~grant.devices
            self._count_strays(grant, 1)
        elif not self._count_strays(grant, -1):
            self.free_at[node] |= grant.devices
        self._changed(node)

    def _count_strays(self, grant: Grant, sign: int) -> int:
        """How many hold a share of the device of a pool that is shared no longer; it is free once the last has gone."""
        if grant.thousandths == WHOLE_DEVICE:
            return 0
        device = grant.node, grant.devices
        self._strays[device] = self._strays.get(device, 0) + sign
        return self._strays[device]

    def _change_share(self, grant: Grant, sign: int) -> None:
        row, sharers = self.left[self.fleet.share_row[grant.node]], self.sharers[self.fleet.share_row[grant.node]]
        for bit in range(grant.devices.bit_length()):
            if grant.devices >> bit & 1:
                row[bit] -= sign * grant.thousandths
                sharers[bit] += sign
                if row[bit] == WHOLE_DEVICE:
                    self.free[grant.node] |= 1 << bit
                else:
                    self.free[grant.node] &= ~(1 << bit)

    def has(self, grant: Grant) -> bool:
        """Whether nobody holds the devices, or the shares of them, nor the CPU and memory of the grant."""
        node = grant.node
        fits = grant.cpu_milli <= self.cpu_at[node] and grant.memory_mib <= self.memory_at[node]
        return bool(fits) and self.has_devices(grant)

    def has_devices(self, grant: Grant) -> bool:
        """Whether nobody holds the devices, or the shares of them."""
        if grant.thousandths == WHOLE_DEVICE:
            return not grant.devices & ~self.free_at[grant.node]
        left = self.thousandths_left(np.array([grant.node]))[0]
        return all(left[bit] >= grant.thousandths for bit in range(len(left)) if grant.devices >> bit & 1)

    def thousandths_left(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[nodes, devices of the largest]: what nobody holds of each device; 0 where the node has none there."""
        rows = self.fleet.share_row[nodes]
        if len(self.left) and (rows >= 0).all():
            return self.left[rows]
        width = int(np.bitwise_count(self.fleet.devices[nodes]).max(initial=0))
        left = WHOLE_DEVICE * (self.free[nodes, None] >> np.arange(width) & 1)
        if len(self.left):
            shared, both = rows >= 0, min(width, self.left.shape[1])
            left[shared, :both] = self.left[rows[shared], :both]
        return left

    def slots_beside_shares(self) -> NDArray[np.int64]:
        """int64[shelves]: for how many more shares than devices there is room, counting each share as one device.

        Those that share a device already, and as many tenths as are left of such a device. A bound for choosing only;
        placement says what fits.
        """
        if not len(self.left):
            return np.zeros(self.fleet.shelf_count, dtype=np.int64)
        begun = (self.sharers > 0) & (self.left < WHOLE_DEVICE) & ((self.left > 0) | (self.sharers > 1))
        more = np.where(begun, self.sharers - 1 + self.left // SMALLEST_EXPECTED, 0).sum(axis=1)
        shelves = self.fleet.shelf[self.fleet.shared]
        return np.bincount(shelves, weights=more, minlength=self.fleet.shelf_count).astype(np.int64)

    def state_of(self, node: int) -> NodeState:
        return NODE_STATES[int(self.state[node])]

    def set_state(self, node: int, state: NodeState) -> None:
        self.state[node] = NODE_STATES.index(state)
        self._changed(node)

    def make_ready(self) -> None:
        """Every node as if it were ready, for questions about the fleet as a whole."""
        self.state[:] = READY
        self.forget_index()

    def set_foreign(self, foreign: Iterable[Foreign]) -> None:
        """Replace what others hold: their devices are the highest free ones of each node."""
        self._free_foreign()
        for entry in foreign:
            node = self.fleet.cluster.node_index(entry.node)
            if node is None:
                continue
            taken = 0
            for bit in range(int(self.fleet.devices[node]).bit_length() - 1, -1, -1):
                if taken.bit_count() < entry.devices and int(self.free[node]) >> bit & 1:
                    taken |= 1 << bit
            self.foreign[node] |= taken
            self._change(Grant(node, 0, taken, 0, 0), 1)

    def _free_foreign(self) -> None:
        for node in np.flatnonzero(self.foreign).tolist():
            devices = int(self.foreign[node])
            self.foreign[node] = 0
            self._change(Grant(node, 0, devices, 0, 0), -1)

    def free_on_shelves(self) -> NDArray[np.int64]:
        """int64[shelves]: idle devices on usable nodes."""
        usable = self.usable_at()
        counts = np.bitwise_count(self.free[usable])
        shelves = self.fleet.shelf[usable]
        return np.bincount(shelves, weights=counts, minlength=self.fleet.shelf_count).astype(np.int64)
