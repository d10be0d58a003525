"""The target workload: which shapes of jobs come, and how often. Fragmentation is measured against it."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from scheduler.placement.feasibility import Demand
from scheduler.placement.fleet import Fleet

__all__ = ["Left", "Target"]

COMMON = 0.95
"""The rarest shapes, one job in twenty, are left out, as in the published experiments (Weng et al., ATC 2023)."""

Shape = tuple[int, int, int, tuple[str, ...]]


class Left(NamedTuple):
    """What is idle on some nodes: `devices` int64[nodes, devices] in thousandths, `cpu_milli` int64[nodes], and `kind`
    int64[nodes], the numbers of their accelerators."""

    devices: NDArray[np.int64]
    cpu_milli: NDArray[np.int64]
    kind: NDArray[np.int64]


class Target:
    """Shapes, the most frequent first. `count` int64[shapes] devices on one node, of which each must have
    `thousandths` left; `cpu_milli` for all of them; `serves` bool[shapes, accelerators]; `weight` sums to 1.

    A gang that is larger than a node counts with all devices of the largest one.
    """

    def __init__(self, shapes: Counter[Shape], fleet: Fleet) -> None:
        ordered = sorted(shapes.items(), key=lambda entry: (-entry[1], entry[0]))
        total, common = sum(shapes.values()), 0
        kept: list[tuple[Shape, int]] = []
        for shape, times in ordered:
            if common >= COMMON * total:
                break
            common += times
            kept.append((shape, times))
        self.count = _column([shape[0] for shape, _ in kept])
        self.thousandths = _column([shape[1] for shape, _ in kept])
        self.cpu_milli = _column([shape[2] for shape, _ in kept])
        self.serves = np.array(
            [[name in shape[3] for name in fleet.accelerators] for shape, _ in kept], dtype=np.bool_
        ).reshape(len(kept), len(fleet.accelerators))
        self.weight: NDArray[np.float64] = np.array([times / common for _, times in kept], dtype=np.float64)

    @classmethod
    def of(cls, demands: Iterable[Demand], fleet: Fleet) -> Self:
        """The shapes of recent jobs."""
        widest = fleet.widest[1] // 1000
        return cls(Counter(_shape(demand, widest) for demand in demands), fleet)


def _shape(demand: Demand, widest: int) -> Shape:
    count = min(demand.granule or demand.count, widest)
    cpu_milli = demand.per_device.cpu_milli * max(count, 1) if demand.per_device else 0
    return count, demand.thousandths if count else 0, cpu_milli, (demand.accelerator, *demand.also)


def _column(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)
