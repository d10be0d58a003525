"""Coefficients of many devices at once: each device's own, drawn to its siblings' where it was measured little.

The logarithm of a device's coefficient is the term's own level, plus slopes times covariates of the row (such as the
device's peak arithmetic: the more of it, the smaller the share that kernels reach), plus what is the device's own. All
have beliefs beforehand; measurements move them (maximum a posteriori, Student errors; Gelman et al., Bayesian Data
Analysis, chapters 5 and 17). A device never measured has nothing peculiar yet, and its band is as wide as devices
differ (Laplace's approximation).
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

DOUBT = 2.0
REFINEMENTS = 4
ROUNDS = 80
SETTLED = 1e-9
LARGEST_STEP = 1.0


class Belief(Struct, frozen=True, gc=False):
    """Of one term's coefficient, before any measurement: `level` where all covariates are 0, and standard deviations in
    log units, of the level and between devices; of each covariate's slope its mean and standard deviation."""

    level: float
    level_sd: float
    slopes: tuple[tuple[float, float], ...] = ()
    own_sd: float = 0.07


class Siblings(Struct, frozen=True, kw_only=True):
    """The fit, in log units: `levels` (k,), `slopes` (covariates, k), `own` (devices, k), `engines` (e,), and their
    `covariance` in that order. `own_sd` (k,), `engine_sd`: how much devices and engines differ."""

    levels: FloatArray
    slopes: FloatArray
    own: FloatArray
    engines: FloatArray
    covariance: FloatArray
    own_sd: FloatArray
    engine_sd: float

    def coefficients(self, device: IntArray, covariates: FloatArray) -> FloatArray:
        """(n, k) of devices (n,) by their place in the fit, -1 for one that is not in it."""
        own = np.vstack([self.own, np.zeros_like(self.levels)])[device]
        return np.asarray(np.exp(self.levels + covariates @ self.slopes + own), dtype=np.float64)

    def predict(
        self, terms: FloatArray, device: IntArray, engine: IntArray, covariates: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Times (n,) of terms (n, k), and the log scale (n,) that the uncertain coefficients give them. -1 stands for a
        device or an engine that is not in the fit: an average one, with the band of all that it could be."""
        parts = terms * self.coefficients(device, covariates)
        times = parts.sum(axis=1)
        shares = parts / times[:, None]
        gradient = _gradient(shares, covariates, device, engine, self.own.shape[0], len(self.engines))
        variance = np.einsum("ij,jk,ik->i", gradient, self.covariance, gradient)
        variance += (device < 0) * (shares**2 @ self.own_sd**2) + (engine < 0) * self.engine_sd**2
        return times * np.exp(np.append(self.engines, 0.0)[engine]), np.asarray(np.sqrt(variance), dtype=np.float64)


def fit_siblings(
    terms: FloatArray,
    times: FloatArray,
    device: IntArray,
    engine: IntArray,
    covariates: FloatArray,
    *,
    beliefs: Sequence[Belief],
    noise: float | FloatArray = 0.03,
    engine_sd: float = 0.2,
) -> Siblings:
    """Fit terms (n, k) to `times` (n,). `device`, `engine` (n,): places from 0 on; `covariates` (n, c).

    `noise`: log scale of the errors, of all or of each row; `engine_sd`: how much software differs at the same layout.
    ValueError where a time is not above 0 or a row has no term.
    """
    if not ((times > 0).all() and np.isfinite(terms).all() and (terms >= 0).all() and (terms.sum(axis=1) > 0).all()):
        raise ValueError("times must be above 0, and terms at least 0 with one above it in every row")
    count, devices, engines = terms.shape[1], int(device.max(initial=-1)) + 1, int(engine.max(initial=-1)) + 1
    start, spread = _beliefs(beliefs, covariates.shape[1], devices, engines, engine_sd)
    posterior = _Posterior(
        terms=terms,
        log_times=np.log(times),
        device=device,
        engine=engine,
        covariates=covariates,
        devices=devices,
        engines=engines,
        mean=start,
        spread=spread,
        noise=np.broadcast_to(np.asarray(noise, dtype=np.float64), times.shape),
    )
    found, covariance = _climbed(posterior, start)
    own = slice(posterior.before_own, len(found) - engines)
    own_sd = np.array([b.own_sd for b in beliefs])
    for _ in range(REFINEMENTS if devices > 1 else 0):
        factor = _evidence(found[own], np.diag(covariance)[own], spread[own])
        own_sd, spread[own] = own_sd * factor, spread[own] * factor
        found, covariance = _climbed(posterior, found)
    return Siblings(
        levels=found[:count],
        slopes=found[count : posterior.before_own].reshape(-1, count),
        own=found[own].reshape(devices, count),
        engines=found[len(found) - engines :],
        covariance=covariance,
        own_sd=own_sd,
        engine_sd=engine_sd,
    )


def _evidence(own: FloatArray, variance: FloatArray, spread: FloatArray) -> float:
    """By what devices differ more or less than was believed, which counts like `DOUBT` well-measured coefficients: the
    evidence's fixed point (MacKay, 1992)."""
    measured = float(np.clip(1 - variance / spread**2, 0, 1).sum())
    return math.sqrt((DOUBT + float((own**2 / spread**2).sum())) / (DOUBT + measured))


def _beliefs(
    beliefs: Sequence[Belief], covariates: int, devices: int, engines: int, engine_sd: float
) -> tuple[FloatArray, FloatArray]:
    """Means and standard deviations of all parameters; a slope that no belief names is 0 for certain, nearly."""
    slopes = [b.slopes[c] if c < len(b.slopes) else (0.0, CERTAIN) for c in range(covariates) for b in beliefs]
    mean = [*(math.log(b.level) for b in beliefs), *(slope for slope, _ in slopes)]
    spread = [*(b.level_sd for b in beliefs), *(sd for _, sd in slopes), *[b.own_sd for b in beliefs] * devices]
    return np.array(mean + [0.0] * (len(beliefs) * devices + engines)), np.array([*spread, *[engine_sd] * engines])


def _gradient(
    shares: FloatArray, covariates: FloatArray, device: IntArray, engine: IntArray, devices: int, engines: int
) -> FloatArray:
    """Of the log times by every parameter: a term counts by its share of the time."""
    rows, count = shares.shape
    own = np.zeros((rows, devices + 1, count))
    own[np.arange(rows), device] = shares
    software = np.zeros((rows, engines + 1))
    software[np.arange(rows), engine] = 1.0
    known = own[:, :devices].reshape(rows, devices * count)
    sloped = (covariates[:, :, None] * shares[:, None, :]).reshape(rows, covariates.shape[1] * count)
    return np.hstack([shares, sloped, known, software[:, :engines]])


class _Posterior(Struct, frozen=True, kw_only=True):
    terms: FloatArray
    log_times: FloatArray
    device: IntArray
    engine: IntArray
    covariates: FloatArray
    devices: int
    engines: int
    mean: FloatArray
    spread: FloatArray
    noise: FloatArray

    @property
    def before_own(self) -> int:
        """Parameters before those of devices."""
        return int(self.terms.shape[1] * (1 + self.covariates.shape[1]))

    def parts(self, at: FloatArray) -> FloatArray:
        count = self.terms.shape[1]
        own = at[self.before_own : len(at) - self.engines].reshape(self.devices, count)
        slopes = at[count : self.before_own].reshape(-1, count)
        return np.asarray(self.terms * np.exp(at[:count] + self.covariates @ slopes + own[self.device]))

    def errors(self, at: FloatArray, parts: FloatArray) -> FloatArray:
        software = at[len(at) - self.engines :][self.engine]
        return np.asarray((self.log_times - np.log(parts.sum(axis=1)) - software) / self.noise, dtype=np.float64)

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
        gradient = _gradient(shares, self.covariates, self.device, self.engine, self.devices, self.engines)
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
