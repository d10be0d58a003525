"""What exists: cells of pools of nodes. A pool stays run-length: ten thousand equal nodes are one value."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field

from scheduler.model.accelerators import Track

__all__ = ["Cell", "Cluster", "Emulation", "Foreign", "NodeChange", "NodeGroup", "NodeState", "Pool"]

MAX_DEVICES_PER_NODE = 63
"""Free devices of a node are bits of an int64."""


class NodeState(StrEnum):
    READY = "ready"
    SUSPECT = "suspect"  # no sign of life lately: keeps its allocations, takes no new ones
    CORDONED = "cordoned"  # takes nothing new, what runs goes on
    DRAINING = "draining"  # takes nothing new, what runs is preempted with notice
    DOWN = "down"  # lost: its attempts are interrupted


class Pool(Struct, frozen=True, kw_only=True):
    """`nodes` equal nodes, named `<pool>-0` onwards."""

    name: str
    accelerator: str
    nodes: int
    devices_per_node: int
    cpu_milli: int
    memory_mib: int
    domain_nodes: int = 1  # nodes of one scale-up domain or rack; consecutive nodes share one
    labels: Mapping[str, str] = field(default_factory=dict)
    track: Track | None = None  # overrides the accelerator's
    lot: str = ""
    shareable: bool = False  # devices may be granted in thousandths
    emulated: bool = False  # no such hardware here: real processes, paced to the catalog's rate
    spare_nodes: int = 0  # of each domain, the last so many idle nodes are kept for jobs that lost one


class Cell(Struct, frozen=True, kw_only=True):
    """Nodes under one executor, in one site, on one fabric. A gang never spans cells."""

    name: str
    executor: str = "local"  # ray, local or fake
    site: str = ""
    entity: str = ""
    pools: tuple[Pool, ...] = ()


class NodeChange(Struct, frozen=True, kw_only=True):
    """What sets one node apart from its pool."""

    node: str
    state: NodeState = NodeState.READY
    labels: Mapping[str, str] = field(default_factory=dict)


class NodeGroup(Struct, frozen=True, kw_only=True):
    """Nodes that rules cannot tell apart: those of a pool, or one with labels of its own.

    `number` is that of the pool; a node to which a change gives labels is a group of its own, numbered by the place of
    the change among `Cluster.changes`, after all pools.
    """

    number: int
    pool: Pool
    nodes: int
    labels: Mapping[str, str]
    cell: str
    site: str
    entity: str


class Foreign(Struct, frozen=True, kw_only=True):
    """Devices that others use: they take room, and are never victims."""

    node: str
    devices: int
    cpu_milli: int = 0
    memory_mib: int = 0
    owner: str = ""


class Emulation(Struct, frozen=True, kw_only=True):
    """Emulated devices run `speedup` times as fast as the catalog says, so that a demo ends in minutes.

    A rank may grow by `hbm_gib` of its devices times `memory_scale`, so that running out of memory is real there too.
    """

    speedup: float = 1.0
    memory_scale: float = 1.0


class Cluster(Struct, frozen=True, kw_only=True):
    name: str
    cells: tuple[Cell, ...]
    changes: tuple[NodeChange, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    emulation: Emulation = Emulation()

    @property
    def pools(self) -> tuple[Pool, ...]:
        """All pools in the order that numbers the nodes: by cell, then as listed."""
        return tuple(pool for cell in self.cells for pool in cell.pools)

    def groups(self) -> tuple[NodeGroup, ...]:
        """All groups by number, those without nodes left out."""
        owners = [(cell, pool) for cell in self.cells for pool in cell.pools]
        names = {pool.name: number for number, (_, pool) in enumerate(owners)}
        alone = [(i, c) for i, c in enumerate(self.changes) if c.labels and self.node_index(c.node) is not None]
        apart = [names[change.node.rpartition("-")[0]] for _, change in alone]
        found = [
            _group(n, cell, pool, pool.nodes - apart.count(n), {})
            for n, (cell, pool) in enumerate(owners)
            if pool.nodes > apart.count(n)
        ]
        for (place, change), owner in zip(alone, apart, strict=True):
            found.append(_group(len(owners) + place, *owners[owner], 1, change.labels))
        return tuple(found)

    def node_count(self) -> int:
        return sum(pool.nodes for pool in self.pools)

    def device_count(self) -> int:
        return sum(pool.nodes * pool.devices_per_node for pool in self.pools)

    def node_index(self, name: str) -> int | None:
        """The number of the node called `name`, or None."""
        first = 0
        for pool in self.pools:
            stem, _, ordinal = name.rpartition("-")
            if stem == pool.name and ordinal.isdecimal() and str(int(ordinal)) == ordinal and int(ordinal) < pool.nodes:
                return first + int(ordinal)
            first += pool.nodes
        return None

    def node_name(self, index: int) -> str:
        first = 0
        for pool in self.pools:
            if index < first + pool.nodes:
                return f"{pool.name}-{index - first}"
            first += pool.nodes
        raise IndexError(index)


def _group(number: int, cell: Cell, pool: Pool, nodes: int, own: Mapping[str, str]) -> NodeGroup:
    return NodeGroup(
        number=number,
        pool=pool,
        nodes=nodes,
        labels={**pool.labels, **own},
        cell=cell.name,
        site=cell.site,
        entity=cell.entity,
    )
