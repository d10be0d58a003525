"""Non-negative coefficients of additive times, fitted so that relative errors are small.

Active sets after Lawson and Hanson, 1974, on the normal equations: terms are few. Huber's weights (1964) let a
measurement that went wrong pull no harder than one that is somewhat off.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_nonnegative"]

FloatArray = NDArray[np.float64]

HUBER = 1.345
"""Standard deviations up to which an error counts in full: 95 % as efficient as least squares on normal errors."""

NORMAL_MAD = 1.4826
"""Standard deviation over median absolute deviation of normal errors."""


def fit_nonnegative(
    terms: FloatArray,
    times: FloatArray,
    *,
    prior: FloatArray | None = None,
    prior_weight: float | FloatArray = 0.0,
    weights: FloatArray | None = None,
    robust: bool = False,
    rounds: int = 20,
) -> FloatArray:
    """Coefficients c (k,) >= 0 that make terms (n, k) @ c near times (n,), errors relative to the time.

    Least is sum(weights * ((terms @ c - times) / times)**2) + sum(prior_weight * ((c - prior) / prior)**2), where
    `prior` (k,) > 0 is what siblings show and a weight of it counts like so many measurements. `robust` weighs by
    Huber, in units of the errors' own spread. ValueError for shapes that differ, times not above 0, terms below 0.
    """
    terms, times = np.asarray(terms, dtype=np.float64), np.asarray(times, dtype=np.float64)
    _check(terms, times)
    shares = terms / times[:, None]
    given = np.ones(len(times)) if weights is None else np.asarray(weights, dtype=np.float64)
    found = _solved(shares, given, prior, prior_weight)
    for _ in range(rounds if robust else 0):
        errors = np.abs(shares @ found - 1.0)
        spread = max(NORMAL_MAD * float(np.median(errors)), 1e-9)
        kept = given * np.minimum(1.0, HUBER * spread / np.maximum(errors, 1e-300))
        before, found = found, _solved(shares, kept, prior, prior_weight)
        if np.allclose(before, found, rtol=1e-9, atol=0.0):
            break
    return found


def _check(terms: FloatArray, times: FloatArray) -> None:
    if terms.ndim != 2 or times.shape != terms.shape[:1]:
        raise ValueError(f"terms {terms.shape} and times {times.shape} do not go together")
    if not (np.isfinite(terms).all() and np.isfinite(times).all() and (times > 0).all() and (terms >= 0).all()):
        raise ValueError("times must be above 0, terms at least 0, and all of them finite")


def _solved(
    shares: FloatArray, weights: FloatArray, prior: FloatArray | None, prior_weight: float | FloatArray
) -> FloatArray:
    gram = (shares.T * weights) @ shares
    right = shares.T @ weights
    if prior is not None:
        pull = np.broadcast_to(np.asarray(prior_weight, dtype=np.float64), prior.shape)
        gram = gram + np.diag(pull / prior**2)
        right = right + pull / prior
    size = np.sqrt(np.diag(gram))
    size = np.where(size > 0, size, 1.0)
    return _least(gram / np.outer(size, size), right / size) / size


def _least(gram: FloatArray, right: FloatArray) -> FloatArray:
    """min x'Gx/2 - r'x over x >= 0."""
    count = len(right)
    x, free = np.zeros(count), np.zeros(count, dtype=bool)
    tolerance = 1e-12 * max(1.0, float(np.abs(right).max(initial=0.0)))
    for _ in range(3 * count + 1):
        slope = right - gram @ x
        slope[free] = -np.inf
        enters = int(np.argmax(slope)) if count else 0
        if not count or slope[enters] <= tolerance:
            break
        free[enters] = True
        x = _feasible(gram, right, x, free)
    return x


def _feasible(gram: FloatArray, right: FloatArray, x: FloatArray, free: NDArray[np.bool_]) -> FloatArray:
    """Towards the least over the free coefficients; those that would fall below 0 leave on the way."""
    while free.any():
        goal = np.zeros_like(x)
        goal[free] = np.linalg.lstsq(gram[np.ix_(free, free)], right[free], rcond=None)[0]
        below = free & (goal <= 0)
        if not below.any():
            return goal
        steps = x[below] / np.maximum(x[below] - goal[below], 1e-300)
        x = x + float(steps.min()) * (goal - x)
        leaves = below & (x <= 1e-15)
        if not leaves.any():
            leaves = below & (x == x[below].min())
        free &= ~leaves
        x[leaves] = 0.0
    return np.zeros_like(x)
