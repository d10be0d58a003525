"""What a run tells of its cell's rate: windows of progress, robust to warm-up and stragglers, and a conjugate update.

A belief is normal in the logarithm of a rate. One run moves it by the conjugate rule (Gelman et al., Bayesian Data
Analysis, chapter 2): runs of a cell differ among each other by `noise`, which is learnt too.
"""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.model.accelerators import Provenance
from scheduler.profiles.table import Rate

__all__ = [
    "Belief",
    "Run",
    "believed",
    "careful",
    "combined",
    "cut",
    "hopeful",
    "run_of",
    "sampled",
    "updated",
    "widened",
    "window_medians",
    "window_rates",
]

FloatArray = NDArray[np.float64]

REACH = 1.6448536269514722
"""Standard deviations on each side of a normal that hold 90 %."""

RUN_NOISE = 0.05
"""Log units by which equal runs differ, before any is seen: other nodes, other temperatures, other neighbours."""

NOISE_RUNS = 4
"""How many runs the noise that is believed beforehand counts like."""

FAR = 3.0
"""Standard deviations at which a run is cut off: beyond, it tells of itself and not of its cell."""

STACK_SHIFT = 0.4
"""Log units that a rate may move when software changes. Published tuning of one chip alone moved rates 1.45 to 2.8
times, 0.37 to 1.03 log units."""

LEAST_SD = 1e-4


class Belief(Struct, frozen=True, gc=False):
    """Of the logarithm of a rate: `mean`, `sd` of that mean, `noise` of one run about it, and the runs seen."""

    mean: float
    sd: float
    noise: float = RUN_NOISE
    runs: int = 0

    @property
    def spread(self) -> float:
        """Standard deviation of the next run."""
        return math.hypot(self.sd, self.noise)

    def rate(self, provenance: Provenance = Provenance.MEASURED, *, absolute: bool = True) -> Rate:
        """The median of the next run with its 90 % band."""
        low, high = self.mean - REACH * self.spread, self.mean + REACH * self.spread
        return Rate(math.exp(self.mean), math.exp(low), math.exp(high), provenance, absolute)


class Run(Struct, frozen=True, gc=False):
    """What one run showed: its log rate, and the standard deviation of that within the run."""

    log_rate: float
    sd: float


def believed(value: float, low: float, high: float, noise: float = RUN_NOISE, runs: int = 0) -> Belief:
    """The belief whose next run lies in [low, high] nine times in ten. ValueError unless 0 < low <= value <= high."""
    if not 0 < low <= value <= high < math.inf:
        raise ValueError(f"a rate of {value:g} with the band {low:g} to {high:g} is none")
    spread = (math.log(high) - math.log(low)) / (2 * REACH)
    return Belief(math.log(value), max(math.sqrt(max(spread**2 - noise**2, 0.0)), LEAST_SD), noise, runs)


def window_rates(at_s: FloatArray, done: FloatArray, *, warm_up: int = 3, window: int = 5) -> FloatArray:
    """Medians (w,) of the rates between progress reports, `window` of them at a time.

    `at_s` (n,) ascending seconds, `done` (n,) work done by then. The first `warm_up` intervals hold compiling, tuning
    and filling of caches and are dropped; intervals without time or progress are pauses and are dropped too.
    """
    if at_s.shape != done.shape or at_s.ndim != 1:
        raise ValueError(f"reports at {at_s.shape} times tell of {done.shape} amounts")
    spans, gains = np.diff(at_s)[warm_up:], np.diff(done)[warm_up:]
    moving = (spans > 0) & (gains > 0)
    rates = gains[moving] / spans[moving]
    return window_medians(rates, window)


def window_medians(values: FloatArray, window: int) -> FloatArray:
    """Medians (w,) of `window` values at a time; a rest shorter than half of that is left out unless it is all."""
    parts = [values[start : start + window] for start in range(0, len(values), window)]
    whole = [part for part in parts if 2 * len(part) >= window] or parts
    return np.array([np.median(part) for part in whole], dtype=np.float64)


def run_of(rates: FloatArray) -> Run | None:
    """A run's rate from its windows (w,), those that straggle cut to 3 sigma; None without any."""
    if not len(rates):
        return None
    kept = cut(np.log(rates))
    return Run(float(kept.mean()), float(kept.std()) / math.sqrt(len(kept)))


def cut(values: FloatArray) -> FloatArray:
    """Values (n,) with those farther than `FAR` standard deviations from their median moved to that distance
    (winsorised); the deviation follows from the median one, so that what is far does not widen it."""
    middle = float(np.median(values))
    sigma = max(1.4826 * float(np.median(np.abs(values - middle))), LEAST_SD)
    return np.clip(values, middle - FAR * sigma, middle + FAR * sigma)


def updated(belief: Belief, run: Run) -> Belief:
    """The belief after one more run, which counts no more than one that lies `FAR` off."""
    noise = math.hypot(belief.noise, run.sd)
    expected = math.hypot(belief.sd, noise)
    off = min(max(run.log_rate - belief.mean, -FAR * expected), FAR * expected)
    gain = belief.sd**2 / expected**2
    seen = NOISE_RUNS + belief.runs
    learnt = (seen * belief.noise**2 + (off * belief.noise / expected) ** 2) / (seen + 1)
    sd = max(belief.sd * math.sqrt(1 - gain), LEAST_SD)
    return Belief(belief.mean + gain * off, sd, math.sqrt(learnt), belief.runs + 1)


def widened(belief: Belief, shift: float = STACK_SHIFT) -> Belief:
    """What an old belief is worth under new software: the same mean, less certain by `shift`, no run seen."""
    return Belief(belief.mean, math.hypot(belief.sd, shift), belief.noise, 0)


def combined(beliefs: Sequence[Belief]) -> Belief:
    """One belief of several that rest on different grounds, each counted by its precision."""
    weights = np.array([1 / max(b.sd, LEAST_SD) ** 2 for b in beliefs])
    mean = float(weights @ np.array([b.mean for b in beliefs]) / weights.sum())
    noise = float(np.sqrt(np.mean([b.noise**2 for b in beliefs])))
    return Belief(mean, 1 / math.sqrt(weights.sum()), noise, sum(b.runs for b in beliefs))


def careful(rate: Rate) -> float:
    """What services and deadlines count on: the lower end of the band, met nineteen times in twenty."""
    return rate.low


def hopeful(rate: Rate) -> float:
    """What exploration goes by: the upper end of the band (optimism in the face of uncertainty)."""
    return rate.high


def sampled(rates: Sequence[Rate], draws: int, rng: np.random.Generator) -> FloatArray:
    """(draws, rates) of what the rates may turn out to be, for a planner that reports quantiles.

    Log-normal, split at the median so that both ends of the band are met.
    """
    value, low, high = (np.log([getattr(rate, end) for rate in rates]) for end in ("value", "low", "high"))
    normal = rng.standard_normal((draws, len(rates)))
    scale = np.where(normal < 0, value - low, high - value) / REACH
    return np.asarray(np.exp(value + scale * normal), dtype=np.float64)
