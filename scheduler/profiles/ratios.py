"""The rate of a job on one chip from its rates on others, where nothing is known but rates.

One ratio for all jobs is bad: on public tables it spans a factor of twenty. Here the logarithm of the rate on the new
chip, less the mean of those on the known ones, is a Gaussian process (Rasmussen and Williams, 2006, chapter 2) over
what tells jobs apart: how the known chips compare, how the rate grows with the gang there, on one node and spread over
several; and the job's family, batch and type, as far as the new chip has seen them. The beliefs below are in log units;
how far they are to be trusted is scaled by the evidence, and few families give wide, Student's, intervals. How wide is
judged by leaving out one family, or one type, of those in the fit.
"""

import re
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.profiles.hierarchy import Prediction

__all__ = ["KnownJobs", "Ratios", "fit_ratios", "predict_ratios"]

FloatArray = NDArray[np.float64]

LEVEL_SD = 2.0
"""Of the chip's own level over the known ones: nothing is known of it."""

SLOPE_SD = 0.4
"""By which the ratio may follow each known ratio, per log unit."""

BEND_SD, BEND_LENGTH = 0.3, 1.0
"""Of what the ratio does beside a straight line in the known ratios, and over how many log units."""

STEM_SD, FAMILY_SD, FAMILY_SLOPE_SD = 0.23, 0.23, 0.2
"""Between stems of names (`ResNet` of `ResNet-18` and `ResNet-50`), between families of one, and between their slopes:
what relatives share is believed to be half of what families differ by."""

BATCH_SD, BATCH_LENGTH = 0.17, 1.5
"""Along the batch within a family, over so many doublings."""

GANG_SD, GANG_SLOPE_SD, FAMILY_GANG_SD = 0.17, 0.3, 0.17
"""Between gang sizes of all jobs, between their slopes (a chip with fast links in nodes of eight is faster there for
what talks much elsewhere), and between gang sizes of one family."""

GANG_BATCH_SD = 0.17
"""Along the batch within a gang size of a family."""

TYPE_SD, NOISE_SD = 0.1, 0.055
"""Between job types at the same family and batch, and of one measurement."""

TRUST_SD = 1.0
"""Log units by which each scale (between families, gangs, within families, noise) may differ from the beliefs."""

STEM = re.compile(r"[^\d]*?(?=[-_ ]?\d|$)")

STEPS = (1.0, 0.5, 0.25, 0.1)
"""Of the search for the scales, in log units."""


BELIEVED = 1.0
"""Groups whose squared errors the beliefs about the width of bands are worth: one observation, as in the unit
information prior (Kass and Wasserman, 1995)."""


class KnownJobs(Struct, frozen=True, kw_only=True):
    """Jobs at a gang size. `families`, `types`: names (n,); `batch` (n,): samples, NaN where it has none; `gang` (n,):
    devices; `rates` (n, chips) on the known chips, `spread` (n, chips) the same over several nodes, `alone` (n, chips)
    of the type's smallest known gang of `first` (n,) devices; NaN where unknown.
    """

    families: Sequence[str]
    types: Sequence[str]
    batch: FloatArray
    gang: FloatArray
    rates: FloatArray
    spread: FloatArray
    alone: FloatArray
    first: FloatArray

    def where(self, kept: NDArray[np.bool_] | NDArray[np.int64]) -> "KnownJobs":
        rows = np.arange(len(self.types))[kept]
        return KnownJobs(
            families=[self.families[i] for i in rows],
            types=[self.types[i] for i in rows],
            batch=self.batch[rows],
            gang=self.gang[rows],
            rates=self.rates[rows],
            spread=self.spread[rows],
            alone=self.alone[rows],
            first=self.first[rows],
        )


class Ratios(Struct, frozen=True):
    """The fit: the jobs seen on the new chip, their log rates over the known ones' mean (n,), the scales; and
    by what squared errors exceed what was expected, `excess` (2, 2): of a family, or else a type, that is left out of
    the fit, before and after one other gang of the type is observed."""

    jobs: KnownJobs
    ratios: FloatArray
    scales: FloatArray
    excess: FloatArray


def fit_ratios(jobs: KnownJobs, rates: FloatArray) -> Ratios:
    """From `rates` (n,) of `jobs` on the new chip. ValueError unless every rate is above 0."""
    if not ((rates > 0).all() and (jobs.rates > 0).all()):
        raise ValueError("rates must be above 0: leave out what does not fit on a chip")
    ratios = np.log(rates) - np.log(jobs.rates).mean(axis=1)
    level, blocks = _kernels(jobs, jobs)
    at, best = np.zeros(len(blocks)), np.inf
    for step in STEPS:
        improved = True
        while improved:
            improved = False
            for move in step * np.vstack([np.eye(len(blocks)), -np.eye(len(blocks))]):
                cost = _unlikely(at + move, level, blocks, ratios)
                if cost < best - 1e-6:
                    at, best, improved = at + move, cost, True
    covariance = level + np.tensordot(np.exp(at), blocks, axes=1)
    excess = [_excess(covariance, ratios, names, jobs.types) for names in (jobs.families, jobs.types)]
    return Ratios(jobs, ratios, np.exp(at), np.array(excess))


def predict_ratios(
    fit: Ratios, jobs: KnownJobs, seen: KnownJobs | None = None, rates: FloatArray | None = None
) -> tuple[FloatArray, Prediction]:
    """Rates (m,) of `jobs` on the new chip, and how far off they may be, as log residuals about 0.

    `seen` jobs with their `rates` there were measured since the fit.
    """
    known, ratios = fit.jobs, fit.ratios
    if seen is not None and rates is not None:
        known = _joined(known, seen)
        ratios = np.append(ratios, np.log(rates) - np.log(seen.rates).mean(axis=1))
    scales = fit.scales
    level, blocks = _kernels(known, known)
    across_level, across = _kernels(known, jobs)
    own_level, own = _kernels(jobs, jobs)
    covariance = level + np.tensordot(scales, blocks, axes=1)
    shared = across_level + np.tensordot(scales[:-1], across[:-1], axes=1)
    weights = np.asarray(np.linalg.solve(covariance, shared), dtype=np.float64)
    left = [_left(weights, *three) for three in zip(blocks, across, own, strict=True)]
    left[-1] = np.diag(own[-1]) + np.einsum("ij,ij->j", weights, blocks[-1] @ weights)  # the next measurement's is new
    parts = np.stack([_left(weights, level, across_level, own_level), *(scales[:, None] * left)], axis=1)
    total = parts.sum(axis=1)
    families, types = len(set(known.families)), len(set(known.types))
    # families differ in how much they scatter within, too: a family is one observation of that
    dofs = np.maximum([*(families - 1,) * len(scales), types - families], 1.0)
    dof = np.maximum(total**2 / (parts**2 / dofs).sum(axis=1), 1.0)
    found = np.exp(np.log(jobs.rates).mean(axis=1) + weights.T @ ratios)
    of_family = np.isin(jobs.families, fit.jobs.families).astype(int)
    observed = _observed(jobs, seen).astype(int)
    return found, Prediction(np.zeros(len(found)), np.sqrt(total * fit.excess[of_family, observed]), dof)


def _observed(jobs: KnownJobs, seen: KnownJobs | None) -> NDArray[np.bool_]:
    return np.isin(jobs.types, [] if seen is None else seen.types)


def _excess(
    covariance: FloatArray, ratios: FloatArray, names: Sequence[str], types: Sequence[str]
) -> tuple[float, float]:
    """Mean squares of standardised errors on each group that is left out: of all its rows, and of each after another
    of its type (Rasmussen and Williams, 2006, section 5.4.2)."""
    inverse = np.linalg.inv(covariance)
    pulled, of, kind = inverse @ ratios, np.array(names), np.array(types)
    blind, told = [], []
    for name in sorted(set(names)):
        rows = np.flatnonzero(of == name)
        left = np.linalg.inv(inverse[np.ix_(rows, rows)])
        off = left @ pulled[rows]
        blind.append(float(np.mean(off**2 / np.diag(left))))
        gain = left / np.diag(left)  # of the row by the column
        after = off[:, None] - gain * off
        spread = np.diag(left)[:, None] - gain * left
        pairs = (kind[rows][:, None] == kind[rows]) & ~np.eye(len(rows), dtype=bool)
        if pairs.any():
            told.append(float(np.mean(after[pairs] ** 2 / spread[pairs])))
    return _shrunk(blind), _shrunk(told)


def _shrunk(squares: Sequence[float]) -> float:
    return (BELIEVED + sum(squares)) / (BELIEVED + len(squares))


def _unlikely(at: FloatArray, level: FloatArray, blocks: FloatArray, ratios: FloatArray) -> float:
    """Minus the log of the evidence times the belief in the scales."""
    factor = np.linalg.cholesky(level + np.tensordot(np.exp(at), blocks, axes=1))
    pulled = np.linalg.solve(factor, ratios)
    return float(0.5 * pulled @ pulled + np.log(np.diag(factor)).sum() + 0.5 * (at @ at) / TRUST_SD**2)


def _left(weights: FloatArray, known: FloatArray, across: FloatArray, own: FloatArray) -> FloatArray:
    """Variance (m,) that a block leaves after the weighted rows are taken off."""
    crossed = np.einsum("ij,ij->j", weights, across)
    return np.asarray(np.diag(own) - 2 * crossed + np.einsum("ij,ij->j", weights, known @ weights), dtype=np.float64)


def _joined(one: KnownJobs, other: KnownJobs) -> KnownJobs:
    return KnownJobs(
        families=[*one.families, *other.families],
        types=[*one.types, *other.types],
        batch=np.append(one.batch, other.batch),
        gang=np.append(one.gang, other.gang),
        rates=np.vstack([one.rates, other.rates]),
        spread=np.vstack([one.spread, other.spread]),
        alone=np.vstack([one.alone, other.alone]),
        first=np.append(one.first, other.first),
    )


def _features(jobs: KnownJobs) -> FloatArray:
    """What is known of each job in log units: ratios among the known chips, and on each what another device of the gang
    and another node bring, less what they would if nothing were lost."""
    logs = np.log(jobs.rates)
    apart = (logs - logs.mean(axis=1, keepdims=True))[:, 1:]
    grown = logs - np.log(jobs.alone) - np.log(jobs.gang / jobs.first)[:, None]
    return np.hstack([2 * apart, np.nan_to_num(grown), np.nan_to_num(logs - np.log(jobs.spread))])


def _kernels(left: KnownJobs, right: KnownJobs) -> tuple[FloatArray, FloatArray]:
    """Covariances of the chip's level (n, m), and of what lies between families, between gangs, within families, and
    noise (4, n, m)."""
    one, two = _features(left), _features(right)
    family, kind, gang = _equal(left.families, right.families), _equal(left.types, right.types), _gangs(left, right)
    batch = _near(_batches(left), _batches(right), BATCH_LENGTH)
    straight = one @ two.T
    bend = np.exp(-0.5 * ((one[:, None] - two[None]) ** 2).mean(axis=2) / BEND_LENGTH**2)
    stem = _equal(_stems(left.families), _stems(right.families))
    between = SLOPE_SD**2 * straight + BEND_SD**2 * bend + FAMILY_SD**2 * family + STEM_SD**2 * stem
    gangs = (GANG_SD**2 + GANG_SLOPE_SD**2 * straight) * gang
    within = family * (
        FAMILY_SLOPE_SD**2 * straight + BATCH_SD**2 * batch + (FAMILY_GANG_SD**2 + GANG_BATCH_SD**2 * batch) * gang
    )
    noise = NOISE_SD**2 * kind * gang * (left is right) * np.eye(*kind.shape)
    return np.full(kind.shape, LEVEL_SD**2), np.stack([between, gangs, within + TYPE_SD**2 * kind, noise])


def _equal(left: Sequence[str], right: Sequence[str]) -> FloatArray:
    return np.asarray(np.array(left)[:, None] == np.array(right)[None, :], dtype=np.float64)


def _stems(families: Sequence[str]) -> list[str]:
    return [STEM.match(name)[0].lower() or name for name in families]  # type: ignore[index]


def _gangs(left: KnownJobs, right: KnownJobs) -> FloatArray:
    return np.asarray(left.gang[:, None] == right.gang[None, :], dtype=np.float64)


def _batches(jobs: KnownJobs) -> FloatArray:
    return np.log2(np.nan_to_num(jobs.batch, nan=1.0))


def _near(left: FloatArray, right: FloatArray, length: float) -> FloatArray:
    return np.asarray(np.exp(-0.5 * ((left[:, None] - right[None, :]) / length) ** 2), dtype=np.float64)
