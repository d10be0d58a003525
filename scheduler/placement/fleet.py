"""Which node is what: the nodes of a cluster in numbers, as they stay while a configuration is in force."""

from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from scheduler.model.accelerators import Catalog
from scheduler.model.cluster import Cluster, Pool
from scheduler.model.units import WHOLE_DEVICE
from scheduler.placement.granting import Granting, granting_of
from scheduler.placement.index import Layout

__all__ = ["Fleet"]


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
        self._first_of_pool = [0, *accumulate(sizes)]
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
        self.emulated = frozenset(pool.accelerator for pool in self.pools if pool.emulated)
        kinds_of = [catalog.accelerators[self.accelerator_index[pool.accelerator]] for pool in self.pools]
        rules = [granting_of(kind, pool.devices_per_node) for kind, pool in zip(kinds_of, self.pools, strict=True)]
        self.granting: tuple[Granting, ...] = tuple(rules)
        self.any_count: tuple[bool, ...] = tuple(rule.free_choice for rule in rules)
        self.spare: tuple[int, ...] = tuple(pool.spare_nodes for pool in self.pools)
        self.keeps_spares = any(self.spare)
        shareable = np.array([pool.shareable for pool in self.pools], dtype=np.bool_)[self.pool]
        self.share_row = np.where(shareable, np.cumsum(shareable) - 1, -1)
        self.shared = np.flatnonzero(shareable)
        self._shelves: dict[int, NDArray[np.int64]] = {}
        self._layouts: dict[int, Layout] = {}

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

    def node_name(self, node: int) -> str:
        """As `Cluster.node_name`, without a look at the pools before it."""
        pool = self.lies[node][3]
        return f"{self.pools[pool].name}-{node - self._first_of_pool[pool]}"

    def shelf_of(self, cell: int, accelerator: str) -> int:
        return cell * len(self.accelerators) + self.accelerator_index[accelerator]

    def nodes_on(self, shelf: int) -> NDArray[np.int64]:
        """Numbers of the shelf's nodes, ascending."""
        if shelf not in self._shelves:
            self._shelves[shelf] = np.flatnonzero(self.shelf == shelf)
        return self._shelves[shelf]

    def layout(self, shelf: int) -> Layout:
        """Where the nodes of the shelf lie in its index."""
        if shelf not in self._layouts:
            nodes = self.nodes_on(shelf)
            widest = int(np.bitwise_count(self.devices[nodes]).max(initial=0))
            self._layouts[shelf] = Layout(nodes, self.domain, widest)
        return self._layouts[shelf]

    @cached_property
    def lies(self) -> tuple[tuple[int, int, int, int, int], ...]:
        """Per node: shelf, block in its index, bit in the block, pool, and place on the shelf; for the search, which
        looks at one node at a time."""
        found = np.zeros((len(self.pool), 5), dtype=np.int64)
        found[:, 0], found[:, 3] = self.shelf, self.pool
        for shelf in np.unique(self.shelf).tolist():
            layout = self.layout(shelf)
            first = np.array(layout.first, dtype=np.int64)
            found[layout.nodes, 1] = layout.block_of
            found[layout.nodes, 4] = np.arange(len(layout.nodes))
            found[layout.nodes, 2] = found[layout.nodes, 4] - first[layout.block_of]
        return tuple((shelf, block, bit, pool, place) for shelf, block, bit, pool, place in found.tolist())

    @cached_property
    def per_device(self) -> tuple[tuple[int, int], ...]:
        """Per pool: CPU in milli-cores and memory in MiB that are one device's share of its node."""
        return tuple(
            (max(1, pool.cpu_milli // pool.devices_per_node), max(1, pool.memory_mib // pool.devices_per_node))
            for pool in self.pools
        )

    @cached_property
    def shared_shelves(self) -> frozenset[int]:
        """Shelves with a node whose devices may be shared."""
        return frozenset(self.shelf[self.shared].tolist())

    @cached_property
    def widest(self) -> tuple[int, int]:
        """The largest node's CPU in milli-cores, and its devices in thousandths: what scores are measured in."""
        devices = max((pool.devices_per_node for pool in self.pools), default=1)
        return max((pool.cpu_milli for pool in self.pools), default=1), devices * WHOLE_DEVICE
