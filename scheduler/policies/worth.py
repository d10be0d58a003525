"""What options are worth to their jobs: speeds, weights and the cost of moving. Shared by the priced policies."""

from typing import Final

import numpy as np

from scheduler.model.jobs import Prefer
from scheduler.model.units import US_PER_S
from scheduler.policies.keeping import held_or_promised
from scheduler.policies.problem import NONE, Int, Problem, Real

__all__ = ["best_of", "job_of", "settled", "speeds", "staying", "within_tenants"]

LEAST_HORIZON_S: Final = 60.0
MOVES_PER_HORIZON: Final = 7.0
"""A move has to pay within its horizon: `Policy.horizon_us`, or so many times what it costs where that is longer."""

LEAST_GAIN: Final = 0.02
"""Nobody moves for less than this part of its worth, even where moves are free: the search is not exact, and what it
gains in one cycle by a hair it would give back in the next."""

PLACE_WORTH: Final = 0.8
"""To a job that ranks its options by list or by price, each is worth this part of the one before it."""

EXPONENTS: Final = {Prefer.FASTEST: 2.0, Prefer.SOONEST: 0.5}
"""How much a job minds slower devices: by default in proportion."""

_PREFERENCES: Final = tuple(Prefer)


def job_of(problem: Problem) -> Int:
    """int64[m]: the job of each option."""
    return np.repeat(np.arange(len(problem.number)), np.diff(problem.ptr))


def best_of(problem: Problem, values: Real) -> Real:
    """float64[n]: the largest of `values`, float64[m], over the options of each job; 0 for one without any."""
    found = np.zeros(len(problem.number))
    some = np.diff(problem.ptr) > 0
    if some.any():
        found[some] = np.maximum.reduceat(values, problem.ptr[:-1][some])
    return found


def speeds(problem: Problem) -> Real:
    """float64[m], at most 1: rate over the job's best, as the job's own preference sees it, less what rules add."""
    owner = job_of(problem)
    found = problem.rate / np.maximum(best_of(problem, problem.rate), 1e-300)[owner]
    if len(problem.prefer) and problem.prefer.any():
        prefer = problem.prefer[owner]
        for kind, exponent in EXPONENTS.items():
            found = np.where(prefer == _PREFERENCES.index(kind), found**exponent, found)
        listed = np.isin(prefer, [_PREFERENCES.index(Prefer.LISTED), _PREFERENCES.index(Prefer.CHEAPEST)])
        found = np.where(listed, PLACE_WORTH ** np.minimum(problem.rank, 50), found)
    return found - problem.adders if len(problem.adders) else found


def staying(problem: Problem, utility: Real) -> Real:
    """float64[m]: `utility`, with what a stop would lose added to the option that a job holds: hysteresis.

    What a move costs counts at the speed that the job has, over the horizon within which the move has to pay. What a
    job was promised, and others leave for it, counts as held: each change of mind would cost somebody a stop.
    """
    found = utility.copy()
    kept = held_or_promised(problem)
    jobs = np.flatnonzero(kept != NONE)
    held = kept[jobs]
    move_s = problem.move_s[jobs]
    longest = np.maximum(problem.settings.horizon_us / US_PER_S, MOVES_PER_HORIZON * move_s)
    horizon_s = np.maximum(LEAST_HORIZON_S, np.minimum(problem.left_s[jobs], longest))
    found[held] += np.maximum(utility[held], 0.0) * (move_s / horizon_s + LEAST_GAIN)
    return found


def settled(problem: Problem, utility: Real) -> Real:
    """float64[m]: rounded to 1e-9 of the largest, so that sums in another order break no tie otherwise."""
    largest = float(np.max(np.abs(utility), initial=0.0))
    if largest <= 0 or not np.isfinite(largest):
        return utility
    return np.asarray(np.round(utility / largest, 9) * largest)


def within_tenants(problem: Problem, weight: Real) -> Real:
    """float64[n]: the weights of each tenant's jobs of one class, dealt out to them by priority.

    So priority orders within a tenant and gains nothing against others. Equal priorities change nothing.
    """
    if len(problem.priority) == 0 or (problem.priority == problem.priority[0]).all():
        return weight
    group = problem.right * (int(problem.tenant.max()) + 1) + problem.tenant
    by_priority = np.lexsort((problem.number, -weight, -problem.priority, group))
    by_weight = np.lexsort((problem.number, -weight, group))
    found = np.empty_like(weight)
    found[by_priority] = weight[by_weight]
    return found
