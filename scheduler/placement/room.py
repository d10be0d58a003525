"""The room there is: one column per property of a node, kept by every grant and release."""

from collections.abc import Iterable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scheduler.model.accelerators import Catalog
from scheduler.model.allocations import Grant
from scheduler.model.cluster import Cluster, Foreign, NodeState, Pool

__all__ = ["Fleet", "Room"]

NODE_STATES: tuple[NodeState, ...] = tuple(NodeState)
READY = NODE_STATES.index(NodeState.READY)


class Fleet:
    """What never changes while a configuration is in force: which node is what. Arrays are int32[nodes].

    A *shelf* is the nodes of one cell with one accelerator, numbered cell * accelerators + accelerator.
    """

    def __init__(self, cluster: Cluster, catalog: Catalog) -> None:
        self.cluster = cluster
        self.catalog = catalog
        self.pools: tuple[Pool, ...] = cluster.pools
        self.cells: tuple[str, ...] = tuple(cell.name for cell in cluster.cells)
        self.accelerators: tuple[str, ...] = catalog.names
        self.accelerator_index = {name: i for i, name in enumerate(self.accelerators)}
        sizes = [pool.nodes for pool in self.pools]
        pool_cells = [i for i, cell in enumerate(cluster.cells) for _ in cell.pools]
        self.pool = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        self.cell = np.array(pool_cells, dtype=np.int32)[self.pool]
        kinds = np.array([self.accelerator_index[pool.accelerator] for pool in self.pools], dtype=np.int32)
        self.accelerator = kinds[self.pool]
        self.group = self._groups()
        self.shelf = self.cell * len(self.accelerators) + self.accelerator
        self.domain = self._domains()
        masks = np.array([(1 << pool.devices_per_node) - 1 for pool in self.pools], dtype=np.int64)
        self.devices = masks[self.pool]
        self.cpu_milli = np.array([pool.cpu_milli for pool in self.pools], dtype=np.int64)[self.pool]
        self.memory_mib = np.array([pool.memory_mib for pool in self.pools], dtype=np.int64)[self.pool]
        self.present = frozenset(pool.accelerator for pool in self.pools if pool.nodes)
        self._shelves: dict[int, NDArray[np.int64]] = {}

    def _groups(self) -> NDArray[np.int32]:
        """Numbers of `Cluster.groups`: nodes that rules cannot tell apart."""
        group = self.pool.copy()
        for place, change in enumerate(self.cluster.changes):
            node = self.cluster.node_index(change.node)
            if change.labels and node is not None:
                group[node] = len(self.pools) + place
        return group

    def _domains(self) -> NDArray[np.int32]:
        parts, first = [], 0
        for pool in self.pools:
            parts.append(first + np.arange(pool.nodes, dtype=np.int32) // pool.domain_nodes)
            first += -(-pool.nodes // pool.domain_nodes)
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)

    @property
    def shelf_count(self) -> int:
        return len(self.cells) * len(self.accelerators)

    def shelf_of(self, cell: int, accelerator: str) -> int:
        return cell * len(self.accelerators) + self.accelerator_index[accelerator]

    def nodes_on(self, shelf: int) -> NDArray[np.int64]:
        """Numbers of the shelf's nodes, ascending."""
        if shelf not in self._shelves:
            self._shelves[shelf] = np.flatnonzero(self.shelf == shelf)
        return self._shelves[shelf]


class Room:
    """What is free now. `free` is int64[nodes], bit i for device i; CPU in thousandths of a core, memory in MiB."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.free = fleet.devices.copy()
        self.cpu_milli = fleet.cpu_milli.copy()
        self.memory_mib = fleet.memory_mib.copy()
        self.state = np.full(len(fleet.pool), READY, dtype=np.int8)
        self.reachable = np.ones(len(fleet.cells), dtype=bool)
        self.foreign = np.zeros_like(self.free)
        self.closed = np.zeros(len(fleet.pool), dtype=np.bool_)  # by rules on lots: takes nothing new
        for change in fleet.cluster.changes:
            index = fleet.cluster.node_index(change.node)
            if index is not None:
                self.set_state(index, change.state)
        self.set_foreign(fleet.cluster.foreign)

    def fork(self) -> Self:
        """An independent copy for hypotheses; the fleet is shared."""
        copy = type(self).__new__(type(self))
        copy.fleet = self.fleet
        copy.free = self.free.copy()
        copy.cpu_milli = self.cpu_milli.copy()
        copy.memory_mib = self.memory_mib.copy()
        copy.state = self.state.copy()
        copy.reachable = self.reachable.copy()
        copy.foreign = self.foreign.copy()
        copy.closed = self.closed
        return copy

    def usable_at(self, nodes: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.bool_]:
        """bool[nodes]: ready, in a cell whose executor answers, and not closed by a rule."""
        ready: NDArray[np.bool_] = (self.state[nodes] == READY) & self.reachable[self.fleet.cell[nodes]]
        usable: NDArray[np.bool_] = ready & ~self.closed[nodes]
        return usable

    def take(self, grants: Iterable[Grant]) -> None:
        for grant in grants:
            self.free[grant.node] &= ~grant.devices
            self.cpu_milli[grant.node] -= grant.cpu_milli
            self.memory_mib[grant.node] -= grant.memory_mib

    def give(self, grants: Iterable[Grant]) -> None:
        for grant in grants:
            self.free[grant.node] |= grant.devices
            self.cpu_milli[grant.node] += grant.cpu_milli
            self.memory_mib[grant.node] += grant.memory_mib

    def state_of(self, node: int) -> NodeState:
        return NODE_STATES[int(self.state[node])]

    def set_state(self, node: int, state: NodeState) -> None:
        self.state[node] = NODE_STATES.index(state)

    def set_foreign(self, foreign: Iterable[Foreign]) -> None:
        """Replace what others hold: their devices are the highest free ones of each node."""
        self.free |= self.foreign
        self.foreign[:] = 0
        for entry in foreign:
            node = self.fleet.cluster.node_index(entry.node)
            if node is None:
                continue
            taken = 0
            for bit in range(int(self.fleet.devices[node]).bit_length() - 1, -1, -1):
                if taken.bit_count() < entry.devices and int(self.free[node]) >> bit & 1:
                    taken |= 1 << bit
            self.foreign[node] |= taken
            self.free[node] &= ~taken

    def free_on_shelves(self) -> NDArray[np.int64]:
        """int64[shelves]: idle devices on usable nodes."""
        usable = self.usable_at()
        counts = np.bitwise_count(self.free[usable])
        shelves = self.fleet.shelf[usable]
        return np.bincount(shelves, weights=counts, minlength=self.fleet.shelf_count).astype(np.int64)
