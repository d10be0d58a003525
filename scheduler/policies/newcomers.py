"""Between two whole solutions: newcomers take what is idle where they are worth more than it costs at the last prices.

The bound of the whole solution stays one: a newcomer adds to it at most what its best option gains beyond the prices.
What it gets is that much or less, and the difference is what the choice may lack. Nobody has to leave for a newcomer;
that is for the next whole solution to decide.
"""

import numpy as np

from scheduler.policies.keeping import held_or_promised
from scheduler.policies.problem import NONE, Certificate, Choice, Flag, Int, Problem, Real, Standing
from scheduler.policies.worth import best_of, job_of

__all__ = ["at_prices"]


def at_prices(problem: Problem, standing: Standing, utility: Real, tier: Int) -> Choice:
    """The choice for those whom `standing` calls new; `utility` is float64[m], `tier` int64[n]. What is available is
    what they may take: the others keep what they have.

    Who was promised a place takes it, then they go by tier, then who gains most. Rows that better tiers pay for are
    theirs.
    """
    owner = job_of(problem)
    tiers, at = np.unique(tier, return_inverse=True)
    prices, shut = _of_tiers(standing, tiers, len(problem.available))
    user = np.repeat(np.arange(len(utility)), np.diff(problem.use_ptr))
    paid = prices[at[owner[user]], problem.use_row] * problem.use_amount
    net = utility - np.bincount(user, weights=paid, minlength=len(utility))
    net = np.where(standing.new[owner] & problem.open & (utility > 0), net, -np.inf)
    closed = np.bincount(user, weights=shut[at[owner[user]], problem.use_row], minlength=len(utility)) > 0
    gain = np.maximum(best_of(problem, net), 0.0)
    order = np.lexsort((problem.number, -gain, tier))
    option, left = _taken(problem, standing, np.where(closed, -np.inf, net), order)
    chosen = option[standing.new & (option != NONE)]
    value = float(net[chosen].sum())
    return Choice(
        option,
        order,
        _blocked_by(problem, net, paid, left, option),
        dict(problem.prices),
        worth=utility,
        certificate=Certificate(value, max(value, float(gain.sum())), standing.prices, left, standing.kept),
    )


def _of_tiers(standing: Standing, tiers: Int, rows: int) -> tuple[Real, Flag]:
    """What each of `tiers` pays, float64[tiers, rows], and which rows it must leave to better ones, bool[tiers, rows].

    A tier that had no jobs in the whole solution pays nothing.
    """
    prices = np.zeros((len(tiers), rows))
    shut = np.tile(standing.kept, (len(tiers), 1))
    for other, paid in standing.prices.items():
        prices[tiers == other] = paid
        shut[tiers > other] |= paid > 0
    return prices, shut


def _taken(problem: Problem, standing: Standing, net: Real, order: Int) -> tuple[Int, Int]:
    """The option of each job (those that were promised one take it), and what newcomers leave of each row."""
    kept = held_or_promised(problem)
    option, left = np.where(standing.new, NONE, problem.current), problem.available.copy()
    for job in np.flatnonzero(standing.new & (kept != NONE)).tolist():
        if _fits(problem, int(kept[job]), left):
            option[job] = kept[job]
    for job in order[standing.new[order] & (option[order] == NONE)].tolist():
        mine = np.arange(problem.ptr[job], problem.ptr[job + 1])
        for o in mine[np.lexsort((mine, -net[mine]))].tolist():
            if net[o] > 0 and _fits(problem, o, left):
                option[job] = o
                break
    return option, left


def _fits(problem: Problem, option: int, left: Int) -> bool:
    """Whether the option fits into what is left; then it is taken off that."""
    span = slice(int(problem.use_ptr[option]), int(problem.use_ptr[option + 1]))
    row, amount = problem.use_row[span], problem.use_amount[span]
    if (amount > left[row]).any():
        return False
    left[row] -= amount
    return True


def _blocked_by(problem: Problem, net: Real, paid: Real, left: Int, option: Int) -> Int:
    """For a newcomer without an option, of the option that gains most, the row that is short and dearest."""
    found = np.full(len(option), NONE, dtype=np.int64)
    for job in np.flatnonzero((option == NONE) & (np.diff(problem.ptr) > 0)).tolist():
        mine = net[problem.ptr[job] : problem.ptr[job + 1]]
        if not np.isfinite(mine).any():
            continue
        best = int(problem.ptr[job]) + int(mine.argmax())
        span = slice(int(problem.use_ptr[best]), int(problem.use_ptr[best + 1]))
        row = problem.use_row[span]
        short = problem.use_amount[span] > left[row]
        limit = row >= problem.capacity_rows
        if len(row):
            found[job] = row[np.lexsort((row, -paid[span], ~(short & limit), ~short))[0]]
    return found
