"""Fleets of public traces, written as `v100=36,p100=36,k80=36`."""

from collections.abc import Mapping

from scheduler.errors import UsageError
from scheduler.model.accelerators import Catalog
from scheduler.model.cluster import MAX_DEVICES_PER_NODE, Cell, Cluster, Pool

__all__ = ["cluster_of", "parse_counts"]

MAX_DEVICES = 1_000_000
CPU_MILLI_PER_DEVICE = 8_000
MEMORY_MIB_PER_DEVICE = 65_536
"""Traces of training jobs tell neither cores nor memory: no job of theirs lacks any."""


def parse_counts(text: str) -> dict[str, int]:
    """Devices by accelerator. Raises UsageError for anything but `name=count` with commas between."""
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, count = part.strip().partition("=")
        if not name or name in found or not count.isdecimal() or not 0 < int(count) <= MAX_DEVICES:
            raise UsageError(f"{part[:40]!r} is no number of devices", "write it like v100=36,p100=36,k80=36")
        found[name] = int(count)
    return found


def cluster_of(counts: Mapping[str, int], catalog: Catalog, devices_per_node: Mapping[str, int] | int = 1) -> Cluster:
    """One cell with a pool for each accelerator, in nodes of `devices_per_node` (a rest makes a smaller node).

    Raises UsageError for an accelerator that the catalog lacks and for nodes that no node can be.
    """
    pools: list[Pool] = []
    for name, count in counts.items():
        size = devices_per_node if isinstance(devices_per_node, int) else devices_per_node.get(name, 1)
        if catalog.get(name) is None:
            raise UsageError(f"the catalog has no accelerator {name[:40]!r}", "add it, or write its name as there")
        if not 0 < size <= MAX_DEVICES_PER_NODE:
            raise UsageError(f"a node of {size} devices", f"a node has 1 to {MAX_DEVICES_PER_NODE}")
        whole, rest = divmod(count, size)
        pools.extend(_pool(f"{name}-{n}", name, k, n) for k, n in ((whole, size), (1, rest)) if k and n)
    return Cluster(name="trace", cells=(Cell(name="trace", executor="fake", pools=tuple(pools)),))


def _pool(name: str, accelerator: str, nodes: int, size: int) -> Pool:
    return Pool(
        name=name,
        accelerator=accelerator,
        nodes=nodes,
        devices_per_node=size,
        cpu_milli=CPU_MILLI_PER_DEVICE * size,
        memory_mib=MEMORY_MIB_PER_DEVICE * size,
    )
