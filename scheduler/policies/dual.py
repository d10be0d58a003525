"""Shadow prices: the prices of the rows at which what the jobs would take fits, and the bound that they prove.

Up to `FEW` rows that can bind, a master problem over the proposals so far gives the next prices (Dantzig and Wolfe,
1960), smoothed towards the best ones known. Beyond, each row's price follows its own excess.
"""

from copy import copy
from dataclasses import dataclass, field

import highspy
import numpy as np
from numpy.typing import NDArray

from scheduler.policies.kernels import hungriest, picks, taken

__all__ = ["FEW", "Priced", "Relaxed", "prices_for"]

NONE = -1

Int = NDArray[np.int64]
Real = NDArray[np.float64]

FEW = 32
FIRST_STEP, GROW, SHRINK = 0.1, 1.2, 0.5
MOST_EXCESS = 8.0
"""Demand beyond what there is moves a price more the greater it is: where jobs tie, all of them come and go at once."""

APART, GOLDEN = 0.01, 0.6180339887498949
LOOK_EVERY = 20

SAMPLED, LEAST_SAMPLE, ASIDE = 8, 500, 0.01
"""Every so-manieth job is asked first where that leaves enough; then all of them, that far aside of each price."""

SMOOTHING = 0.5
"""Share of the best prices known in the next ones to be tried: between none (they swing) and 1 (they stay)."""


@dataclass(slots=True)
class Relaxed:
    """The assignment without its rows: each job takes the best of its options at given prices.

    Options that no job could take alone are worth -inf from the start, which tightens the bound.
    """

    ptr: Int
    utility: Real
    use_ptr: Int
    use_row: Int
    use_amount: Int
    available: Int
    owner: Int = field(init=False)  # [m] job of each option
    used_by: Int = field(init=False)  # [nnz] option of each use
    binding: Int = field(init=False)  # rows that all jobs together could exceed
    _present: Int = field(init=False)  # jobs with options

    def __post_init__(self) -> None:
        self.owner = np.repeat(np.arange(len(self.ptr) - 1, dtype=np.int64), np.diff(self.ptr))
        self.used_by = np.repeat(np.arange(len(self.utility), dtype=np.int64), np.diff(self.use_ptr))
        self._present = np.flatnonzero(np.diff(self.ptr))
        mixed = np.zeros(len(self.available), dtype=np.bool_)
        mixed[self.use_row[self.use_amount < 0]] = True
        beyond = (self.use_amount > self.available[self.use_row]) & ~mixed[self.use_row]
        self.utility = self.utility.copy()
        self.utility[self.used_by[beyond]] = -np.inf
        self.binding = self._could_bind()

    def _could_bind(self) -> Int:
        """Rows whose greatest possible use, each job at its hungriest option, exceeds what there is."""
        uses = self.use_ptr, self.use_row, self.use_amount
        total = hungriest(self.ptr, np.isfinite(self.utility), uses, len(self.available))
        return np.flatnonzero(total > self.available)

    @property
    def jobs(self) -> int:
        return len(self.ptr) - 1

    def every(self, step: int) -> "Relaxed":
        """The same with every `step`-th job and that part of each row, rounded up."""
        jobs = np.arange(0, self.jobs, step)
        count = self.ptr[jobs + 1] - self.ptr[jobs]
        ptr = np.concatenate(([0], np.cumsum(count)))
        option = np.repeat(self.ptr[jobs] - ptr[:-1], count) + np.arange(ptr[-1])
        used = self.use_ptr[option + 1] - self.use_ptr[option]
        use_ptr = np.concatenate(([0], np.cumsum(used)))
        use = np.repeat(self.use_ptr[option] - use_ptr[:-1], used) + np.arange(use_ptr[-1])
        available = -(-self.available // step)
        other = Relaxed(ptr, self.utility[option], use_ptr, self.use_row[use], self.use_amount[use], available)
        other.binding = self.binding
        return other

    def told_apart(self) -> "Relaxed":
        """The same with utilities that differ by up to `APART` where they were equal, evenly spread by the option."""
        other = copy(self)
        turn = np.modf(np.arange(len(self.utility)) * GOLDEN)[0]
        other.utility = self.utility * (1 + APART * turn)
        return other

    def typical(self) -> float:
        """The median utility of what can be taken; 0 where nothing can."""
        usable = self.utility[np.isfinite(self.utility)]
        return float(np.median(usable)) if len(usable) else 0.0

    def typical_amounts(self) -> Real:
        """float64[r]: the mean amount that a use takes of its row, at least 1."""
        rows = len(self.available)
        total = np.bincount(self.use_row, weights=np.abs(self.use_amount), minlength=rows)
        return np.maximum(total / np.maximum(np.bincount(self.use_row, minlength=rows), 1), 1.0)

    def value(self, option: Int) -> float:
        return float(self.utility[option[option != NONE]].sum())

    def usage(self, option: Int) -> Int:
        """int64[r]: what the chosen options take together."""
        return taken((self.use_ptr, self.use_row, self.use_amount), option, len(self.available))

    def reduced(self, prices: Real) -> Real:
        """float64[m]: utility less the price of what the option takes."""
        cost = np.bincount(self.used_by, weights=prices[self.use_row] * self.use_amount, minlength=len(self.utility))
        return self.utility - cost[: len(self.utility)]

    def best(self, reduced: Real) -> tuple[Real, Int]:
        """Each job's greatest reduced utility, at least 0 (taking nothing), and the first option that reaches it."""
        gain = np.zeros(self.jobs)
        option = np.full(self.jobs, NONE, dtype=np.int64)
        if len(self._present):
            gain[self._present] = np.maximum.reduceat(reduced, self.ptr[self._present])
        reaches = np.flatnonzero((reduced >= gain[self.owner]) & (reduced > 0))[::-1]
        option[self.owner[reaches]] = reaches
        return np.maximum(gain, 0.0), option


@dataclass(slots=True)
class Priced:
    """`bound` is the least of the bounds at all prices that were tried, `prices` float64[r] where it was found."""

    prices: Real
    bound: float


def prices_for(relaxed: Relaxed, warm: Real | None, rounds: int, gap: float) -> Priced:
    """Prices of all rows; those of rows that cannot bind are 0. `gap` is of the fractional optimum to the bound."""
    rows = relaxed.binding
    best = Priced(np.zeros(len(relaxed.available)), np.inf)
    _, unpriced = _ask(relaxed, best.prices, best)
    if not (relaxed.usage(unpriced) > relaxed.available).any():
        return best
    if warm is not None:
        start = np.zeros(len(relaxed.available))
        start[rows] = np.maximum(warm[rows], 0.0)
        _ask(relaxed, start, best)
    if rounds == 0:
        return best
    if len(rows) <= FEW:
        _by_columns(relaxed, best, rounds, gap, unpriced)
    else:
        _by_steps(relaxed, best, rounds, gap)
    return best


def _ask(relaxed: Relaxed, prices: Real, best: Priced) -> tuple[float, Int]:
    uses = relaxed.use_ptr, relaxed.use_row, relaxed.use_amount
    gain, option = picks(relaxed.ptr, relaxed.utility, uses, prices)
    bound = float(prices @ relaxed.available + gain.sum())
    if bound < best.bound:
        best.bound, best.prices = bound, prices
    return bound, option


def _by_columns(relaxed: Relaxed, best: Priced, rounds: int, gap: float, first: Int) -> None:
    rows = relaxed.binding
    scale = np.maximum(relaxed.available[rows], 1).astype(np.float64)
    master = _Master(relaxed.available[rows] / scale)
    master.add(relaxed.value(first), relaxed.usage(first)[rows] / scale)
    _, option = relaxed.best(relaxed.reduced(best.prices))
    master.add(relaxed.value(option), relaxed.usage(option)[rows] / scale)
    if relaxed.jobs >= SAMPLED * LEAST_SAMPLE:
        _from_sample(relaxed, best, rounds, gap)
        for prices in _around(best.prices, rows):
            _, option = _ask(relaxed, prices, best)
            master.add(relaxed.value(option), relaxed.usage(option)[rows] / scale)
    for _ in range(rounds):
        reached, dual = master.solve()
        if best.bound - reached <= gap * best.bound:
            return
        target = np.zeros(len(relaxed.available))
        target[rows] = dual / scale
        prices = SMOOTHING * best.prices + (1 - SMOOTHING) * target
        before = best.bound
        bound, option = _ask(relaxed, prices, best)
        master.add(relaxed.value(option), relaxed.usage(option)[rows] / scale)
        if bound >= before:  # no better there: the master's own prices always cut
            _, option = _ask(relaxed, target, best)
            master.add(relaxed.value(option), relaxed.usage(option)[rows] / scale)


def _from_sample(relaxed: Relaxed, best: Priced, rounds: int, gap: float) -> None:
    """Prices that are right for every `SAMPLED`-th job and as much less of each row are nearly right for all."""
    part = relaxed.every(SAMPLED)
    found = Priced(best.prices, np.inf)
    _, unpriced = _ask(part, np.zeros(len(part.available)), found)
    _by_columns(part, found, rounds, gap, unpriced)
    _ask(relaxed, found.prices, best)


def _around(prices: Real, rows: Int) -> list[Real]:
    """The prices with that of one row a little higher or lower: what is taken there spans what could be."""
    found = []
    for row in rows[prices[rows] > 0].tolist():
        for factor in (1 - ASIDE, 1 + ASIDE):
            other = prices.copy()
            other[row] *= factor
            found.append(other)
    return found


class _Master:
    """Shares of the proposals so far, at most one in all, within the rows: a lower bound and the next prices."""

    def __init__(self, available: Real) -> None:
        self._highs = highspy.Highs()
        self._highs.setOptionValue("output_flag", False)
        self._highs.setOptionValue("threads", 1)
        self._highs.changeObjectiveSense(highspy.ObjSense.kMaximize)
        for limit in available.tolist():
            self._highs.addRow(-highspy.kHighsInf, limit, 0, [], [])
        self._highs.addRow(-highspy.kHighsInf, 1.0, 0, [], [])
        self._rows = len(available)

    def add(self, value: float, usage: Real) -> None:
        place = np.append(np.arange(self._rows, dtype=np.int32), np.int32(self._rows))
        amount = np.append(usage, 1.0)
        self._highs.addCol(value, 0.0, highspy.kHighsInf, len(place), place, amount)

    def solve(self) -> tuple[float, Real]:
        self._highs.run()
        duals = np.array(self._highs.getSolution().row_dual[: self._rows])
        return float(self._highs.getInfo().objective_function_value), np.maximum(duals, 0.0)


def _by_steps(relaxed: Relaxed, best: Priced, rounds: int, gap: float) -> None:
    """Each row's price goes up while it is in demand beyond what there is and down while it is not; its step grows
    while the direction stays and halves when it turns (after resilient propagation; Riedmiller and Braun, 1993).

    The way is found with utilities that are told apart a little, so that jobs that like several options equally do not
    all change their minds at once; the bound is that of the true ones.
    """
    rows, apart = relaxed.binding, relaxed.told_apart()
    capacity = np.maximum(relaxed.available[rows], 1)
    step = FIRST_STEP * apart.typical() / apart.typical_amounts()[rows]
    before = np.zeros(len(rows))
    prices, near = best.prices.copy(), Priced(best.prices, np.inf)
    for step_number in range(rounds):
        _, option = _ask(apart, prices.copy(), near)
        excess = (apart.usage(option)[rows] - apart.available[rows]) / capacity
        excess[(prices[rows] <= 0) & (excess < 0)] = 0.0
        if not excess.any():
            break
        turned = np.sign(excess) * before
        step = np.where(turned > 0, step * GROW, np.where(turned < 0, step * SHRINK, step))
        prices[rows] = np.maximum(0.0, prices[rows] + step * np.clip(excess, -1.0, MOST_EXCESS))
        before = np.sign(excess)
        if step_number % LOOK_EVERY == LOOK_EVERY - 1:
            known = best.bound
            _ask(relaxed, near.prices, best)
            if known - best.bound <= gap * best.bound and step_number > LOOK_EVERY:
                break
    _ask(relaxed, near.prices, best)
