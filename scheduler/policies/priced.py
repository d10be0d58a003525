"""Policies that price: given what each option is worth, the best assignment tier by tier, lower tiers on what is left.

Tiers are lexicographic: the better right first, of those who wait to borrow whose tenant used least of late, within one
right services before work that ends, then jobs that have waited past the bound. Prices of a row are those of the last
tier that had to pay for it, and warm-start the next cycle.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from scheduler.policies.assignment import Assignment, solve
from scheduler.policies.holding import Hold, overdue, reserve, reserved_rows
from scheduler.policies.keeping import held_or_promised
from scheduler.policies.newcomers import at_prices
from scheduler.policies.problem import NONE, Certificate, Choice, Flag, Int, Problem, Real, entries_of, spans
from scheduler.policies.worth import job_of, settled
from scheduler.quota.claims import within

__all__ = ["priced"]

TURNS: Final = 8
"""Those who wait to borrow go in so many groups, one after the other: each is a problem of its own to solve."""


def priced(problem: Problem, utility: Real, before: Flag | None = None) -> Choice:
    """The choice of the highest total `utility`, float64[m], within the rows; options worth 0 or less are not taken.

    Jobs where `before`, bool[n], holds form a tier of their own ahead of the others of the same right.
    """
    utility = settled(problem, utility)
    if problem.standing is not None:
        return at_prices(problem, problem.standing, utility, _keys(problem, before))
    return _Pricing(problem, utility).over(before)


def _keys(problem: Problem, before: Flag | None) -> Int:
    """int64[n]: the tier of each job, the first to be served the smallest."""
    first = np.zeros(len(problem.number), dtype=np.bool_) if before is None else before
    right = problem.right * TURNS + _turns(problem)
    key: Int = ((right * 2 + ~problem.service) * 2 + ~overdue(problem)) * 2 + ~first
    return key


def _turns(problem: Problem) -> Int:
    """int64[n]: below TURNS, of those who wait to borrow the less, the less their tenant used for its weight."""
    if not problem.turn.any():
        return np.zeros(len(problem.number), dtype=np.int64)
    known, place = np.unique(problem.turn, return_inverse=True)
    place = np.maximum(place - 1, 0)  # the first group goes with those who run on what they borrowed
    found: Int = place * TURNS // max(TURNS, len(known) - 1)
    return found


class _Pricing:
    def __init__(self, problem: Problem, utility: Real) -> None:
        self.problem = problem
        self.owner = job_of(problem)
        held = np.zeros(len(utility), dtype=np.bool_)
        held[problem.current[problem.current != NONE]] = True
        self.kept = held_or_promised(problem)
        self.utility = np.where(problem.open | held, utility, -np.inf)
        self.option = np.where(problem.pinned, problem.current, NONE)
        self.left = problem.available.copy()
        self.prices = np.zeros(len(problem.available))
        self.tier_prices: dict[int, Real] = {}
        pinned = self.utility[problem.current[problem.pinned]]  # it is part of every choice
        self.value = self.bound = float(np.maximum(pinned, 0.0).sum())
        self.dense = np.zeros(len(problem.available))
        self.room = np.zeros(len(problem.available), dtype=np.int64)
        self.rank = np.zeros(len(problem.number), dtype=np.int64)
        self.warm = np.zeros(len(problem.available))
        for row, price in problem.prices.items():
            if row < len(self.warm):
                self.warm[row] = price
        self._take(np.flatnonzero(problem.pinned))

    def over(self, before: Flag | None) -> Choice:
        problem = self.problem
        free = ~problem.pinned & (np.diff(problem.ptr) > 0)
        late = overdue(problem) & free
        key = _keys(problem, before)
        holds: list[Hold] = []
        right = NONE
        for place, tier in enumerate(_tiers(key, free)):
            if problem.right[tier[0]] != right:
                right = int(problem.right[tier[0]])
                self._spare(np.flatnonzero(free & (problem.right == right)))
            self.rank[tier] = place
            jobs = tier[self.option[tier] == NONE]
            if not len(jobs):
                continue
            self._solve(int(key[jobs[0]]), jobs, holds)
            if late[jobs[0]] and len(holds) == 0:
                waiting = jobs[(self.option[jobs] == NONE) & (problem.current[jobs] == NONE)]
                holds = reserve(problem, waiting, self.left, self.option)
        kept = np.zeros(len(self.left), dtype=np.bool_)
        kept[[hold.row for hold in holds]] = True
        certificate = Certificate(
            self.value, self.bound, self.tier_prices, self.left, kept, dense=self.dense, room=self.room
        )
        return Choice(
            self.option, self._order(), self._blocked_by(), self._told(), worth=self.utility, certificate=certificate
        )

    def _spare(self, equals: Int) -> None:
        """Let those of one right keep what they hold who would lose all that they did, as far as a better right left
        it: without a checkpoint nobody consents to share time, nor is any move worth what it costs."""
        problem = self.problem
        if not len(problem.resumes):
            return
        loses = (problem.current != NONE) & ~problem.resumes & ~problem.service
        jobs = equals[loses[equals]]
        ptr, row, amount = entries_of(problem, problem.current[jobs])
        stays = jobs[within(ptr, row, amount, np.maximum(self.left, 0))]
        self.option[stays] = problem.current[stays]
        kept = float(np.maximum(self.utility[problem.current[stays]], 0.0).sum())  # a part of every choice, as pinned
        self.value, self.bound = self.value + kept, self.bound + kept
        self._take(stays)

    def _solve(self, tier: int, jobs: Int, holds: list[Hold]) -> None:
        problem = self.problem
        ptr, option = spans(problem.ptr[jobs], np.diff(problem.ptr)[jobs])
        keep = self.utility[option] > 0
        option = option[keep]
        ptr = np.concatenate(([0], np.cumsum(keep)))[ptr]
        use_ptr, use_row, use_amount = entries_of(problem, option)
        available = np.maximum(self.left, 0)
        self._leave_out(np.repeat(self.utility[option], np.diff(use_ptr)), use_row, use_amount, available)
        if holds:
            use_ptr, use_row, use_amount, available = reserved_rows(
                problem, holds, self.owner[option], option, (use_ptr, use_row, use_amount, available)
            )
        rows, use_row = np.unique(use_row, return_inverse=True)
        warm = np.zeros(len(available))
        warm[: len(self.warm)] = self.warm
        place = np.full(len(self.utility) + 1, NONE)
        place[option] = np.arange(len(option))
        held = self.kept[jobs]
        found = solve(
            Assignment(ptr, self.utility[option], use_ptr, use_row, use_amount, available[rows]),
            warm_prices=warm[rows],
            warm_option=np.where(held == NONE, NONE, place[held]),
            gap=problem.settings.gap,
        )
        chosen = found.option != NONE
        self.option[jobs[chosen]] = option[found.option[chosen]]
        real = rows < len(self.prices)
        self.prices[rows[real]] = np.maximum(found.prices[real], self.prices[rows[real]])
        self.tier_prices[tier] = np.zeros(len(self.prices))
        self.tier_prices[tier][rows[real]] = found.prices[real]
        self.value += found.value
        self.bound += found.bound
        self._take(jobs[chosen])

    def _leave_out(self, worth: Real, row: Int, amount: Int, available: Int) -> None:
        """Note what options that nobody of the tier could take alone take of each row, and what it is worth to them."""
        beyond = amount > available[row]
        row, density = row[beyond], worth[beyond] / amount[beyond]
        np.maximum.at(self.dense, row, density)
        self.room[row] = np.maximum(self.room[row], available[row])

    def _take(self, jobs: Int) -> None:
        _, row, amount = entries_of(self.problem, self.option[jobs])
        self.left -= np.bincount(row, weights=amount, minlength=len(self.left)).astype(np.int64)

    def _order(self) -> Int:
        """By tier, then what a device of the chosen option gains beyond nothing, then by arrival."""
        gains = np.zeros(len(self.option))
        has = self.option != NONE
        gains[has] = self.utility[self.option[has]]
        return np.lexsort((self.problem.number, -gains, self.rank))

    def _blocked_by(self) -> Int:
        """For a job without an option, the dearest row of the option that it would lose least by paying for."""
        problem = self.problem
        found = np.full(len(self.option), NONE, dtype=np.int64)
        jobs = np.flatnonzero((self.option == NONE) & (np.diff(problem.ptr) > 0))
        ptr, option = spans(problem.ptr[jobs], np.diff(problem.ptr)[jobs])
        if not len(option):
            return found
        use_ptr, row, amount = entries_of(problem, option)
        user = np.repeat(np.arange(len(option)), np.diff(use_ptr))
        pays = np.bincount(user, weights=self.prices[row] * amount, minlength=len(option))
        net = np.where(np.isfinite(self.utility[option]), self.utility[option] - pays, -np.inf)
        owner = np.repeat(np.arange(len(jobs)), np.diff(ptr))
        best = np.lexsort((option, -net, owner))[ptr[:-1]]
        open_jobs = np.isfinite(net[best])
        entry_first, entry_count = use_ptr[best], np.diff(use_ptr)[best]
        starts, entry = spans(entry_first, entry_count)
        job = np.repeat(np.arange(len(jobs)), entry_count)
        short = amount[entry] > self.left[row[entry]]
        limit = row[entry] >= problem.capacity_rows
        worst = np.lexsort((row[entry], -(self.prices[row[entry]] * amount[entry]), ~(short & limit), ~short, job))
        has = open_jobs & (entry_count > 0)
        found[jobs[has]] = row[entry][worst[starts[:-1][has]]]
        return found

    def _told(self) -> dict[int, float]:
        return {int(row): float(self.prices[row]) for row in np.flatnonzero(self.prices > 0)}


def _tiers(key: Int, free: Flag) -> Iterator[Int]:
    """Jobs that are free to choose, grouped by key, the smallest first; ascending within a group."""
    for value in np.unique(key[free]).tolist():
        yield np.flatnonzero(free & (key == value))
