"""Alibaba's public trace "openb" of 2023: nodes of several types, and pods that ask for shares of a device, for whole
devices or for none (Weng et al., USENIX ATC 2023). The lists are a bag of pods in an order, not a stationary process.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from msgspec import Struct

from scheduler.config.readers.table import Line, read_table
from scheduler.errors import ConfigError
from scheduler.model.accelerators import Accelerator, Catalog, Figure, Track
from scheduler.model.cluster import MAX_DEVICES_PER_NODE, Cell, Cluster, Pool
from scheduler.model.jobs import PerDevice
from scheduler.model.units import WHOLE_DEVICE
from scheduler.placement.feasibility import Demand

__all__ = [
    "OpenbNode",
    "OpenbPod",
    "demand_of",
    "openb_catalog",
    "openb_cluster",
    "read_openb_nodes",
    "read_openb_pods",
]

MAX_CPU_MILLI: Final = 10_000_000
MAX_MEMORY_MIB: Final = 1 << 30
HBM_GIB: Final = {"p100": 16.0, "t4": 16.0, "v100m16": 16.0, "v100m32": 32.0, "a10": 24.0}
"""Of the types that the trace names; the makers of G2 and G3 are not disclosed."""


class OpenbNode(Struct, frozen=True, kw_only=True):
    """`accelerator` is the type in small letters."""

    name: str
    cpu_milli: int
    memory_mib: int
    devices: int
    accelerator: str


class OpenbPod(Struct, frozen=True, kw_only=True):
    """`thousandths` of each of `devices` (0: CPU and memory only); `accelerators` empty means any."""

    name: str
    cpu_milli: int
    memory_mib: int
    devices: int
    thousandths: int
    accelerators: tuple[str, ...]

    @property
    def demand(self) -> int:
        """Thousandths of devices in all."""
        return self.devices * self.thousandths


def read_openb_nodes(path: str | Path) -> tuple[OpenbNode, ...]:
    """The nodes that have devices. Raises ConfigError with the place of what is wrong."""
    columns = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
    nodes = []
    for line in read_table(path, columns):
        devices = line.whole("gpu", 0, MAX_DEVICES_PER_NODE)
        if devices:
            node = OpenbNode(
                name=line.text("sn"),
                cpu_milli=line.whole("cpu_milli", 1, MAX_CPU_MILLI),
                memory_mib=line.whole("memory_mib", 1, MAX_MEMORY_MIB),
                devices=devices,
                accelerator=line.text("model").lower(),
            )
            nodes.append(node)
    if not nodes:
        raise ConfigError("has no node with a device", file=str(path))
    return tuple(nodes)


def read_openb_pods(path: str | Path) -> tuple[OpenbPod, ...]:
    """The pods in the order of the list. Raises ConfigError with the place of what is wrong."""
    columns = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
    return tuple(_pod(line) for line in read_table(path, columns))


def _pod(line: Line) -> OpenbPod:
    devices = line.whole("num_gpu", 0, MAX_DEVICES_PER_NODE)
    thousandths = line.whole("gpu_milli", 0, WHOLE_DEVICE)
    if devices > 1 and thousandths != WHOLE_DEVICE:
        raise line.wrong("gpu_milli", f"{devices} devices are asked for, and {thousandths} thousandths of each")
    if (devices == 0) != (thousandths == 0):
        raise line.wrong("gpu_milli", f"{thousandths} thousandths of {devices} devices mean nothing")
    spec = line.values.get("gpu_spec", "").strip()
    return OpenbPod(
        name=line.text("name"),
        cpu_milli=line.whole("cpu_milli", 0, MAX_CPU_MILLI),
        memory_mib=line.whole("memory_mib", 0, MAX_MEMORY_MIB),
        devices=devices,
        thousandths=thousandths,
        accelerators=tuple(sorted(set(spec.lower().split("|")))) if spec else (),
    )


def openb_catalog(nodes: Sequence[OpenbNode]) -> Catalog:
    """The types of the nodes, for placement: the trace tells nothing of their speed."""
    return Catalog(tuple(_accelerator(name) for name in sorted({node.accelerator for node in nodes})))


def _accelerator(name: str) -> Accelerator:
    gib = HBM_GIB.get(name, 32.0)
    hbm_gib = Figure(gib, gib, gib, source="NVIDIA's data sheets") if name in HBM_GIB else Figure(gib, 16.0, 80.0)
    return Accelerator(
        name=name,
        family=name,
        vendor="nvidia",
        adapter="nvidia",
        track=Track.IMPORTED,
        compute_units=WHOLE_DEVICE,
        hbm_gib=hbm_gib,
    )


def openb_cluster(nodes: Sequence[OpenbNode]) -> Cluster:
    """One cell; equal nodes that follow each other are a pool. All devices may be shared."""
    pools = []
    for number, (shape, equal) in enumerate(groupby(nodes, key=_shape)):
        accelerator, devices, cpu_milli, memory_mib = shape
        pool = Pool(
            name=f"{accelerator}-{number}",
            accelerator=accelerator,
            nodes=len(list(equal)),
            devices_per_node=devices,
            cpu_milli=cpu_milli,
            memory_mib=memory_mib,
            shareable=True,
        )
        pools.append(pool)
    return Cluster(name="openb", cells=(Cell(name="openb", executor="fake", pools=tuple(pools)),))


def _shape(node: OpenbNode) -> tuple[str, int, int, int]:
    return node.accelerator, node.devices, node.cpu_milli, node.memory_mib


def demand_of(pod: OpenbPod, catalog: Catalog) -> Demand | None:
    """What placement is asked for the pod: any of its types on one node; None where the catalog has none of them."""
    names = tuple(name for name in catalog.names if not pod.accelerators or name in pod.accelerators)
    if not names:
        return None
    parts = max(pod.devices, 1)
    return Demand(
        role=0,
        accelerator=names[0],
        count=pod.devices,
        per_device=PerDevice(cpu_milli=-(-pod.cpu_milli // parts), memory_mib=-(-pod.memory_mib // parts)),
        thousandths=pod.thousandths if pod.devices else WHOLE_DEVICE,
        also=names[1:],
    )
