"""Step times of data-parallel jobs of which nothing is known but how long their steps took.

The form is that of Pollux (Qiao et al., 2021) and Sia (Jayaram Subramanya et al., 2023): computing takes a fixed time
and one for each sample; talking takes a fixed time and one for each replica beyond the second, other ones within a node
than across nodes; both overlap as (compute^g + talk^g)^(1/g), g from 1, one after the other, to 10, nearly hidden.
"""

import math

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

__all__ = ["BlackBox", "fit_black_box"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LOG_SD = 4.0
"""How sure the fit is of its start, in log units: hardly."""

CROSS_OVER_LOCAL = 1.1
"""Talking across nodes takes at least so much longer than within one, where only one of both was seen (Sia)."""

MOST_OVERLAP = 10.0
ROUNDS = 100
NEGLIGIBLE_S = 1e-7
FREEDOM = 4.0
NOISE = 0.05
"""Log scale of what steps of the same job differ by."""

DRIFT = 0.15
"""Log scale by which a doubling of replicas beyond those seen may lead away, where a job's own steps cannot tell."""

ENOUGH_STEPS = 8
"""From which on a fit to the fewest replicas tells how well it would have foretold the others."""

NORMAL_REACH = 1.645
"""Standard deviations on each side that hold 90 % of normal errors."""


class BlackBox(Struct, frozen=True, kw_only=True):
    """Seconds: fixed and per sample of a replica; fixed and per replica beyond the second of talking in a node, and of
    talking across nodes. `overlap`: 1 to 10. `error`: root mean squared error of the log times it was fitted to;
    `reach`: log units that nine of ten of these errors stay within; `drift`: log scale by which each doubling beyond
    `most_replicas`, those of the fit, may lead away."""

    compute_fixed_s: float
    compute_sample_s: float
    local_fixed_s: float
    local_replica_s: float
    cross_fixed_s: float
    cross_replica_s: float
    overlap: float
    error: float = 0.0
    reach: float = 0.0
    drift: float = DRIFT
    most_replicas: int = 1

    def step_s(
        self, batch: FloatArray, replicas: IntArray, nodes: IntArray, accumulations: IntArray | int = 0
    ) -> FloatArray:
        """Seconds (n,) of a step with `batch` samples a replica in each of `accumulations` + 1 passes."""
        at = np.array(
            [
                self.compute_fixed_s,
                self.compute_sample_s,
                self.local_fixed_s,
                self.local_replica_s,
                self.cross_fixed_s,
                self.cross_replica_s,
            ]
        )
        compute, talk = _parts(at, *_checked(batch, replicas, nodes))
        return np.asarray(accumulations * compute + _joined(compute, talk, self.overlap))

    def log_reach(self, replicas: IntArray) -> FloatArray:
        """Log units (n,) on each side of a step's time that hold nine of ten."""
        doublings = np.log2(np.maximum(np.asarray(replicas) / self.most_replicas, 1.0))
        return np.asarray(np.hypot(self.reach, NORMAL_REACH * self.drift * doublings), dtype=np.float64)


def fit_black_box(batch: FloatArray, replicas: IntArray, nodes: IntArray, times: FloatArray) -> BlackBox:
    """Fit `times` (n,) in seconds by squared errors of their logarithms, outliers held back by Student's weights.

    Where a job never ran on several devices it is taken to talk for free, and where never in one node, or across, as
    fast as the other allows: what was not tried looks good enough to be tried. How far more replicas may lead away is
    learnt from fits to the fewest replicas and what they say of the others. ValueError without a time above 0.
    """
    samples, copies, spans = _checked(batch, replicas, nodes)
    if not len(times) or times.shape != samples.shape or not (np.isfinite(times).all() and (times > 0).all()):
        raise ValueError("as many times as batches are needed, all above 0")
    found = _fitted(samples, copies, spans, times)
    off, doublings = [np.zeros(0)], [np.zeros(0)]
    for most in np.unique(copies)[:-1]:
        few = copies <= most
        if few.sum() >= ENOUGH_STEPS:
            smaller = _fitted(samples[few], copies[few], spans[few], times[few])
            off.append(np.log(times[~few] / smaller.step_s(samples[~few], replicas[~few], nodes[~few])))
            doublings.append(np.log2(copies[~few] / most))
    squares, steps = np.concatenate(off) ** 2, np.concatenate(doublings)
    if not len(steps):
        return found
    drift = math.sqrt(max(float(np.mean(squares)) - found.error**2, 0.0) / float(np.mean(steps**2)))
    return structs.replace(found, drift=drift)


def _fitted(samples: FloatArray, copies: FloatArray, spans: FloatArray, times: FloatArray) -> BlackBox:
    found = _climbed(_start(samples, times), samples, copies, spans, np.log(times))
    at, overlap = np.exp(found[:6]), _overlap(found[6])
    shared, across = (copies > 1) & (spans == 1), spans > 1
    if not shared.any():
        at[2:4] = at[4:6] / CROSS_OVER_LOCAL if across.any() else 0.0
    if not across.any():
        at[4:6] = at[2:4] * CROSS_OVER_LOCAL
    compute, talk = _parts(at, samples, copies, spans)
    errors = np.log(times) - np.log(_joined(compute, talk, overlap))
    return BlackBox(
        compute_fixed_s=float(at[0]),
        compute_sample_s=float(at[1]),
        local_fixed_s=float(at[2]),
        local_replica_s=float(at[3]),
        cross_fixed_s=float(at[4]),
        cross_replica_s=float(at[5]),
        overlap=overlap,
        error=float(np.sqrt(np.mean(errors**2))),
        reach=float(np.quantile(np.abs(errors), 0.9)),
        most_replicas=int(copies.max()),
    )


def _checked(batch: FloatArray, replicas: IntArray, nodes: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    columns = [np.atleast_1d(np.asarray(column, dtype=np.float64)) for column in (batch, replicas, nodes)]
    if len({column.shape for column in columns}) > 1:
        raise ValueError("batches, replicas and nodes must be as many")
    if not ((columns[0] > 0).all() and (columns[1] >= 1).all() and (columns[2] >= 1).all()):
        raise ValueError("a batch must be above 0, replicas and nodes at least 1")
    return columns[0], columns[1], columns[2]


def _parts(at: FloatArray, batch: FloatArray, replicas: FloatArray, nodes: FloatArray) -> tuple[FloatArray, FloatArray]:
    compute = at[0] + at[1] * batch
    more = np.maximum(replicas - 2, 0)
    talk = np.where(nodes > 1, at[4] + at[5] * more, at[2] + at[3] * more)
    return compute, np.where(replicas > 1, talk, 0.0)


def _joined(compute: FloatArray, talk: FloatArray, overlap: float) -> FloatArray:
    """(compute^g + talk^g)^(1/g), without overflow."""
    longer, shorter = np.maximum(compute, talk), np.minimum(compute, talk)
    ratio = shorter / np.maximum(longer, NEGLIGIBLE_S)
    return np.asarray(longer * (1 + ratio**overlap) ** (1 / overlap), dtype=np.float64)


def _overlap(free: float) -> float:
    return 1 + (MOST_OVERLAP - 1) / (1 + math.exp(-free))


def _start(batch: FloatArray, times: FloatArray) -> FloatArray:
    """A tenth of the shortest step is fixed, the rest grows with the batch, and talking takes a tenth."""
    shortest = float(times.min())
    sample = float(np.median(times / batch))
    talk = 0.1 * float(np.median(times))
    return np.array([*np.log([0.1 * shortest, sample, talk, 0.01 * talk, talk, 0.01 * talk]), -1.0])


def _climbed(
    start: FloatArray, batch: FloatArray, replicas: FloatArray, nodes: FloatArray, log_times: FloatArray
) -> FloatArray:
    """Levenberg and Marquardt's steps with slopes by differences: seven parameters."""
    at, damping = start.copy(), 1e-2
    spread = np.array([LOG_SD] * 6 + [2.0])

    def errors_at(point: FloatArray) -> FloatArray:
        compute, talk = _parts(np.exp(point[:6]), batch, replicas, nodes)
        return np.asarray(log_times - np.log(_joined(compute, talk, _overlap(point[6]))))

    def cost_at(point: FloatArray, errors: FloatArray) -> float:
        unlikely = (FREEDOM + 1) * np.log1p((errors / NOISE) ** 2 / FREEDOM).sum()
        return float(unlikely + (((point - start) / spread) ** 2).sum())

    errors = errors_at(at)
    cost = cost_at(at, errors)
    for _ in range(ROUNDS):
        slopes = np.array([(errors - errors_at(at + step)) / 1e-5 for step in np.eye(7) * 1e-5]).T
        weights = (FREEDOM + 1) / (FREEDOM + (errors / NOISE) ** 2) / NOISE**2
        curved = (slopes.T * weights) @ slopes + np.diag(1 / spread**2)
        uphill = slopes.T @ (weights * errors) - (at - start) / spread**2
        gained = 0.0
        while damping < 1e10:
            ahead = at + np.clip(np.linalg.solve(curved + damping * np.diag(np.diag(curved)), uphill), -1, 1)
            further = errors_at(ahead)
            gained = cost - cost_at(ahead, further)
            if gained >= 0:
                break
            damping *= 4
        if gained <= 1e-9 * abs(cost):
            break
        at, errors, cost, damping = ahead, further, cost - gained, max(damping / 4, 1e-9)
    return at
