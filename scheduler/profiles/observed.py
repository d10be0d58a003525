"""What running jobs show about the rates of others of their kind: a Bayesian correction of the modelled rate.

The logarithm of observed over modelled rate of a family of jobs on accelerator a is taken as
s_a (sqrt(c) z + sqrt(1 - c) z_a), where z and z_a are standard normal, s_a follows from the band of the modelled rate,
and c says how much of the error is the family's own, wherever it runs. Each attempt observes that sum with noise. So
what is seen on one chip corrects the others too, by less; and a rate that was measured already hardly moves.

An attempt that shows only a lower bound, a service that answers all that comes, cuts off what lies below: the normal
with the moments of what is left takes its place (expectation propagation, one pass; Minka, 2001).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.model.accelerators import Provenance
from scheduler.profiles.table import Rate

__all__ = ["Correction", "band_of", "corrected", "corrections", "scale_of"]

FloatArray = NDArray[np.float64]

COMMON = 0.7
"""Of the variance of log errors, the part that a family of jobs has on every accelerator. A judgement: the shape of a
model and its software differ from what was assumed wherever it runs."""

NOISE = 0.05
"""Scale of the log rate between attempts of the same job on the same devices: placement, neighbours, clocks.
A judgement."""

LEAST_SCALE = 0.03
OUTLIER = 3.0
"""Observations further from what was expected than so many standard deviations count as so far."""

ENOUGH = 3
FAR_TAIL = 8.0
NORMAL_90 = 1.645
STEP = 0.02
"""Corrections move in steps of so much of the logarithm, so that options stay as they are while nothing is learnt."""


class Correction(Struct, frozen=True, gc=False):
    """Of the log rate on one accelerator: posterior mean and scale; `attempts` seen there, and those beside them that
    showed a lower bound alone."""

    mean: float
    scale: float
    attempts: int
    bounds: int = 0


def scale_of(rate: Rate) -> float:
    """Standard deviation of the log of a rate whose band holds 90 %."""
    if rate.low <= 0 or rate.high <= rate.low:
        return LEAST_SCALE
    return max(LEAST_SCALE, math.log(rate.high / rate.low) / (2 * NORMAL_90))


def corrections(
    scales: Mapping[str, float],
    seen: Mapping[str, Sequence[float]],
    bounds: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Correction]:
    """For each accelerator of `scales`. `seen`: log of observed over modelled rate, one value per attempt; `bounds`
    likewise, of attempts that can do at least that.

    The same values in any order give the same result. Accelerators that are only in `seen` or `bounds` are left out.
    """
    names, bounds = sorted(scales), bounds or {}
    scale = np.array([scales[name] for name in names])
    sites = [
        _Site(i, _robust_mean(seen[name], scales[name]), NOISE**2 / len(seen[name]))
        for i, name in enumerate(names)
        if seen.get(name)
    ]
    prior = np.outer(scale, scale) * (COMMON + (1 - COMMON) * np.eye(len(names)))
    means, variances = _posterior(prior, sites)
    least = [(i, max(bounds[name])) for i, name in enumerate(names) if bounds.get(name)]
    cut = [_cut_off(i, bound, float(means[i]), float(variances[i])) for i, bound in least]
    sites += [site for site in cut if site is not None]
    means, variances = _posterior(prior, sites)
    if not sites:
        return {name: Correction(0.0, scales[name], 0, len(bounds.get(name, ()))) for name in names}
    return {
        name: Correction(
            round(float(m) / STEP) * STEP,
            math.ceil(math.sqrt(max(0.0, float(v))) / STEP) * STEP,
            len(seen.get(name, ())),
            len(bounds.get(name, ())),
        )
        for name, m, v in zip(names, means, variances, strict=True)
    }


class _Site(Struct, frozen=True, gc=False):
    """What is told of the error on one accelerator, by place: a normal."""

    place: int
    mean: float
    variance: float


def _posterior(prior: FloatArray, sites: Sequence[_Site]) -> tuple[FloatArray, FloatArray]:
    """Means and variances (n,) of errors with covariance `prior` (n, n), once the sites are seen."""
    if not sites:
        return np.zeros(len(prior)), np.diag(prior)
    told = [site.place for site in sites]
    across = prior[:, told]
    inverse = np.linalg.inv(prior[np.ix_(told, told)] + np.diag([site.variance for site in sites]))
    means = across @ inverse @ np.array([site.mean for site in sites])
    return means, np.diag(prior) - np.einsum("ij,jk,ik->i", across, inverse, across)


def _cut_off(place: int, bound: float, mean: float, variance: float) -> _Site | None:
    """The site that turns a normal into one with the moments of what lies above the bound, which is noisy as attempts
    are; None where hardly anything lies below it."""
    spread = math.sqrt(variance + NOISE**2)
    above = (bound - mean) / spread
    if above < -OUTLIER:
        return None
    hazard = _hazard(above)
    narrowed = variance - variance**2 / spread**2 * hazard * (hazard - above)
    moved = mean + variance / spread * hazard
    if narrowed >= variance * (1 - 1e-9):
        return None
    site = 1 / (1 / narrowed - 1 / variance)
    return _Site(place, site * (moved / narrowed - mean / variance), site)


def _hazard(z: float) -> float:
    """Density over the upper tail of a standard normal; far out by its asymptotic series."""
    if z > FAR_TAIL:
        return z + 1 / z - 2 / z**3
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(z / math.sqrt(2)))


def _robust_mean(values: Sequence[float], scale: float) -> float:
    """Values far from their median are drawn in. One or two may be as far from the model as the model may err; where
    three agree, it is the model that is wrong."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    reach = OUTLIER * math.hypot(scale, NOISE) if len(ordered) < ENOUGH else math.inf
    centre = min(max(median, -reach), reach)
    return math.fsum(min(max(v, centre - OUTLIER * NOISE), centre + OUTLIER * NOISE) for v in ordered) / len(ordered)


def band_of(correction: Correction) -> tuple[float, float]:
    """Ends of the 90 % band of observed over modelled rate of the next attempt."""
    reach = NORMAL_90 * math.hypot(correction.scale, NOISE)
    return math.exp(correction.mean - reach), math.exp(correction.mean + reach)


def corrected(rate: Rate, correction: Correction) -> Rate:
    """The rate with what was learnt: its band is that of the next attempt. Measured where it was seen on the chip."""
    factor = math.exp(correction.mean)
    low, high = band_of(correction)
    provenance = Provenance.MEASURED if correction.attempts else rate.provenance
    value = rate.value
    return Rate(value * factor, value * low, value * high, provenance, rate.absolute, rate.learned * factor)
