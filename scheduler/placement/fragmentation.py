"""Fragmentation gradient descent: each job goes where it strands least of what the coming jobs could use.

Source: Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent",
USENIX ATC 2023. What is stranded on a node for one shape of job is all that is idle there if the job does not fit, else
what is idle on devices too full for it; the mean over the target workload is what a placement should raise least.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scheduler.model.units import WHOLE_DEVICE
from scheduler.placement.feasibility import Demand
from scheduler.placement.room import Room
from scheduler.placement.strategies import GRADES, Scored
from scheduler.placement.target import Left, Target

__all__ = ["FragmentationDescent", "increases", "stranded"]

CACHED_SHAPES = 1024

Asked = tuple[int, int, NDArray[np.int64]]
"""Devices, thousandths of each, and CPU in milli-cores, int64[nodes]."""

Increases = tuple[NDArray[np.float64], NDArray[np.int64]]
_Remembered = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


def stranded(left: Left, target: Target) -> NDArray[np.float64]:
    """float64[nodes]: thousandths of devices that an average job of the target could not use."""
    devices, cpu_milli, kind = left
    found = np.zeros(len(devices), dtype=np.float64)
    total = devices.sum(axis=1)
    for shape in range(len(target.weight)):
        count = int(target.count[shape])
        useful = devices >= target.thousandths[shape]
        fits = (useful.sum(axis=1) >= count) & (cpu_milli >= target.cpu_milli[shape]) & target.serves[shape, kind]
        usable = np.where(useful, devices, 0).sum(axis=1) if count else 0
        found += target.weight[shape] * (total - np.where(fits, usable, 0))
    return found


def increases(left: Left, asked: Asked, target: Target) -> Increases:
    """By how much the demand would raise what is stranded on each node, and the device whose share it would take.

    Every node can serve it.
    """
    count, thousandths, wanted_cpu = asked
    devices, before = left.devices, stranded(left, target)
    cpu_milli = left.cpu_milli - wanted_cpu
    if count == 1 and thousandths < WHOLE_DEVICE:
        best = np.full(len(devices), np.inf)
        device = np.zeros(len(devices), dtype=np.int64)
        for place in range(devices.shape[1]):
            able = devices[:, place] >= thousandths
            after = devices.copy()
            after[:, place] -= np.where(able, thousandths, 0)
            rise = np.where(able, stranded(Left(after, cpu_milli, left.kind), target) - before, np.inf)
            better = rise < best - 1e-9
            device[better] = place
            best = np.where(better, rise, best)
        return best, device
    whole = devices == WHOLE_DEVICE
    taken = whole & (np.cumsum(whole, axis=1) <= count)
    after = np.where(taken, 0, devices)
    return stranded(Left(after, cpu_milli, left.kind), target) - before, np.zeros(len(devices), dtype=np.int64)


def graded(rise: NDArray[np.float64], left: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[nodes], the least is best: the rise in a hundred grades, of which the finest are 40 thousandths of a
    device; among equals the node with least `left`, its idle devices as a part (0 to 1) of the largest node's.

    A logistic curve makes the grades, as in the published experiments. Smaller differences are noise of the target
    workload; with them out of the way begun nodes fill up before others are touched: on the published default list that
    allocates 5 per cent of the fleet more than drawing among equals, and 2.5 more than the exact order.
    """
    grades: NDArray[np.float64] = -np.floor(GRADES / (1.0 + np.exp(np.minimum(rise / WHOLE_DEVICE, 700.0))))
    return grades + left / 2.0


def fastest() -> Callable[..., Increases]:
    """The compiled form of `increases` where Numba is installed; both agree to 1e-9."""
    try:
        from scheduler.placement.fragmentation_kernel import increases_compiled  # Numba takes a second to load
    except ImportError:
        return increases
    return increases_compiled


class FragmentationDescent(Scored):
    """Remembers for each shape of demand what it found for each node, until the node changes."""

    def __init__(self, target: Target, kernel: Callable[..., Increases] | None = None) -> None:
        self.target = target
        self.kernel = kernel or fastest()
        self._known: dict[tuple[object, ...], _Remembered] = {}

    def scores(self, room: Room, demand: Demand, nodes: NDArray[np.int64], count: int) -> NDArray[np.float64]:
        return graded(self._weighed(room, demand, nodes, count)[0], _left(room, nodes))

    def choose(self, room: Room, demand: Demand, nodes: NDArray[np.int64], count: int) -> tuple[int, int]:
        rise, device = self._weighed(room, demand, nodes, count)
        place = int(graded(rise, _left(room, nodes)).argmin())
        if demand.whole or not demand.count:
            return int(nodes[place]), 0
        return int(nodes[place]), int(device[place])

    def _weighed(self, room: Room, demand: Demand, nodes: NDArray[np.int64], count: int) -> Increases:
        seen, rise, device = self._memory(room, demand, count)
        stale = nodes[seen[nodes] != room.stamp[nodes]]
        if len(stale):
            kind = room.fleet.accelerator[stale].astype(np.int64)
            asked = (count, demand.thousandths, self._cpu(room, demand, stale, count))
            left = Left(room.thousandths_left(stale), room.cpu_milli[stale], kind)
            rise[stale], device[stale] = self.kernel(left, asked, self.target)
            seen[stale] = room.stamp[stale]
        return rise[nodes], device[nodes]

    @staticmethod
    def _cpu(room: Room, demand: Demand, nodes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        if demand.per_device is not None:
            return np.full(len(nodes), demand.per_device.cpu_milli * max(count, 1), dtype=np.int64)
        share = np.array(room.fleet.per_device, dtype=np.int64)[room.fleet.pool[nodes], 0]
        wanted: NDArray[np.int64] = share * count * demand.thousandths // WHOLE_DEVICE
        return wanted

    def _memory(self, room: Room, demand: Demand, count: int) -> _Remembered:
        key = (count, demand.thousandths, demand.per_device)
        if key not in self._known:
            if len(self._known) >= CACHED_SHAPES:
                self._known.clear()
            size = len(room.stamp)
            self._known[key] = (np.full(size, -1), np.zeros(size), np.zeros(size, dtype=np.int64))
        return self._known[key]


def _left(room: Room, nodes: NDArray[np.int64]) -> NDArray[np.float64]:
    left: NDArray[np.float64] = room.thousandths_left(nodes).sum(axis=1) / room.fleet.widest[1]
    return left
