"""The highest common level of all jobs within the rows, by prices of the rows: a bound, shares that reach it, a gap.

At prices p each job has a least cost of reaching what a level asks of it (`kernels`). All together must not cost more
than p.b, so the level at which they do is a bound on every feasible one. The shares taken there are a column; a small
master problem (Dantzig and Wolfe, 1960) mixes columns within the rows and gives the next prices. What a level asks of
a job must be a convex function of it: then a mix of columns reaches at least the mix of their levels.
"""

from dataclasses import dataclass, field
from typing import Protocol

import highspy
import numpy as np
from numpy.typing import NDArray

from scheduler.policies.kernels import COMPILED, costs, spend, spread, used

__all__ = ["Asked", "Finished", "Level", "Linear", "Rows", "highest"]

Int = NDArray[np.int64]
Real = NDArray[np.float64]

SMOOTHING = 0.6
"""Share of the prices of the best bound in the next to be tried."""

SAME = 1e-9
"""Prices that differ less, of all prices, are those that the master asked for last time."""

STILL = 40
"""So many times the master's own prices may change nothing: what is left lies below the precision of numbers."""

NEWTON = 60
LEAST_SHARE = 1e-12
"""Columns with a smaller part in the mix are left out of it."""


class Asked(Protocol):
    """What a level asks of each job."""

    most: float
    """The level beyond which some job could not go even on its fastest option alone."""

    def at(self, level: float) -> tuple[Real, Real]:
        """float64[n] throughput asked of each job, and its derivative by the level."""

    def reached(self, throughput: Real) -> float:
        """The level that the throughputs float64[n] meet."""


@dataclass(slots=True)
class Linear:
    """Weight x level of jobs whose weight is above 0, and never below `floor`; float64[n] each."""

    weight: Real
    floor: Real
    fastest: Real
    most: float = field(init=False)
    _held: bool = field(init=False)  # whether any floor is above 0

    def __post_init__(self) -> None:
        self._held = bool(self.floor.any())
        moves = self.weight > 0
        self.most = float(np.min(self.fastest[moves] / self.weight[moves], initial=np.inf))

    def at(self, level: float) -> tuple[Real, Real]:
        asked = self.weight * level
        if not self._held:
            return asked, self.weight
        return np.maximum(asked, self.floor), np.where(asked >= self.floor, self.weight, 0.0)

    def reached(self, throughput: Real) -> float:
        moves = self.weight > 0
        return float(np.min(throughput[moves] / self.weight[moves], initial=np.inf))


@dataclass(slots=True)
class Finished:
    """Level 1 / rho where rho = (age + left / throughput) / due of the worst job; float64[n] each, due and left > 0.

    Solved for the throughput it is left / (rho due - age), convex in 1 / rho.
    """

    left: Real
    age: Real
    due: Real
    fastest: Real
    most: float = field(init=False)

    def __post_init__(self) -> None:
        self.most = self.reached(self.fastest)

    def at(self, level: float) -> tuple[Real, Real]:
        room = self.due - self.age * level
        return self.left * level / room, self.left * self.due / room**2

    def reached(self, throughput: Real) -> float:
        asks = self.left > 0
        x, left, age, due = throughput[asks], self.left[asks], self.age[asks], self.due[asks]
        return float(np.min(x * due / (left + age * x), initial=np.inf))


@dataclass(slots=True)
class Rows:
    """Options, their speeds, and the rows that they share, all of which have something to give.

    Rows are measured in what there is of them: prices and usage of each are of the whole row.
    """

    ptr: Int
    speed: Real
    use_ptr: Int
    use_row: Int
    use_amount: Int
    available: Real
    compiled: bool = COMPILED

    def cost(self, prices: Real) -> Real:
        return costs(self.use_ptr, self.use_row, self.use_amount, prices / self.available, self.compiled)

    def load(self, share: Real) -> Real:
        rows = len(self.available)
        return used(self.use_ptr, self.use_row, self.use_amount, share, rows, self.compiled) / self.available

    def throughput(self, share: Real) -> Real:
        owner = np.repeat(np.arange(len(self.ptr) - 1), np.diff(self.ptr))
        return np.bincount(owner, weights=self.speed * share, minlength=len(self.ptr) - 1).astype(np.float64)

    def spend(self, cost: Real, demand: Real, growth: Real) -> tuple[float, float, Real, Real]:
        """As `kernels.spend`, and float64[r] the part of each row that is taken."""
        load, uses = np.empty(len(self.available)), (self.use_ptr, self.use_row, self.use_amount)
        found = spend((self.ptr, self.speed, cost), uses, demand, growth, load, self.compiled)
        return *found, load / self.available

    def spread(self, cost: Real, demand: Real) -> Real:
        return spread(self.ptr, self.speed, cost, demand, self.compiled)


@dataclass(frozen=True, slots=True)
class Level:
    """`prices` float64[r] are of whole rows and sum to 1 (all 0 where no row binds); `share` is float64[m]."""

    level: float
    bound: float
    share: Real
    prices: Real
    mixed: Real  # [columns, r] the prices of the columns in the mix: a warm start for a problem like this


def highest(
    rows: Rows,
    asked: Asked,
    start: tuple[float, Real] | None,
    warm: Real | None,
    gap: float,
    rounds: int,
    enough: float = 0.0,
) -> Level:
    """The highest level. `start` is a feasible (level, share); without it, idle is taken for level 0.

    `warm` float64[k, r] are prices to begin with. The search ends where the bound falls below `enough`.
    """
    count = len(rows.available)
    if count == 0:
        return _free(rows, asked)
    search = _Search(rows, asked, start)
    for prices in warm if warm is not None and len(warm) else np.ones((1, count)):
        search.ask(_normal(prices))
        if search.bound < enough:
            return search.told()
    smoothing, lower, known, still = SMOOTHING, -np.inf, np.zeros(count), 0
    for _ in range(rounds):
        before, (reached, dual) = lower, search.master.solve()
        lower = max(lower, reached)
        if search.bound < enough or search.bound - lower <= gap * abs(search.bound) or not dual.any() or still > STILL:
            break
        target = _normal(dual)
        if np.allclose(target, known, rtol=0.0, atol=SAME):
            smoothing = 0.0  # it asks again for what it was not given
        known = target
        better = search.ask(smoothing * search.prices + (1 - smoothing) * target)
        # where neither side came nearer, the smoothed prices would be the same again: take the master's own
        moved = better or lower > before
        still = 0 if moved or smoothing else still + 1
        smoothing = SMOOTHING if moved else 0.0
    return search.told()


def _normal(prices: Real) -> Real:
    total = float(prices.sum())
    return prices / total if total > 0 else np.full(len(prices), 1.0 / len(prices))


def _free(rows: Rows, asked: Asked) -> Level:
    demand, _ = asked.at(asked.most if np.isfinite(asked.most) else 0.0)
    share = rows.spread(np.zeros(len(rows.speed)), demand)
    return Level(asked.most, asked.most, share, np.zeros(0), np.zeros((0, 0)))


class _Search:
    def __init__(self, rows: Rows, asked: Asked, start: tuple[float, Real] | None) -> None:
        self._rows, self._asked, self._start = rows, asked, start
        self.bound, self.prices = asked.most, np.full(len(rows.available), 1.0 / len(rows.available))
        self.master = Master(len(rows.available))
        level, share = start if start is not None else (0.0, np.zeros(len(rows.speed)))
        self._columns: list[tuple[Real, float]] = []
        self.master.add(level, np.minimum(rows.load(share), 1.0))

    def ask(self, prices: Real) -> bool:
        """Adds the column at `prices`; says whether the bound came down."""
        cost, level, load = self._rows.cost(prices), self.bound, np.zeros(len(prices))
        for _ in range(NEWTON):
            total, rise, _, load = self._rows.spend(cost, *self._asked.at(level))
            lower = level - (total - 1) / rise if total > 1 + 1e-13 and rise > 0 else level
            if lower >= level:
                break
            level = lower
        else:
            load = self._rows.spend(cost, *self._asked.at(level))[3]
        self._columns.append((prices, level))
        self.master.add(level, load)
        if level >= self.bound:
            return False
        self.bound, self.prices = level, prices
        return True

    def told(self) -> Level:
        part = self.master.parts()
        share = part[0] * self._start[1] if self._start is not None else np.zeros(len(self._rows.speed))
        mixed = [self.prices]
        for (prices, level), weight in zip(self._columns, part[1:], strict=True):
            if weight > LEAST_SHARE:
                mixed.append(prices)
                share += weight * self._rows.spread(self._rows.cost(prices), self._asked.at(level)[0])
        share /= max(1.0, float(self._rows.load(share).max(initial=0.0)))
        reached = self._asked.reached(self._rows.throughput(share))
        if self._start is not None and reached < self._start[0]:
            reached, share = self._start
        return Level(min(reached, self.bound), self.bound, share, self.prices, np.array(mixed))


class Master:
    """Parts of the columns so far, together one, within rows of 1: the highest mean level, and prices of the rows."""

    def __init__(self, rows: int) -> None:
        self._highs = highspy.Highs()
        for name, value in (("output_flag", False), ("threads", 1), ("presolve", "off")):
            self._highs.setOptionValue(name, value)
        for name in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
            self._highs.setOptionValue(name, 1e-10)
        self._highs.changeObjectiveSense(highspy.ObjSense.kMaximize)
        for _ in range(rows):
            self._highs.addRow(-highspy.kHighsInf, 1.0, 0, [], [])
        self._highs.addRow(1.0, 1.0, 0, [], [])
        self._rows = rows
        self._scale = 0.0

    def add(self, level: float, load: Real) -> None:
        self._scale = self._scale or abs(level)
        place = np.arange(self._rows + 1, dtype=np.int32)
        amount = np.append(load, 1.0)
        self._highs.addCol(level / (self._scale or 1.0), 0.0, highspy.kHighsInf, len(place), place, amount)

    def solve(self) -> tuple[float, Real]:
        self._run()
        dual = np.array(self._highs.getSolution().row_dual[: self._rows])
        scale = self._scale or 1.0
        return float(self._highs.getInfo().objective_function_value) * scale, np.maximum(dual, 0.0) * scale

    def _run(self) -> None:
        """Columns that are almost the same can leave the simplex with a basis that it cannot use: then from scratch,
        and at last with the usual tolerances."""
        for name in ("", "primal_feasibility_tolerance", "dual_feasibility_tolerance"):
            self._highs.run()
            if self._highs.getModelStatus() == highspy.HighsModelStatus.kOptimal:
                return
            self._highs.clearSolver()
            if name:
                self._highs.setOptionValue(name, 1e-7)

    def parts(self) -> Real:
        self._run()
        part = np.maximum(np.array(self._highs.getSolution().col_value), 0.0)
        mix: Real = part / max(float(part.sum()), LEAST_SHARE)
        return mix
