"""How sure a predicted time is, and what a few observations of the same model, device and engine make of it.

The log residuals (observed over predicted) of one cell - a model on a device under an engine - are taken as normal: a
level of the cell, one of its stack (version, precision), a part that changes slowly with batch, lengths and split, and
noise. What others of a cell show moves the prediction of the next by as much as they have in common (kriging; Cressie,
1993). How wide the tails are is not left to the normal: the interval is as wide as the share of held-out residuals
that it must hold asks for (conformal; Vovk et al., 2005), and after observations wider by as much as Student's is with
so few cells: what they share was learnt from the very residuals that it is tried on.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.profiles.hierarchy import Prediction
from scheduler.profiles.student import student_quantile

__all__ = ["Spread", "band", "expected", "fit_spread"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LEVEL = 0.90
NORMAL_REACH = 1.6448536
"""Standard deviations on each side that hold 90 % of normal errors."""

REACHES = (0.8, 1.25, 2.0)
MOST_PER_CELL = 60
"""Residuals of one cell that the variances are learnt from, drawn at random where there are more."""

BELIEVED = (0.15, 0.10, 0.10, 0.05)
BELIEVED_CELLS = 3.0
"""Deviations of level, stack, slow change and noise that are believed before any cell is seen, and worth how many."""

FEW_CELLS = 4
"""Fewer cells say nothing of tails: they are at least Student's."""

WILD = 4.0
"""Residuals beyond so many deviations of the median are cut there: one broken run must not widen every band."""

MOST_SEEN = 3.0
"""An observation farther off than so many deviations counts as if it were there: it may be a warm-up or a straggler."""

STEPS = 40
OBSERVED = 3
DRAWS = 6
"""Observations, and draws of them in each cell, that tell how wide the tails are once some are seen."""


class Spread(Struct, frozen=True, kw_only=True):
    """Standard deviations in log units of `level`, `stack`, slow change `bend` (over `reach`, in units of the features)
    and `noise`; `tail`, `tail_seen`: how many hold 90 % of outcomes, before and after observations; `cells` seen."""

    level: float
    stack: float
    bend: float
    reach: float
    noise: float
    tail: float
    tail_seen: float
    cells: int


def fit_spread(
    residuals: FloatArray, cells: IntArray, stacks: IntArray, features: FloatArray, rng: np.random.Generator
) -> Spread:
    """From log residuals (n,) of cells and stacks (n,), by number, that the prediction did not see; features (n, q) in
    units in which one is a large change. `rng` draws what is learnt from. ValueError without any residual."""
    if not len(residuals):
        raise ValueError("a spread needs residuals")
    middle = float(np.median(residuals))
    wide = 1.4826 * float(np.median(np.abs(residuals - middle)))
    kept = np.clip(residuals, middle - WILD * max(wide, 0.05), middle + WILD * max(wide, 0.05))
    groups = [np.flatnonzero(cells == cell) for cell in np.unique(cells)]
    drawn = [rng.permutation(rows)[:MOST_PER_CELL] for rows in groups]
    blocks = [(kept[rows], *_alike(features[rows], stacks[rows])) for rows in drawn]
    tried = [(*_variances(blocks, reach), reach) for reach in REACHES]
    variances, _, reach = max(tried, key=lambda one: one[1])
    known = float(len(groups))
    believed = np.array(BELIEVED) ** 2
    settled = np.sqrt((BELIEVED_CELLS * believed + known * variances) / (BELIEVED_CELLS + known))
    level, stack, bend, noise = (float(value) for value in settled)
    narrow = Spread(
        level=level, stack=stack, bend=bend, reach=reach, noise=noise, tail=1.0, tail_seen=1.0, cells=len(groups)
    )
    student = float(student_quantile(0.5 + LEVEL / 2, np.array([max(known - 1.0, 1.0)]))[0])
    least = student if known < FEW_CELLS else 0.0
    before = np.abs(residuals) / float(np.sqrt((settled**2).sum()))
    after = _scaled_after(narrow, residuals, groups, stacks, features, rng)
    return Spread(
        level=level,
        stack=stack,
        bend=bend,
        reach=reach,
        noise=noise,
        tail=max(float(np.quantile(before, LEVEL)), least),
        tail_seen=max(float(np.quantile(after if len(after) else before, LEVEL)) * student / NORMAL_REACH, least),
        cells=len(groups),
    )


def expected(
    spread: Spread,
    features: FloatArray,
    stacks: IntArray,
    seen: FloatArray | None = None,
    seen_features: FloatArray | None = None,
    seen_stacks: IntArray | None = None,
) -> Prediction:
    """Log residuals to expect at features (m, q) and stacks (m,) of a cell of which residuals `seen` (k,) are known."""
    total = spread.level**2 + spread.stack**2 + spread.bend**2 + spread.noise**2
    mean, variance, tail = np.zeros(len(features)), np.full(len(features), total), spread.tail
    if seen is not None and seen_features is not None and seen_stacks is not None and len(seen):
        among = _shared(spread, seen_features, seen_stacks, seen_features, seen_stacks)
        between = _shared(spread, features, stacks, seen_features, seen_stacks)
        weights = np.linalg.solve(among + spread.noise**2 * np.eye(len(seen)), between.T).T
        kept = np.clip(seen, -MOST_SEEN * np.sqrt(total), MOST_SEEN * np.sqrt(total))
        mean, variance, tail = weights @ kept, total - (weights * between).sum(axis=1), spread.tail_seen
    return Prediction(mean, np.sqrt(np.maximum(variance, 0.0)) * tail / NORMAL_REACH, np.full(len(features), 1e6))


def band(spread: Spread) -> tuple[float, float]:
    """Ends of the band of a cell never seen, over what is predicted of it."""
    low, high = expected(spread, np.zeros((1, 1)), np.zeros(1, dtype=np.int64)).interval(LEVEL)
    return float(low[0]), float(high[0])


def _shared(
    spread: Spread, left: FloatArray, left_stacks: IntArray, right: FloatArray, right_stacks: IntArray
) -> FloatArray:
    near = np.exp(-_apart(left, right) / (2 * spread.reach**2))
    same = left_stacks[:, None] == right_stacks[None, :]
    return np.asarray(spread.level**2 + spread.stack**2 * same + spread.bend**2 * near)


def _apart(left: FloatArray, right: FloatArray) -> FloatArray:
    return np.asarray(((left[:, None, :] - right[None, :, :]) ** 2).sum(axis=-1))


def _alike(features: FloatArray, stacks: IntArray) -> tuple[FloatArray, FloatArray]:
    return (stacks[:, None] == stacks[None, :]).astype(np.float64), _apart(features, features)


def _variances(blocks: Sequence[tuple[FloatArray, FloatArray, FloatArray]], reach: float) -> tuple[FloatArray, float]:
    """Of level, stack, slow change and noise, by multiplicative steps of which each raises the likelihood (Zhou et al.,
    2019), and the log likelihood."""
    kernels = [
        (residuals, np.stack([np.ones_like(same), same, np.exp(-apart / (2 * reach**2)), np.eye(len(same))]))
        for residuals, same, apart in blocks
    ]
    total = sum(float(r @ r) for r, _ in kernels) / max(sum(len(r) for r, _ in kernels), 1)
    variances = np.full(4, max(total, 1e-6) / 4)
    for _ in range(STEPS):
        gain, cost = np.zeros(4), np.zeros(4)
        for residuals, parts in kernels:
            inverse = np.linalg.inv(np.tensordot(variances, parts, axes=1))
            pulled = inverse @ residuals
            gain += (parts @ pulled) @ pulled
            cost += np.tensordot(parts, inverse, axes=2)
        variances = np.maximum(variances * np.sqrt(gain / np.maximum(cost, 1e-300)), 1e-8)
    likelihood = 0.0
    for residuals, parts in kernels:
        covariance = np.tensordot(variances, parts, axes=1)
        likelihood -= 0.5 * float(residuals @ np.linalg.solve(covariance, residuals) + np.linalg.slogdet(covariance)[1])
    return variances, likelihood


def _scaled_after(
    spread: Spread,
    residuals: FloatArray,
    groups: Sequence[IntArray],
    stacks: IntArray,
    features: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    """Deviations of residuals from what a few of the same cell let expect, in units of the standard deviation."""
    found = [np.zeros(0)]
    for rows in groups:
        for _ in range(DRAWS if len(rows) > OBSERVED else 0):
            order = rng.permutation(rows)
            seen, rest = order[:OBSERVED], order[OBSERVED:]
            said = expected(spread, features[rest], stacks[rest], residuals[seen], features[seen], stacks[seen])
            found.append(np.abs(residuals[rest] - said.mean) / (said.scale * NORMAL_REACH))
    return np.concatenate(found)
