"""The compiled form of `fragmentation.increases`, for fleets of thousands of nodes. Loaded only where Numba is."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scheduler.model.units import WHOLE_DEVICE
from scheduler.placement.target import Left, Target

__all__ = ["increases_compiled"]


def increases_compiled(left: Left, asked: tuple[int, int, "Ints"], target: Target) -> tuple["Floats", "Ints"]:
    """As `fragmentation.increases`, to 1e-9."""
    rise = np.empty(len(left.kind), dtype=np.float64)
    device = np.zeros(len(left.kind), dtype=np.int64)
    shapes = (target.count, target.thousandths, target.cpu_milli, target.serves, target.weight)
    devices = np.ascontiguousarray(left.devices, dtype=np.int64)
    _increases(devices, left.cpu_milli, left.kind, *asked, *shapes, WHOLE_DEVICE, rise, device)
    return rise, device


Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _stranded(
    row: Ints, cpu: int, kind: int, count: Ints, thousandths: Ints, wanted: Ints, serves: Bools, weight: Floats
) -> float:
    total = 0
    for place in range(len(row)):
        total += row[place]
    found = 0.0
    for shape in range(len(weight)):
        usable, devices = 0, 0
        if count[shape] > 0 and cpu >= wanted[shape] and serves[shape, kind]:
            for place in range(len(row)):
                if row[place] >= thousandths[shape]:
                    usable += row[place]
                    devices += 1
            if devices < count[shape]:
                usable = 0
        found += weight[shape] * (total - usable)
    return found


@njit(cache=True)  # type: ignore[untyped-decorator]
def _increases(
    left: Ints,
    cpu_milli: Ints,
    kind: Ints,
    asked: int,
    share: int,
    asked_cpu: Ints,
    count: Ints,
    thousandths: Ints,
    wanted: Ints,
    serves: Bools,
    weight: Floats,
    whole: int,
    rise: Floats,
    device: Ints,
) -> None:
    row = np.empty(left.shape[1], dtype=np.int64)
    for node in range(len(left)):
        row[:] = left[node]
        cpu = cpu_milli[node]
        before = _stranded(row, cpu, kind[node], count, thousandths, wanted, serves, weight)
        cpu -= asked_cpu[node]
        if asked == 1 and share < whole:
            best = np.inf
            for place in range(len(row)):
                if row[place] >= share:
                    row[place] -= share
                    after = _stranded(row, cpu, kind[node], count, thousandths, wanted, serves, weight) - before
                    row[place] += share
                    if after < best - 1e-9:
                        best = after
                        device[node] = place
            rise[node] = best
        else:
            taken = 0
            for place in range(len(row)):
                if taken < asked and row[place] == whole:
                    row[place] = 0
                    taken += 1
            rise[node] = _stranded(row, cpu, kind[node], count, thousandths, wanted, serves, weight) - before
