"""The one function that says what a node can give. Planner, applier and `why` all ask here."""

from collections.abc import Iterable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.model.allocations import Grant
from scheduler.model.jobs import Level, PerDevice
from scheduler.placement.room import Fleet, Room

__all__ = ["admits", "Demand", "devices_each_can_give", "floor_to_grants", "granted_share"]


class Demand(Struct, frozen=True, kw_only=True):
    """What one role asks for: `count` devices of one accelerator, in blocks of `granule` per node where it is set."""

    role: int
    accelerator: str
    count: int
    granule: int = 0
    per_device: PerDevice | None = None  # None: the node's share
    require: Level = Level.CELL
    prefer: Level = Level.CELL
    barred: tuple[int, ...] = ()  # groups of nodes that rules close to this job, ascending


def granted_share(fleet: Fleet, node: int, count: int, per_device: PerDevice | None) -> tuple[int, int]:
    """CPU in milli-cores and memory in MiB that go with `count` devices of the node."""
    if per_device is not None:
        return count * per_device.cpu_milli, count * per_device.memory_mib
    total = int(fleet.devices[node]).bit_count()
    return count * int(fleet.cpu_milli[node]) // total, count * int(fleet.memory_mib[node]) // total


def devices_each_can_give(room: Room, demand: Demand, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[len(nodes)]: devices that each node could give to the demand now; 0 where it is not usable.

    Bounded by idle devices, CPU, memory, and the counts that the vendor's tools can grant on one node.
    """
    fleet = room.fleet
    count = np.bitwise_count(room.free[nodes]).astype(np.int64)
    if demand.per_device is not None:
        if demand.per_device.cpu_milli:
            count = np.minimum(count, room.cpu_milli[nodes] // demand.per_device.cpu_milli)
        if demand.per_device.memory_mib:
            count = np.minimum(count, room.memory_mib[nodes] // demand.per_device.memory_mib)
    else:
        total = np.bitwise_count(fleet.devices[nodes]).astype(np.int64)
        count = np.minimum(count, room.cpu_milli[nodes] // np.maximum(1, fleet.cpu_milli[nodes] // total))
        count = np.minimum(count, room.memory_mib[nodes] // np.maximum(1, fleet.memory_mib[nodes] // total))
    count = np.where(room.usable_at(nodes), np.maximum(count, 0), 0)
    if demand.barred:
        count[np.isin(fleet.group[nodes], demand.barred)] = 0
    return floor_to_grants(count, fleet, demand.accelerator)


def floor_to_grants(count: NDArray[np.int64], fleet: Fleet, accelerator: str) -> NDArray[np.int64]:
    """The largest count that the vendor's tools can grant on one node, at most `count`."""
    grants = fleet.catalog.accelerators[fleet.accelerator_index[accelerator]].grants
    if not grants:
        return count
    allowed = np.array((0, *grants), dtype=np.int64)
    return allowed[np.searchsorted(allowed, count, side="right") - 1]


def admits(room: Room, grants: Iterable[Grant]) -> bool:
    """Whether every grant could be taken now: devices idle, node usable, CPU and memory left."""
    grants = tuple(grants)
    if not room.usable_at(np.array([grant.node for grant in grants], dtype=np.int64)).all():
        return False
    cpu: dict[int, int] = {}
    memory: dict[int, int] = {}
    devices: dict[int, int] = {}
    for grant in grants:
        held = devices.get(grant.node, 0)
        if held & grant.devices or grant.devices & ~int(room.free[grant.node]):
            return False
        devices[grant.node] = held | grant.devices
        cpu[grant.node] = cpu.get(grant.node, 0) + grant.cpu_milli
        memory[grant.node] = memory.get(grant.node, 0) + grant.memory_mib
    fits_cpu = all(amount <= room.cpu_milli[node] for node, amount in cpu.items())
    return fits_cpu and all(amount <= room.memory_mib[node] for node, amount in memory.items())
