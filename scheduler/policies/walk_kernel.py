"""The compiled form of the walk in `order_based`, for tens of thousands of jobs. Loaded only where Numba is.

Whole numbers throughout, and rates rounded before: it gives the same choice as the walk, not one near it.
"""

from typing import Any

import numpy as np
from numba import njit

from scheduler.policies.problem import NONE, Flag, Int, Problem, Real

__all__ = ["walk_compiled"]


def walk_compiled(problem: Problem, order: Int, keeps: Flag, shrinks: Flag, rate: Real) -> tuple[Int, Int]:
    """`option` and `blocked_by` of the choice, as `order_based` finds them job by job. `rate` is rounded."""
    n = len(problem.number)
    option = np.full(n, NONE, dtype=np.int64)
    blocked_by = np.full(n, NONE, dtype=np.int64)
    left = problem.available.astype(np.int64)
    rows = problem.capacity_rows
    uses = problem.use_ptr, problem.use_row, problem.use_amount
    jobs = problem.ptr, problem.current, problem.elastic
    options = problem.rank, problem.open
    size = _sizes(uses, rows, len(problem.open))
    claimed = np.zeros(rows, dtype=np.bool_)
    widest = int(np.diff(problem.ptr).max(initial=0))
    scratch = np.empty((3, widest + 1), dtype=np.int64)
    _walk(order, keeps, shrinks, jobs, options, uses, size, rows, left, claimed, scratch, option, blocked_by)
    growing = problem.elastic & (shrinks | (problem.current == NONE))
    _grow_all(
        order, growing, jobs, options, uses, size, rows, left, claimed, scratch, rate, problem.resize_gain, option
    )
    return option, blocked_by


@njit(cache=True)  # type: ignore[untyped-decorator]
def _sizes(uses: Any, rows: int, count: int) -> Int:
    """int64[m]: devices of each option."""
    use_ptr, use_row, use_amount = uses
    size = np.zeros(count, dtype=np.int64)
    for o in range(count):
        for u in range(use_ptr[o], use_ptr[o + 1]):
            if use_row[u] < rows:
                size[o] += use_amount[u]
    return size


@njit(cache=True)  # type: ignore[untyped-decorator]
def _take(o: int, uses: Any, left: Int, sign: int) -> None:
    use_ptr, use_row, use_amount = uses
    for u in range(use_ptr[o], use_ptr[o + 1]):
        left[use_row[u]] -= sign * use_amount[u]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _blocking_row(o: int, uses: Any, rows: int, left: Int, claimed: Flag, mind_claims: bool) -> int:
    use_ptr, use_row, use_amount = uses
    devices = -1
    for u in range(use_ptr[o], use_ptr[o + 1]):
        row = use_row[u]
        is_device = row < rows
        if use_amount[u] > left[row] or (mind_claims and is_device and claimed[row]):
            if not is_device:
                return int(row)
            devices = row
    return int(devices)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _same_devices(a: int, b: int, uses: Any, rows: int) -> bool:
    use_ptr, use_row, _ = uses
    i, j = use_ptr[a], use_ptr[b]
    while True:
        while i < use_ptr[a + 1] and use_row[i] >= rows:
            i += 1
        while j < use_ptr[b + 1] and use_row[j] >= rows:
            j += 1
        if i == use_ptr[a + 1] or j == use_ptr[b + 1]:
            return i == use_ptr[a + 1] and j == use_ptr[b + 1]  # type: ignore[no-any-return]
        if use_row[i] != use_row[j]:
            return False
        i += 1
        j += 1


@njit(cache=True)  # type: ignore[untyped-decorator]
def _siblings(job: int, like: int, jobs: Any, options: Any, uses: Any, size: Int, rows: int, found: Int) -> int:
    """Options of the job on the devices of `like`, smallest first, into `found`; how many."""
    ptr, current, _ = jobs
    is_open = options[1]
    count = 0
    for o in range(ptr[job], ptr[job + 1]):
        if (is_open[o] or o == current[job]) and _same_devices(o, like, uses, rows):
            at = count
            while at > 0 and size[found[at - 1]] > size[o]:
                found[at] = found[at - 1]
                at -= 1
            found[at] = o
            count += 1
    return count


@njit(cache=True)  # type: ignore[untyped-decorator]
def _candidates(job: int, jobs: Any, options: Any, uses: Any, size: Int, rows: int, scratch: Int) -> int:
    """What a job would start with, best first, into the first row of `scratch`; how many."""
    ptr, _, elastic = jobs
    rank, is_open = options
    ranked, siblings = scratch[0], scratch[1]
    count = 0
    for o in range(ptr[job], ptr[job + 1]):
        if is_open[o]:
            at = count
            while at > 0 and rank[ranked[at - 1]] > rank[o]:
                ranked[at] = ranked[at - 1]
                at -= 1
            ranked[at] = o
            count += 1
    if not elastic[job]:
        return count
    kept = 0
    for i in range(count):  # begins with as little as it can; what is left at the end makes it grow
        _siblings(job, ranked[i], jobs, options, uses, size, rows, siblings)
        known = False
        for j in range(kept):
            known = known or ranked[j] == siblings[0]
        if not known:
            ranked[kept] = siblings[0]
            kept += 1
    return kept


@njit(cache=True)  # type: ignore[untyped-decorator]
def _start(
    job: int, jobs: Any, options: Any, uses: Any, size: Int, rows: int, left: Int, claimed: Flag, scratch: Int,
    option: Int, blocked_by: Int,
) -> None:  # fmt: skip
    use_ptr, use_row, _ = uses
    count = _candidates(job, jobs, options, uses, size, rows, scratch)
    claims = 0
    for i in range(count):
        o = scratch[0, i]
        row = _blocking_row(o, uses, rows, left, claimed, True)
        if row == -1:
            _take(o, uses, left, 1)
            option[job] = o
            blocked_by[job] = -1
            return
        if blocked_by[job] == -1 and not (row < rows and claimed[row]):
            blocked_by[job] = row
        if row < rows:
            scratch[2, claims] = o
            claims += 1
    for i in range(claims):
        for u in range(use_ptr[scratch[2, i]], use_ptr[scratch[2, i] + 1]):
            if use_row[u] < rows:
                claimed[use_row[u]] = True


@njit(cache=True)  # type: ignore[untyped-decorator]
def _walk(
    order: Int, keeps: Flag, shrinks: Flag, jobs: Any, options: Any, uses: Any, size: Int, rows: int, left: Int,
    claimed: Flag, scratch: Int, option: Int, blocked_by: Int,
) -> None:  # fmt: skip
    current = jobs[1]
    for job in range(len(keeps)):
        if keeps[job] and not shrinks[job]:
            option[job] = current[job]
            _take(current[job], uses, left, 1)
    for job in range(len(keeps)):
        if keeps[job] and shrinks[job]:
            _siblings(job, current[job], jobs, options, uses, size, rows, scratch[1])
            option[job] = scratch[1, 0]
            _take(option[job], uses, left, 1)
    for job in order:
        if option[job] != -1:
            continue
        if current[job] == -1:
            _start(job, jobs, options, uses, size, rows, left, claimed, scratch, option, blocked_by)
            continue
        wanted = current[job]
        if shrinks[job]:
            _siblings(job, current[job], jobs, options, uses, size, rows, scratch[1])
            wanted = scratch[1, 0]
        row = _blocking_row(wanted, uses, rows, left, claimed, False)
        if row == -1:
            _take(wanted, uses, left, 1)
            option[job] = wanted
        else:
            blocked_by[job] = row


@njit(cache=True)  # type: ignore[untyped-decorator]
def _grow_all(
    order: Int, growing: Flag, jobs: Any, options: Any, uses: Any, size: Int, rows: int, left: Int, claimed: Flag,
    scratch: Int, rate: Real, gain: float, option: Int,
) -> None:  # fmt: skip
    current = jobs[1]
    for job in order:
        if not growing[job] or option[job] == -1:
            continue
        held = option[job]
        _take(held, uses, left, -1)
        count = _siblings(job, held, jobs, options, uses, size, rows, scratch[1])
        best, stays = -1, False
        for i in range(count):
            o = scratch[1, i]
            if _blocking_row(o, uses, rows, left, claimed, True) != -1:
                continue
            stays = stays or o == current[job]
            if best == -1 or rate[o] > rate[best] or (rate[o] == rate[best] and o < best):
                best = o
        if best == -1:
            best = held
        if current[job] != -1 and stays and rate[best] <= rate[current[job]] * (1 + gain):
            best = current[job]
        _take(best, uses, left, 1)
        option[job] = best
