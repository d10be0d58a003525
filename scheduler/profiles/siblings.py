"""Coefficients of many devices at once: each device's own, drawn to its siblings' where it was measured little.

The logarithm of a coefficient is the term's own level, plus slopes times covariates of the row (such as the device's
peak arithmetic: the more of it, the smaller the share that kernels reach), plus what is peculiar to the row's group in
each of several groupings, such as its device and its software. Other groupings, such as the version of the software,
shift the logarithm of the whole time. All have beliefs beforehand; measurements move them (maximum a posteriori,
Student errors; Gelman et al., Bayesian Data Analysis, chapters 5 and 17). A group never measured has nothing peculiar
yet, and its band is as wide as groups differ (Laplace's approximation).
"""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

__all__ = ["Belief", "Siblings", "fit_siblings"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FREEDOM = 4.0
"""Of Student's errors: one measurement in ten may be far off."""

CERTAIN = 1e-4
"""Standard deviation of what is not doubted."""

ENOUGH_GROUPS = 6
"""Groups from which on it is known how much they differ; of fewer, another differs at least as was believed."""

DOUBT = 2.0
REFINEMENTS = 4
ROUNDS = 80
SETTLED = 1e-7
LARGEST_STEP = 1.0


class Belief(Struct, frozen=True, gc=False):
    """Of one term's coefficient, before any measurement: `level` where all covariates are 0, and in log units its
    standard deviation, of each covariate's slope the mean and standard deviation, and how much the groups of each
    grouping differ."""

    level: float
    level_sd: float
    slopes: tuple[tuple[float, float], ...] = ()
    group_sds: tuple[float, ...] = (0.07,)


class Siblings(Struct, frozen=True, kw_only=True):
    """The fit, in log units: `levels` (k,), `slopes` (covariates, k), for each grouping what is peculiar to its groups
    (groups, k), for each shifting grouping its groups' shifts (groups,), and the `covariance` of all in that order.
    `own_sds` (groupings, k), `shift_sds`: how much groups differ."""

    levels: FloatArray
    slopes: FloatArray
    own: tuple[FloatArray, ...]
    shifts: tuple[FloatArray, ...]
    covariance: FloatArray
    own_sds: FloatArray
    shift_sds: tuple[float, ...]

    def place_of(self, grouping: int) -> slice:
        """Where in the covariance what is peculiar to the groups of a grouping lies, group by group."""
        sizes = [own.size for own in self.own]
        start = self.levels.size + self.slopes.size + sum(sizes[:grouping])
        return slice(start, start + sizes[grouping])

    def coefficients(self, groups: IntArray, covariates: FloatArray) -> FloatArray:
        """(n, k) of groups (n, groupings) by their place in the fit, -1 for one that is not in it."""
        logs = self.levels + covariates @ self.slopes
        for column, own in zip(groups.T, self.own, strict=True):
            logs = logs + np.vstack([own, np.zeros_like(self.levels)])[column]
        return np.asarray(np.exp(logs), dtype=np.float64)

    def predict(
        self, terms: FloatArray, groups: IntArray, shifting: IntArray, covariates: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Times (n,) of terms (n, k), and the log scale (n,) that the uncertain coefficients give them. -1 stands for a
        group that is not in the fit: an average one, with the band of all that it could be."""
        parts = terms * self.coefficients(groups, covariates)
        times = parts.sum(axis=1)
        shares = parts / times[:, None]
        sizes = [len(own) for own in self.own], [len(shift) for shift in self.shifts]
        gradient = _gradient(shares, covariates, groups, shifting, *sizes)
        variance = np.einsum("ij,jk,ik->i", gradient, self.covariance, gradient)
        variance += ((groups < 0) * (shares**2 @ self.own_sds.T**2)).sum(axis=1)
        for column, shifts, sd in zip(shifting.T, self.shifts, self.shift_sds, strict=True):
            variance += (column < 0) * sd**2
            times = times * np.exp(np.append(shifts, 0.0)[column])
        return times, np.asarray(np.sqrt(variance), dtype=np.float64)


def fit_siblings(
    terms: FloatArray,
    times: FloatArray,
    groups: IntArray,
    shifting: IntArray,
    covariates: FloatArray,
    *,
    beliefs: Sequence[Belief],
    shift_sds: Sequence[float],
    noise: float | FloatArray = 0.03,
) -> Siblings:
    """Fit terms (n, k) to `times` (n,). `groups` (n, groupings), `shifting` (n, shifting groupings): places from 0 on,
    or -1 for none; `covariates` (n, c). `noise`: log scale of the errors, of all or of each row.

    ValueError where a time is not above 0 or a row has no term.
    """
    if not ((times > 0).all() and np.isfinite(terms).all() and (terms >= 0).all() and (terms.sum(axis=1) > 0).all()):
        raise ValueError("times must be above 0, and terms at least 0 with one above it in every row")
    shape = _Shape(
        count=terms.shape[1],
        covariates=covariates.shape[1],
        groups=[int(column.max(initial=-1)) + 1 for column in groups.T],
        shifting=[int(column.max(initial=-1)) + 1 for column in shifting.T],
    )
    believed = np.array([b.group_sds for b in beliefs], dtype=np.float64).T
    own_sds = believed.copy()
    start, spread = _beliefs(beliefs, shape, own_sds, shift_sds)
    posterior = _Posterior(
        terms=terms,
        log_times=np.log(times),
        groups=groups,
        shifting=shifting,
        covariates=covariates,
        shape=shape,
        mean=start,
        spread=spread,
        noise=np.broadcast_to(np.asarray(noise, dtype=np.float64), times.shape),
    )
    found, covariance = _climbed(posterior, start)
    for _ in range(REFINEMENTS):
        for n, part in enumerate(shape.own):
            if shape.groups[n] > 1:
                factor = _evidence(found[part], np.diag(covariance)[part], spread[part])
                own_sds[n], spread[part] = own_sds[n] * factor, spread[part] * factor
        found, covariance = _climbed(posterior, found)
    few = np.array(shape.groups)[:, None] < ENOUGH_GROUPS
    return Siblings(
        levels=found[: shape.count],
        slopes=found[shape.count : shape.before_own].reshape(-1, shape.count),
        own=tuple(found[part].reshape(-1, shape.count) for part in shape.own),
        shifts=tuple(found[part] for part in shape.shifts),
        covariance=covariance,
        own_sds=np.where(few, np.maximum(own_sds, believed), own_sds),
        shift_sds=tuple(shift_sds),
    )


class _Shape(Struct, frozen=True, kw_only=True):
    """How parameters lie side by side: levels, slopes by covariate, groups by grouping, shifts by grouping."""

    count: int
    covariates: int
    groups: list[int]
    shifting: list[int]

    @property
    def before_own(self) -> int:
        return self.count * (1 + self.covariates)

    @property
    def own(self) -> list[slice]:
        return _slices([n * self.count for n in self.groups], self.before_own)

    @property
    def shifts(self) -> list[slice]:
        return _slices(self.shifting, self.before_own + sum(self.groups) * self.count)


def _slices(lengths: Sequence[int], start: int) -> list[slice]:
    found = []
    for length in lengths:
        found.append(slice(start, start + length))
        start += length
    return found


def _evidence(own: FloatArray, variance: FloatArray, spread: FloatArray) -> float:
    """By what groups differ more or less than was believed, which counts like `DOUBT` well-measured coefficients: the
    evidence's fixed point (MacKay, 1992)."""
    measured = float(np.clip(1 - variance / spread**2, 0, 1).sum())
    return math.sqrt((DOUBT + float((own**2 / spread**2).sum())) / (DOUBT + measured))


def _beliefs(
    beliefs: Sequence[Belief], shape: _Shape, own_sds: FloatArray, shift_sds: Sequence[float]
) -> tuple[FloatArray, FloatArray]:
    """Means and standard deviations of all parameters; a slope that no belief names is 0 for certain, nearly."""
    slopes = [b.slopes[c] if c < len(b.slopes) else (0.0, CERTAIN) for c in range(shape.covariates) for b in beliefs]
    mean = [*(math.log(b.level) for b in beliefs), *(slope for slope, _ in slopes)]
    spread = [*(b.level_sd for b in beliefs), *(sd for _, sd in slopes)]
    for sds, groups in zip(own_sds, shape.groups, strict=True):
        spread.extend(sds.tolist() * groups)
    for sd, groups in zip(shift_sds, shape.shifting, strict=True):
        spread.extend([sd] * groups)
    return np.array(mean + [0.0] * (len(spread) - len(mean))), np.array(spread)


def _gradient(
    shares: FloatArray,
    covariates: FloatArray,
    groups: IntArray,
    shifting: IntArray,
    sizes: Sequence[int],
    shift_sizes: Sequence[int],
) -> FloatArray:
    """Of the log times by every parameter: a term counts by its share of the time."""
    rows, count = shares.shape
    every = np.arange(rows)
    blocks = [shares, (covariates[:, :, None] * shares[:, None, :]).reshape(rows, covariates.shape[1] * count)]
    for column, size in zip(groups.T, sizes, strict=True):
        own = np.zeros((rows, size + 1, count))  # the last stands for groups that are not in the fit
        own[every, column] = shares
        blocks.append(own[:, :size].reshape(rows, size * count))
    for column, size in zip(shifting.T, shift_sizes, strict=True):
        shift = np.zeros((rows, size + 1))
        shift[every, column] = 1.0
        blocks.append(shift[:, :size])
    return np.hstack(blocks)


class _Posterior(Struct, frozen=True, kw_only=True):
    terms: FloatArray
    log_times: FloatArray
    groups: IntArray
    shifting: IntArray
    covariates: FloatArray
    shape: _Shape
    mean: FloatArray
    spread: FloatArray
    noise: FloatArray

    def parts(self, at: FloatArray) -> FloatArray:
        count = self.shape.count
        slopes = at[count : self.shape.before_own].reshape(self.shape.covariates, count)
        logs = at[:count] + self.covariates @ slopes
        for column, part in zip(self.groups.T, self.shape.own, strict=True):
            logs = logs + np.vstack([at[part].reshape(-1, count), np.zeros(count)])[column]
        return np.asarray(self.terms * np.exp(logs), dtype=np.float64)

    def errors(self, at: FloatArray, parts: FloatArray) -> FloatArray:
        found = self.log_times - np.log(parts.sum(axis=1))
        for column, part in zip(self.shifting.T, self.shape.shifts, strict=True):
            found = found - np.append(at[part], 0.0)[column]
        return np.asarray(found / self.noise, dtype=np.float64)

    def cost(self, at: FloatArray) -> float:
        errors = self.errors(at, self.parts(at))
        unlikely = (FREEDOM + 1) * np.log1p(errors**2 / FREEDOM).sum()
        return 0.5 * float(unlikely + (((at - self.mean) / self.spread) ** 2).sum())

    def step(self, at: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Slope uphill and curvature; far errors count less, as Student's errors say."""
        parts = self.parts(at)
        errors = self.errors(at, parts)
        weights = (FREEDOM + 1) / (FREEDOM + errors**2)
        shares = parts / parts.sum(axis=1, keepdims=True)
        sizes = self.shape.groups, self.shape.shifting
        gradient = _gradient(shares, self.covariates, self.groups, self.shifting, *sizes)
        curved = (gradient.T * (weights / self.noise**2)) @ gradient + np.diag(1 / self.spread**2)
        uphill = gradient.T @ (weights * errors / self.noise) - (at - self.mean) / self.spread**2
        return uphill, curved


def _climbed(posterior: _Posterior, start: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Levenberg and Marquardt's steps to the most likely point, and the covariance there."""
    at, cost, damping = start, posterior.cost(start), 1e-3
    for _ in range(ROUNDS):
        uphill, curved = posterior.step(at)
        while True:
            step = np.linalg.solve(curved + damping * np.diag(np.diag(curved)), uphill)
            ahead = at + np.clip(step, -LARGEST_STEP, LARGEST_STEP)
            reached = posterior.cost(ahead)
            if reached <= cost or damping > 1e8:
                break
            damping *= 5
        gained = cost - reached
        if gained > 0:
            at, cost, damping = ahead, reached, max(damping / 5, 1e-9)
        if gained <= SETTLED * abs(cost):
            break
    return at, np.asarray(np.linalg.inv(posterior.step(at)[1]), dtype=np.float64)
