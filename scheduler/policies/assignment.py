"""One option or none for each job, at the highest total utility within the rows: shadow prices, then rounding.

The dual bound L(p) = p.b + sum over jobs of max(0, max over options of U - p.A) holds at any prices p >= 0 (Lagrangian
relaxation; Fisher, 1981), so each solution tells how far from the optimum it can be at most. Effort is counted in
iterations, never in time: equal problems give equal solutions.
"""

from dataclasses import dataclass, replace

import numpy as np

from scheduler.policies.dual import FEW, prices_for
from scheduler.policies.exact import polished, repaired
from scheduler.policies.relaxed import NONE, Int, Real, Relaxed, spans
from scheduler.policies.rounding import round_at

__all__ = ["Assignment", "NONE", "Solution", "solve"]

POLISHED_JOBS = 1000
"""Up to so many jobs HiGHS proves most of what is left open in some ten milliseconds; beyond, it finds nothing."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Options of job i are ptr[i]:ptr[i + 1]; option o takes use_amount of each use_row in use_ptr[o]:use_ptr[o + 1].

    Taking nothing is worth 0, so an option whose utility is not above 0 is never taken. An amount may be negative (a
    share of use that others must keep up with); then taking nothing at all must be feasible.
    """

    ptr: Int  # [n + 1]
    utility: Real  # [m]
    use_ptr: Int  # [m + 1]
    use_row: Int  # [nnz]
    use_amount: Int  # [nnz]
    available: Int  # [r]


@dataclass(frozen=True, slots=True)
class Solution:
    """`option` is int64[n], an index into the options or NONE. `gap` is (bound - value) / bound, 0 when proven best.

    `prices` are in utility per unit of each row; `stopped` says what ended the search: bound, rounding or exact.
    """

    option: Int
    prices: Real
    value: float
    bound: float
    gap: float
    stopped: str


def solve(
    problem: Assignment,
    *,
    warm_prices: Real | None = None,
    warm_option: Int | None = None,
    gap: float = 1e-4,
    rounds: int = 150,
    polish: bool = True,
) -> Solution:
    """The best assignment found, and a bound on every assignment.

    `warm_prices` float64[r] and `warm_option` int64[n] start the search where a similar problem ended. It stops once
    the gap is proven to be at most `gap`, or after `rounds` of price moves, the local search, and an exact search among
    the jobs that are most undecided, all of them where they are few (`polish`). Utilities are rounded to 2^-40 of the
    largest. Jobs are taken in the order of what they are worth and use, so that the order in which they are given
    decides between jobs that are alike in both, and nothing else.
    """
    order, source, relaxed = _in_order(problem)
    if warm_option is not None:
        place = np.full(len(source) + 1, NONE, dtype=np.int64)  # the last one is that of NONE
        place[source] = np.arange(len(source))
        warm_option = place[warm_option[order]]
    found = _solved(relaxed, warm_prices, warm_option, gap, rounds, polish)
    option = np.full(len(order), NONE, dtype=np.int64)
    chosen = found.option != NONE
    option[order[chosen]] = source[found.option[chosen]]
    return replace(found, option=option)


def _in_order(problem: Assignment) -> tuple[Int, Int, Relaxed]:
    """Jobs in the order of their greatest and their total utility and of what they use, their options, and the rest."""
    utility, ptr, jobs = _scaled(problem.utility), problem.ptr, len(problem.ptr) - 1
    owner = np.repeat(np.arange(jobs), np.diff(ptr))
    worth = np.where(utility > 0, utility, 0.0)
    best, some = np.zeros(jobs), np.flatnonzero(np.diff(ptr))
    if len(some):
        best[some] = np.maximum.reduceat(worth, ptr[some])
    used = np.repeat(owner, np.diff(problem.use_ptr))
    marks = problem.use_amount * (problem.use_row + 1)
    order = np.lexsort((np.bincount(used, marks, jobs), np.bincount(owner, worth, jobs), -best))
    new_ptr, source = spans(ptr[order], np.diff(ptr)[order])
    use_ptr, use = spans(problem.use_ptr[source], np.diff(problem.use_ptr)[source])
    uses = use_ptr, problem.use_row[use], problem.use_amount[use]
    return order, source, Relaxed(new_ptr, utility[source], *uses, problem.available)


def _solved(
    relaxed: Relaxed, warm_prices: Real | None, warm_option: Int | None, gap: float, rounds: int, polish: bool
) -> Solution:
    if warm_prices is not None and warm_option is not None:
        again = prices_for(relaxed, warm_prices, 0, gap / 4)
        option = round_at(relaxed, again.prices, warm_option, again.bound, gap)
        if relaxed.value(option) >= again.bound * (1 - gap):
            return _told(relaxed, option, again.prices, again.bound, "bound")
    found = prices_for(relaxed, warm_prices, rounds, gap / 4)
    option, bound = round_at(relaxed, found.prices, warm_option, found.bound, gap), found.bound
    if relaxed.value(option) < bound * (1 - gap) and polish:
        few = relaxed.jobs <= POLISHED_JOBS
        mend = polished if few else repaired if len(relaxed.binding) <= FEW else None
        better = mend(relaxed, found.prices, bound, option, gap) if mend else None
        if better is not None:
            option, bound = better.option, min(bound, better.bound)
            if few:
                return _told(relaxed, option, found.prices, bound, "exact")
    reached = relaxed.value(option) >= bound * (1 - gap)
    return _told(relaxed, option, found.prices, bound, "bound" if reached else "rounding")


def _told(relaxed: Relaxed, option: Int, prices: Real, bound: float, stopped: str) -> Solution:
    value = relaxed.value(option)
    bound = max(bound, value)
    return Solution(option, prices, value, bound, (bound - value) / bound if bound > 0 else 0.0, stopped)


def _scaled(utility: Real) -> Real:
    best = float(np.max(utility, initial=0.0))
    if not best > 0:
        return np.full(len(utility), -np.inf)
    step = 2.0 ** (np.frexp(best)[1] - 41)  # a power of two, so that sums of what is rounded are exact
    rounded = np.round(np.where(utility > 0, utility, 0.0) / step) * step
    return np.where(rounded > 0, rounded, -np.inf)
