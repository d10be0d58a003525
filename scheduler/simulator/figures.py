"""Quantiles, fairness and memory: the arithmetic behind a simulation's report."""

import resource
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

__all__ = ["CycleTimes", "Gaps", "Quantiles", "contention", "cycle_times", "gaps", "jain", "peak_rss_mib", "quantiles"]


class Quantiles(Struct, frozen=True):
    """Mean and quantiles (linear interpolation) of durations in seconds; all zero where there is none."""

    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0


class CycleTimes(Struct, frozen=True):
    """Wall-clock durations of the cycles in milliseconds."""

    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


def quantiles(durations_s: Sequence[float]) -> Quantiles:
    if not durations_s:
        return Quantiles()
    values = np.asarray(durations_s, dtype=np.float64)
    p50, p90, p99 = (float(q) for q in np.quantile(values, (0.5, 0.9, 0.99)))
    return Quantiles(float(values.mean()), p50, p90, p99)


def cycle_times(durations_s: Sequence[float]) -> CycleTimes:
    if not durations_s:
        return CycleTimes()
    values = np.asarray(durations_s, dtype=np.float64) * 1e3
    p50, p99 = (float(q) for q in np.quantile(values, (0.5, 0.99)))
    return CycleTimes(p50, p99, float(values.max()))


class Gaps(Struct, frozen=True):
    """Quantiles of how far decisions may be from the optimum, as parts of its bound, over those that proved it."""

    p50: float
    p99: float
    max: float


def gaps(proved: Sequence[float]) -> Gaps | None:
    """None where no decision proved any."""
    if not proved:
        return None
    p50, p99 = (float(q) for q in np.quantile(np.asarray(proved), (0.5, 0.99)))
    return Gaps(p50, p99, max(proved))


def jain(values: Sequence[float]) -> float:
    """Jain's index (sum x)^2 / (n sum x^2), from 1/n to 1; 1 where there is nothing to compare."""
    squares = sum(x * x for x in values)
    return sum(values) ** 2 / (len(values) * squares) if squares > 0 else 1.0


def contention(
    since_us: NDArray[np.int64], until_us: NDArray[np.int64], devices: NDArray[np.int64], fleet_devices: int
) -> NDArray[np.float64]:
    """float64[jobs]: mean over each job's life of what live jobs ask for over what there is, at least 1.

    A job asks for `devices` from `since_us` to `until_us`. The demand is piecewise constant, so its integral is exact.
    """
    times = np.unique(np.concatenate((since_us, until_us)))
    change = np.zeros(len(times), dtype=np.float64)
    np.add.at(change, np.searchsorted(times, since_us), devices)
    np.add.at(change, np.searchsorted(times, until_us), -devices)
    ratio = np.maximum(1.0, np.cumsum(change) / max(1, fleet_devices))
    integral = np.concatenate(([0.0], np.cumsum(ratio[:-1] * np.diff(times))))
    lives = (until_us - since_us).astype(np.float64)
    area = integral[np.searchsorted(times, until_us)] - integral[np.searchsorted(times, since_us)]
    mean: NDArray[np.float64] = np.divide(area, lives, out=np.ones_like(lives), where=lives > 0)
    return mean


def peak_rss_mib() -> float:
    """The most memory that this process has held at once, in MiB (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
