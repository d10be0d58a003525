"""Shadow prices: the prices of the rows at which what the jobs would take fits, and the bound that they prove.

Newton's method comes near where jobs are many (`descent`). Up to `FEW` rows that can bind, a master problem over the
proposals so far then gives the next prices (Dantzig and Wolfe, 1960), smoothed towards the best ones known. Rows that
are the same to every job have one price. Where jobs tie all the same, the way is found with utilities told apart.
"""

from dataclasses import dataclass

import highspy
import numpy as np

from scheduler.policies.answers import picks
from scheduler.policies.descent import Proposal, descend
from scheduler.policies.exact import fractional
from scheduler.policies.relaxed import Int, Real, Relaxed

__all__ = ["FEW", "Priced", "prices_for"]

SMALL = 1000
"""Up to so many options one linear program is quicker than proposals one by one."""

FEW = 32
MANY_JOBS = 500
"""From so many jobs on their demand is smooth enough."""

NEARLY = 0.1
"""The part of the gap that the last step of Newton's method may promise."""

TIED = 0.01
"""From that part of jobs on that tie at the prices found, utilities are told apart."""

APART = (0.1, 0.01, 0.001)
"""How far utilities are told apart, nearer and nearer, where jobs tie."""

BEGIN = 0.5
"""Prices to begin with, of a typical utility for typical amounts."""

SMOOTHING = 0.5
"""Share of the best prices known in the next ones to be tried: between none (they swing) and 1 (they stay)."""


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
    alike = relaxed.alike() if len(rows) > 1 else np.arange(len(relaxed.available))
    if (alike == np.arange(len(alike))).all():
        _lower(relaxed, best, rounds, gap)
        return best
    found = prices_for(relaxed.joined(alike), warm, rounds, gap)
    _ask(relaxed, found.prices[alike], best)
    return best


def _ask(relaxed: Relaxed, prices: Real, best: Priced) -> tuple[float, Int]:
    uses = relaxed.use_ptr, relaxed.use_row, relaxed.use_amount
    gain, option = picks(relaxed.ptr, relaxed.utility, uses, prices)
    bound = float(prices @ relaxed.available + gain.sum())
    if bound < best.bound:
        best.bound, best.prices = bound, prices
    return bound, option


def _lower(relaxed: Relaxed, best: Priced, rounds: int, gap: float) -> None:
    if len(relaxed.utility) <= SMALL and (prices := fractional(relaxed)) is not None:
        _ask(relaxed, prices, best)
        return
    few, proposals = len(relaxed.binding) <= FEW, list[Proposal]()
    if relaxed.jobs >= MANY_JOBS or not few:
        start, typical = best.prices, relaxed.typical()
        if not start.any():
            start = np.zeros(len(relaxed.available))
            start[relaxed.binding] = (BEGIN * typical / relaxed.typical_amounts())[relaxed.binding]
        proposals, near = descend(relaxed, start, rounds, gap * NEARLY)
        if proposals[-1].bound < best.bound:
            best.bound, best.prices = proposals[-1].bound, proposals[-1].prices
        if near:
            return
        if not few and proposals[-1].tied(typical) > TIED:
            _told_apart(relaxed, best, rounds, gap)
    if few:
        _by_columns(relaxed, best, rounds, gap, proposals)


def _told_apart(relaxed: Relaxed, best: Priced, rounds: int, gap: float) -> None:
    prices = best.prices
    for by in APART:
        found, _ = descend(relaxed.told_apart(by), prices, rounds, gap * NEARLY)
        prices = found[-1].prices
        _ask(relaxed, prices, best)


def _by_columns(relaxed: Relaxed, best: Priced, rounds: int, gap: float, proposals: list[Proposal]) -> None:
    rows = relaxed.binding
    scale = np.maximum(relaxed.available[rows], 1).astype(np.float64)
    master = _Master(relaxed.available[rows] / scale)
    for one in proposals:
        master.add(one.value, one.usage[rows] / scale)

    def ask(prices: Real) -> float:
        bound, option = _ask(relaxed, prices, best)
        master.add(relaxed.value(option), relaxed.usage(option)[rows] / scale)
        return bound

    ask(np.zeros(len(relaxed.available)))
    if best.prices.any():
        ask(best.prices)
    for _ in range(rounds):
        reached, dual = master.solve()
        if best.bound - reached <= gap * best.bound:
            return
        target = np.zeros(len(relaxed.available))
        target[rows] = dual / scale
        before = best.bound
        if ask(SMOOTHING * best.prices + (1 - SMOOTHING) * target) >= before:
            ask(target)  # no better there: the master's own prices always cut


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
