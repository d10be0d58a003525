"""The one function that says what a node can give. Planner, applier and `why` all ask here."""

from collections.abc import Iterable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.model.allocations import Grant
from scheduler.model.jobs import Level, PerDevice
from scheduler.model.units import WHOLE_DEVICE
from scheduler.placement.fleet import Fleet
from scheduler.placement.granting import largest
from scheduler.placement.room import Room

__all__ = ["admits", "Demand", "devices_each_can_give", "fitting", "gives", "granted_share"]


class Demand(Struct, frozen=True, kw_only=True, gc=False):
    """What one role asks for: `count` devices of one accelerator, in blocks of `granule` per node where it is set.

    With `thousandths` below 1000 it is that share of one device; with a count of 0 only CPU and memory, as much as
    `per_device` says, on a node with that accelerator. `also` names accelerators that would serve as well: such a
    demand lies on one node.
    """

    role: int
    accelerator: str
    count: int
    granule: int = 0
    per_device: PerDevice | None = None  # None: the node's share
    require: Level = Level.CELL
    prefer: Level = Level.CELL
    barred: tuple[int, ...] = ()  # groups of nodes that rules close to this job, ascending
    thousandths: int = WHOLE_DEVICE
    also: tuple[str, ...] = ()
    avoid: tuple[int, ...] = ()  # nodes to be taken only where nothing else fits, such as those of the last failure
    replaces: bool = False  # for a job that lost a node: may take the spare ones

    @property
    def whole(self) -> bool:
        """True for whole devices, false for a share of one or for none."""
        return self.count > 0 and self.thousandths == WHOLE_DEVICE


def granted_share(fleet: Fleet, node: int, demand: Demand, count: int) -> tuple[int, int]:
    """CPU in milli-cores and memory in MiB that go with `count` devices of the node, or with the demand's share."""
    per_device = demand.per_device
    if per_device is not None:
        times = max(count, 1)
        return times * per_device.cpu_milli, times * per_device.memory_mib
    pool = fleet.pools[fleet.lies[node][3]]
    total = pool.devices_per_node * WHOLE_DEVICE
    wanted = count * demand.thousandths
    return wanted * pool.cpu_milli // total, wanted * pool.memory_mib // total


def gives(room: Room, node: int, demand: Demand, most: int) -> int:
    """The largest count of whole devices, at most `most`, that the node could grant to the demand now.

    Whether the node is usable is the index's business; devices, CPU, memory and what the vendor's tools grant are ours.
    """
    fleet = room.fleet
    idle: int = room.free_at[node]
    most = min(most, idle.bit_count())
    pool = fleet.lies[node][3]
    if demand.per_device is not None:
        cpu_milli, memory_mib = demand.per_device.cpu_milli, demand.per_device.memory_mib
    else:
        cpu_milli, memory_mib = fleet.per_device[pool]
    if cpu_milli:
        most = min(most, room.cpu_at[node] // cpu_milli)
    if memory_mib:
        most = min(most, room.memory_at[node] // memory_mib)
    if most <= 0 or fleet.any_count[pool]:
        return max(0, most)
    return largest(fleet.granting[pool], idle, most)


def devices_each_can_give(room: Room, demand: Demand, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[len(nodes)]: whole devices that each node could give to the demand now; 0 where it is not usable.

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
    count = np.where(_open(room, demand, nodes), np.maximum(count, 0), 0)
    return _granted(room, nodes, count)


def fitting(room: Room, demand: Demand, nodes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Those of `nodes` that could grant `count` whole devices now, or the share, or the CPU and memory alone."""
    if demand.whole:
        could = devices_each_can_give(room, demand, nodes) >= count
        return nodes[could]
    able = _open(room, demand, nodes)
    cpu_milli, memory_mib = _wanted_share(room.fleet, demand, nodes, count)
    able &= (room.cpu_milli[nodes] >= cpu_milli) & (room.memory_mib[nodes] >= memory_mib)
    if demand.count:
        able &= (room.fleet.share_row[nodes] >= 0) & (
            room.thousandths_left(nodes).max(axis=1, initial=0) >= demand.thousandths
        )
    return nodes[able]


def _wanted_share(
    fleet: Fleet, demand: Demand, nodes: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64] | int, NDArray[np.int64] | int]:
    if demand.per_device is not None:
        return demand.per_device.cpu_milli, demand.per_device.memory_mib
    total = np.bitwise_count(fleet.devices[nodes]).astype(np.int64) * WHOLE_DEVICE
    wanted = count * demand.thousandths
    return wanted * fleet.cpu_milli[nodes] // total, wanted * fleet.memory_mib[nodes] // total


def _open(room: Room, demand: Demand, nodes: NDArray[np.int64]) -> NDArray[np.bool_]:
    usable = room.usable_at(nodes)
    if demand.barred:
        usable &= ~np.isin(room.fleet.group[nodes], demand.barred)
    return usable


def _granted(room: Room, nodes: NDArray[np.int64], most: NDArray[np.int64]) -> NDArray[np.int64]:
    """The largest count that the vendor's tools can grant on each node, at most `most`."""
    fleet = room.fleet
    rules = {pool: fleet.granting[pool] for pool in np.unique(fleet.pool[nodes]).tolist()}
    for pool, rule in rules.items():
        if rule.ring:
            for place in np.flatnonzero(fleet.pool[nodes] == pool).tolist():
                most[place] = largest(rule, int(room.free[nodes[place]]), int(most[place]))
        elif rule.counts:
            mine = fleet.pool[nodes] == pool
            allowed = np.array((0, *rule.counts), dtype=np.int64)
            most[mine] = allowed[np.searchsorted(allowed, most[mine], side="right") - 1]
    return most


def admits(room: Room, grants: Iterable[Grant]) -> bool:
    """Whether every grant could be taken now: devices or shares idle, node usable, CPU and memory left."""
    grants = tuple(grants)
    if len(grants) == 1:
        return room.usable(grants[0].node) and room.has(grants[0])
    if not room.usable_at(np.array([grant.node for grant in grants], dtype=np.int64)).all():
        return False
    taken: list[Grant] = []
    for grant in grants:  # one after the other, so that two of them never count the same device
        if not room.has(grant):
            break
        room.take((grant,))
        taken.append(grant)
    room.give(taken)
    return len(taken) == len(grants)
