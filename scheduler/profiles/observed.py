"""What running jobs show about the rates of others of their kind: a Bayesian correction of the modelled rate.

The logarithm of observed over modelled rate of a family of jobs on accelerator a is taken as
s_a (sqrt(c) z + sqrt(1 - c) z_a), where z and z_a are standard normal, s_a follows from the band of the modelled rate,
and c says how much of the error is the family's own, wherever it runs. Each attempt observes that sum with noise. So
what is seen on one chip corrects the others too, by less; and a rate that was measured already hardly moves.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from scheduler.model.accelerators import Provenance
from scheduler.profiles.table import Rate

__all__ = ["Correction", "band_of", "corrected", "corrections", "scale_of"]

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
NORMAL_90 = 1.645
STEP = 0.02
"""Corrections move in steps of so much of the logarithm, so that options stay as they are while nothing is learnt."""


class Correction(Struct, frozen=True, gc=False):
    """Of the log rate on one accelerator: posterior mean and scale; `attempts` seen there."""

    mean: float
    scale: float
    attempts: int


def scale_of(rate: Rate) -> float:
    """Standard deviation of the log of a rate whose band holds 90 %."""
    if rate.low <= 0 or rate.high <= rate.low:
        return LEAST_SCALE
    return max(LEAST_SCALE, math.log(rate.high / rate.low) / (2 * NORMAL_90))


def corrections(scales: Mapping[str, float], seen: Mapping[str, Sequence[float]]) -> dict[str, Correction]:
    """For each accelerator of `scales`. `seen`: log of observed over modelled rate, one value per attempt.

    The same values in any order give the same result. Accelerators that are only in `seen` are left out.
    """
    names = sorted(scales)
    scale = np.array([scales[name] for name in names])
    told = [i for i, name in enumerate(names) if seen.get(name)]
    if not told:
        return {name: Correction(0.0, scales[name], 0) for name in names}
    prior = np.outer(scale, scale) * (COMMON + (1 - COMMON) * np.eye(len(names)))
    count = np.array([len(seen[names[i]]) for i in told])
    mean = np.array([_robust_mean(seen[names[i]], float(scale[i])) for i in told])
    across = prior[:, told]
    inverse = np.linalg.inv(prior[np.ix_(told, told)] + np.diag(NOISE**2 / count))
    means = across @ inverse @ mean
    variances = np.diag(prior) - np.einsum("ij,jk,ik->i", across, inverse, across)
    attempts = {names[i]: int(n) for i, n in zip(told, count, strict=True)}
    return {
        name: Correction(
            round(float(m) / STEP) * STEP, math.ceil(math.sqrt(max(0.0, float(v))) / STEP) * STEP, attempts.get(name, 0)
        )
        for name, m, v in zip(names, means, variances, strict=True)
    }


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
