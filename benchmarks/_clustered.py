"""What coverage may be where measurements come in clusters: those of one model, device and engine err together."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks._scores import binomial_interval
from scheduler.profiles.student import student_quantile

__all__ = ["clustered_interval"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def clustered_interval(
    inside: FloatArray, which: Sequence[int] | IntArray, clusters: Sequence[str], level: float = 0.95
) -> tuple[float, float]:
    """Interval of the share of measurements `which` (n,) whose predictions lie `inside` (n,), 0 or 1, each of one of
    `clusters` (n,): the binomial one of as many measurements as would tell as much if they were independent (Korn and
    Graubard, 1998). Nothing is known from one cluster."""
    measured, place = np.unique(np.asarray(which), return_inverse=True)
    share = np.bincount(place, np.asarray(inside, dtype=float)) / np.bincount(place)
    names = np.empty(len(measured), dtype=object)
    names[place] = np.asarray(clusters, dtype=object)
    cluster = np.unique(names.astype(str), return_inverse=True)[1].reshape(-1)
    n, groups, mean = len(measured), int(cluster.max()) + 1, float(share.mean())
    if groups < 2:
        return 0.0, 1.0
    off = np.bincount(cluster, share - mean)
    variance = float(off @ off) / n**2 * groups / (groups - 1)
    alone = mean * (1.0 - mean)
    independent = min(alone / variance, n) if variance > 0 and alone > 0 else float(groups)
    wide, narrow = (float(student_quantile((1 + level) / 2, np.array([count - 1.0]))[0]) for count in (groups, n))
    count = max(1, math.floor(independent * (narrow / wide) ** 2))
    return binomial_interval(round(mean * count), count, level)
