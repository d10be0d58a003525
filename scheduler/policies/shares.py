"""Shares of time for each job on each of its options, where no choice of one option is the answer.

All of these problems have shares X >= 0 with at most one whole share a job, within the rows; an option that could not
be taken alone gets no share. The formulas are those of Gavel (Narayanan et al., OSDI 2020) and Themis (Mahajan et al.,
NSDI 2020); the method is that of `shares_level`, so that every answer has a bound and a gap.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scheduler.policies.answers import picks
from scheduler.policies.kernels import COMPILED
from scheduler.policies.shares_level import Asked, Finished, Level, Linear, Master, Rows, highest

__all__ = ["ShareSolution", "Shares", "finish_time_fairness", "makespan", "max_min", "max_total"]

Int = NDArray[np.int64]
Real = NDArray[np.float64]

GAP = 1e-5
ROUNDS = 400


@dataclass(frozen=True, slots=True)
class Shares:
    """Options of job i are ptr[i]:ptr[i + 1]; for its whole time option o takes use_amount of each use_row in
    use_ptr[o]:use_ptr[o + 1]. Amounts must not be negative. A speed of 0 or less is that of an option out of reach."""

    ptr: Int  # [n + 1]
    speed: Real  # [m] throughput at a share of 1, comparable between jobs as the objective needs
    use_ptr: Int  # [m + 1]
    use_row: Int  # [nnz]
    use_amount: Int  # [nnz]
    available: Int  # [r]

    def rows(self, compiled: bool = COMPILED) -> tuple[Rows, Int]:
        """The problem without rows that could not bind, and int64[those left], their numbers here.

        Raises ValueError for a negative amount.
        """
        if (self.use_amount < 0).any():
            raise ValueError("an option of a share problem takes a negative amount of a row")
        used_by = np.repeat(np.arange(len(self.speed)), np.diff(self.use_ptr))
        speed = np.where(np.isfinite(self.speed) & (self.speed > 0), self.speed, 0.0)
        speed[used_by[self.use_amount > self.available[self.use_row]]] = 0.0
        most = np.bincount(self.use_row, weights=self.use_amount * (speed[used_by] > 0), minlength=len(self.available))
        kept = np.flatnonzero((most > self.available) & (self.available > 0))
        if len(kept) == len(self.available):
            ptrs = self.use_ptr, self.use_row, self.use_amount
            return Rows(self.ptr, speed, *ptrs, self.available.astype(np.float64), compiled), kept
        number = np.full(len(self.available), -1, dtype=np.int64)
        number[kept] = np.arange(len(kept))
        stay = number[self.use_row] >= 0
        use_ptr = np.concatenate(([0], np.cumsum(stay)))[self.use_ptr].astype(np.int64)
        row, amount = number[self.use_row[stay]], self.use_amount[stay]
        return Rows(self.ptr, speed, use_ptr, row, amount, self.available[kept].astype(np.float64), compiled), kept


@dataclass(frozen=True, slots=True)
class ShareSolution:
    """`level` is the objective reached and `bound` one that no shares can pass, both in the objective's own unit.

    `gap` is their relative distance, `prices` float64[r] the worth of one unit of each row as a part of the objective.
    """

    share: Real
    level: float
    bound: float
    gap: float
    prices: Real
    stopped: str


def max_min(
    problem: Shares,
    weight: Real,
    *,
    warm_prices: Real | None = None,
    gap: float = GAP,
    rounds: int = ROUNDS,
    compiled: bool = COMPILED,
) -> ShareSolution:
    """The greatest t with throughput >= t x weight float64[n] for each job that can run at all."""
    rows, kept = problem.rows(compiled)
    fastest = fastest_of(rows)
    asked = Linear(np.where(fastest > 0, weight, 0.0), np.zeros(len(fastest)), fastest)
    found = _solved(problem, rows, kept, asked, warm_prices, gap, rounds)
    return _told(problem, kept, found, found.level, found.bound, gap)


def makespan(
    problem: Shares,
    left: Real,
    *,
    warm_prices: Real | None = None,
    gap: float = GAP,
    rounds: int = ROUNDS,
    compiled: bool = COMPILED,
) -> ShareSolution:
    """The least time in which every job does its `left` float64[n]: one over the greatest common part per second."""
    found = max_min(problem, left, warm_prices=warm_prices, gap=gap, rounds=rounds, compiled=compiled)
    return replace(found, level=_over(found.level), bound=_over(found.bound))


def finish_time_fairness(
    problem: Shares,
    left: Real,
    age: Real,
    due: Real,
    *,
    warm_prices: Real | None = None,
    gap: float = GAP,
    rounds: int = ROUNDS,
    compiled: bool = COMPILED,
) -> ShareSolution:
    """The least rho with (age + left / throughput) <= rho x due for each job; float64[n] each, due > 0 in seconds.

    `due` is the time from submission to completion that the job would have on its own part of the cluster. Jobs with
    nothing left, or that cannot run at all, ask for nothing.
    """
    rows, kept = problem.rows(compiled)
    fastest = fastest_of(rows)
    asked = Finished(np.where(fastest > 0, left, 0.0), age, due, fastest)
    found = _solved(problem, rows, kept, asked, warm_prices, gap, rounds)
    return _told(problem, kept, found, _over(found.level), _over(found.bound), gap)


def max_total(
    problem: Shares, worth: Real, *, gap: float = GAP, rounds: int = ROUNDS, compiled: bool = COMPILED
) -> ShareSolution:
    """The greatest sum of worth float64[m] x share: of throughputs, of throughputs per cost, of H20-equivalents."""
    rows, kept = problem.rows(compiled)
    worth = np.where(rows.speed > 0, worth, -np.inf)
    bound, prices, tried = np.inf, np.zeros(len(kept)), [np.full(len(rows.ptr) - 1, -1, dtype=np.int64)]
    uses = rows.use_ptr, rows.use_row, rows.use_amount
    master, lower, reached = Master(len(kept)), -np.inf, 0.0
    master.add(0.0, np.zeros(len(kept)))
    target = prices
    for _ in range(rounds):
        smoothed = 0.5 * (prices + target) if reached > lower else target
        lower = max(lower, reached)
        gain, pick = picks(rows.ptr, worth, uses, smoothed / rows.available, compiled)
        proven = float(smoothed.sum() + gain.sum())
        if proven < bound:
            bound, prices = proven, smoothed
        tried.append(pick)
        share = _whole(rows, pick)
        master.add(float(worth[pick[pick >= 0]].sum()), rows.load(share))
        reached, target = master.solve()
        if bound - reached <= gap * abs(bound):
            break
    share = np.zeros(len(worth))
    for part, pick in zip(master.parts(), tried, strict=True):
        share += part * _whole(rows, pick)
    share /= max(1.0, float(rows.load(share).max(initial=0.0)))
    level = float((worth[share > 0] * share[share > 0]).sum())
    found = Level(level, max(bound, level), share, prices / bound if bound > 0 else prices, prices[None])
    return _told(problem, kept, found, found.level, found.bound, gap)


def fastest_of(rows: Rows) -> Real:
    """float64[n]: throughput of each job on its fastest option, 0 where it has none."""
    found = np.zeros(len(rows.ptr) - 1)
    some = np.flatnonzero(np.diff(rows.ptr))
    if len(some):
        found[some] = np.maximum.reduceat(rows.speed, rows.ptr[some])
    return found


def _whole(rows: Rows, pick: Int) -> Real:
    share = np.zeros(len(rows.speed))
    share[pick[pick >= 0]] = 1.0
    return share


def _solved(problem: Shares, rows: Rows, kept: Int, asked: Asked, warm: Real | None, gap: float, rounds: int) -> Level:
    if not np.isfinite(asked.most):  # nobody asks for anything
        return Level(np.inf, np.inf, np.zeros(len(rows.speed)), np.zeros(len(kept)), np.zeros((0, len(kept))))
    start = np.maximum(warm * problem.available, 0.0)[None, kept] if warm is not None else None
    return highest(rows, asked, None, start, gap, rounds)


def _told(problem: Shares, kept: Int, found: Level, level: float, bound: float, gap: float) -> ShareSolution:
    prices = np.zeros(len(problem.available))
    prices[kept] = found.prices / problem.available[kept]
    apart = (found.bound - found.level) / found.bound if 0 < found.bound < np.inf else 0.0
    stopped = "bound" if apart <= 1.5 * gap else "rounds"
    return ShareSolution(found.share, level, bound, max(apart, 0.0), prices, stopped)


def _over(level: float) -> float:
    return 1.0 / level if level > 0 else np.inf
