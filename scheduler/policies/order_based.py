"""Policies that walk the jobs in an order: each takes the best of its options that is left.

A job that finds nothing keeps first claim on the devices that it could use: later jobs leave those accelerators alone,
so that a stream of small jobs never starves a large gang. A job that only a quota holds back claims nothing.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from scheduler.policies.problem import NONE, Choice, Flag, Int, Problem, Real

__all__ = ["fifo_best_type", "priority"]


def fifo_best_type(problem: Problem) -> Choice:
    """In order of arrival, each on its best option that has room; what runs is never displaced."""
    live = problem.current != NONE
    order = np.lexsort((problem.number, ~live))
    return _walk(problem, order, preemptive=False)


def priority(problem: Problem) -> Choice:
    """By right (production, nominal, borrowed, idle), then priority, then arrival; a job that goes first may displace
    those behind it. Who has borrowed keeps it; who waits to borrow goes by the tenants' past use."""
    waiting = problem.current == NONE
    turn = problem.turn if len(problem.turn) else np.zeros_like(problem.priority)
    order = np.lexsort((problem.number, waiting, -problem.priority, turn, problem.right))
    return _walk(problem, order, preemptive=True)


WORTH_COMPILING = 10_000
"""From so many jobs on the compiled walk is used where Numba is: below, loading it takes longer than it saves."""

WORTH_SUMMING = 16
"""So many holders in a row are cheaper to sum in arrays than to look at one by one."""


@cache
def _compiled() -> Callable[..., tuple[Int, Int]] | None:
    """The same walk, compiled, or None without Numba."""
    try:
        from scheduler.policies.walk_kernel import walk_compiled  # Numba takes a second to load
    except ImportError:
        return None
    return walk_compiled


def _walk(problem: Problem, order: Int, *, preemptive: bool) -> Choice:
    keeps = problem.pinned | ((problem.current != NONE) & ~(problem.displaceable & preemptive))
    shrinks = problem.elastic & problem.resizable & (problem.current != NONE)
    rate = np.round(problem.rate, 9)
    compiled = _compiled() if len(order) >= WORTH_COMPILING else None
    if compiled is not None:
        option, blocked_by = compiled(problem, order, keeps, shrinks, rate)
        return Choice(option, order, blocked_by, {})
    return _Walk(problem, rate).over(order, keeps, shrinks)


class _Walk:
    """One pass in order, then a second in which elastic jobs take what is left."""

    def __init__(self, problem: Problem, rate: Real) -> None:
        self.problem = problem
        self.left: list[int] = problem.available.tolist()
        self.claimed = [False] * problem.capacity_rows
        self.option = np.full(len(problem.number), NONE, dtype=np.int64)
        self.blocked_by = np.full(len(problem.number), NONE, dtype=np.int64)
        self._ptr: list[int] = problem.ptr.tolist()
        self._use_ptr: list[int] = problem.use_ptr.tolist()
        self._use_row: list[int] = problem.use_row.tolist()
        self._use_amount: list[int] = problem.use_amount.tolist()
        self._current: list[int] = problem.current.tolist()
        self._rate = rate

    def over(self, order: Int, keeps: Flag, shrinks: Flag) -> Choice:
        problem = self.problem
        self._take_all(np.flatnonzero(keeps & ~shrinks))
        for job in np.flatnonzero(keeps & shrinks).tolist():
            self._take(job, self._siblings(job, self._current[job])[0])
        for group in self._groups(order, shrinks):
            if len(group) >= WORTH_SUMMING and self._fit_together(group):
                self._take_all(group)
                continue
            for job in group.tolist():
                if self._current[job] != NONE:
                    self._keep(job, bool(shrinks[job]))
                else:
                    self._start(job)
        grows = problem.elastic & (shrinks | (problem.current == NONE))
        for job in order.tolist():
            if grows[job] and self.option[job] != NONE:
                self._grow(job)
        return Choice(self.option, order, self.blocked_by, {})

    def _groups(self, order: Int, shrinks: Flag) -> list[Int]:
        """Jobs without an option yet, in order, cut where holders that keep their size and all others meet."""
        undecided = order[self.option[order] == NONE]
        holds = (self.problem.current[undecided] != NONE) & ~shrinks[undecided]
        return np.split(undecided, np.flatnonzero(np.diff(holds)) + 1)

    def _sum_held(self, jobs: Int) -> Int:
        """int64[rows]: what the current options of `jobs` take together."""
        problem, options = self.problem, self.problem.current[jobs]
        first = problem.use_ptr[options]
        count = problem.use_ptr[options + 1] - first
        past = np.cumsum(count)
        index = np.repeat(first - past + count, count) + np.arange(count.sum())
        total = np.bincount(problem.use_row[index], weights=problem.use_amount[index], minlength=len(self.left))
        return total.astype(np.int64)

    def _fit_together(self, jobs: Int) -> bool:
        """Whether all of `jobs` hold an option and may keep it: if the sum fits, so does each in its turn."""
        if (self.problem.current[jobs] == NONE).any() or self.problem.resizable[jobs].any():
            return False
        needed = self._sum_held(jobs)
        return bool((needed <= np.maximum(self.left, 0))[needed > 0].all())

    def _take_all(self, jobs: Int) -> None:
        if len(jobs):
            self.left = (np.array(self.left) - self._sum_held(jobs)).tolist()
            self.option[jobs] = self.problem.current[jobs]

    def _uses(self, option: int) -> list[tuple[int, int]]:
        span = slice(self._use_ptr[option], self._use_ptr[option + 1])
        return list(zip(self._use_row[span], self._use_amount[span], strict=True))

    def _take(self, job: int, option: int) -> None:
        for row, amount in self._uses(option):
            self.left[row] -= amount
        self.option[job] = option

    def _return(self, job: int) -> None:
        for row, amount in self._uses(int(self.option[job])):
            self.left[row] += amount
        self.option[job] = NONE

    def _blocking_row(self, option: int, *, mind_claims: bool) -> int:
        """The first row without room for the option, a limit before a capacity; NONE if it fits."""
        devices = NONE
        for row, amount in self._uses(option):
            is_device = row < self.problem.capacity_rows
            if amount > self.left[row] or (mind_claims and is_device and self.claimed[row]):
                if not is_device:
                    return row
                devices = row
        return devices

    def _siblings(self, job: int, like: int) -> list[int]:
        """Options of the job on the same devices as option `like`, smallest first."""
        rows = self._device_rows(like)
        span = range(self._ptr[job], self._ptr[job + 1])
        allowed = (o for o in span if self.problem.open[o] or o == self._current[job])
        return sorted((o for o in allowed if self._device_rows(o) == rows), key=self._size)

    def _size(self, option: int) -> int:
        return sum(amount for row, amount in self._uses(option) if row < self.problem.capacity_rows)

    def _device_rows(self, option: int) -> list[int]:
        return [row for row, _ in self._uses(option) if row < self.problem.capacity_rows]

    def _keep(self, job: int, may_shrink: bool) -> None:
        current = self._current[job]
        option = self._siblings(job, current)[0] if may_shrink else current
        row = self._blocking_row(option, mind_claims=False)
        if row == NONE:
            self._take(job, option)
        else:
            self.blocked_by[job] = row

    def _start(self, job: int) -> None:
        options = [o for o in range(self._ptr[job], self._ptr[job + 1]) if self.problem.open[o]]
        options.sort(key=lambda o: (int(self.problem.rank[o]), o))
        if self.problem.elastic[job]:  # begins with as little as it can; what is left at the end makes it grow
            options = list(dict.fromkeys(self._siblings(job, o)[0] for o in options))
        claims: set[int] = set()
        for option in options:
            row = self._blocking_row(option, mind_claims=True)
            if row == NONE:
                self._take(job, option)
                self.blocked_by[job] = NONE
                return
            if self.blocked_by[job] == NONE and not (row < self.problem.capacity_rows and self.claimed[row]):
                self.blocked_by[job] = row
            if row < self.problem.capacity_rows:
                claims.update(self._device_rows(option))
        for row in claims:
            self.claimed[row] = True

    def _grow(self, job: int) -> None:
        """The current option again if it still fits, or one that is faster by more than the gain that pays a move."""
        problem, held = self.problem, int(self.option[job])
        current = self._current[job]
        self._return(job)
        fits = [o for o in self._siblings(job, held) if self._blocking_row(o, mind_claims=True) == NONE]
        best = max(fits, key=lambda o: (self._rate[o], -o), default=held)
        if current in fits and self._rate[best] <= self._rate[current] * (1 + problem.resize_gain):
            best = current
        self._take(job, best)
