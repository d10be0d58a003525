"""From prices to whole options: the best value for its price first, then moves, exchanges and what still fits."""

from typing import Any

import numpy as np

from scheduler.policies.relaxed import NONE, Int, Real, Relaxed, spans

__all__ = ["round_at"]

TRIALS = 1_000_000
"""Jobs that are looked at in all, as the one to make room, before the search for exchanges is over."""

FILLS, PASSES = 3, 4
"""Jobs whose best option no longer fits are asked again for the best of those that do; then exchanges are sought."""


def round_at(relaxed: Relaxed, prices: Real, warm: Int | None = None, bound: float = np.inf, gap: float = 0.0) -> Int:
    """int64[n]: an assignment within the rows, found greedily at `prices` and mended by local search.

    The search ends within `gap` of `bound`, which must be the one that `prices` prove. Where `warm` (an earlier
    assignment) fits and is worth more than the greedy one, the search starts from it.
    """
    reduced = relaxed.reduced(prices)
    gain, _ = relaxed.best(reduced)
    left = relaxed.available.astype(np.int64).copy()
    option = np.full(relaxed.jobs, NONE, dtype=np.int64)
    uses = relaxed.use_ptr, relaxed.use_row, relaxed.use_amount
    for _ in range(FILLS):
        fits = _best_that_fit(relaxed.ptr, reduced, uses, left, option)
        fits = fits[fits != NONE]
        if not len(fits):
            break
        _fill(_by_density(relaxed, reduced, prices, fits), relaxed.owner, uses, left, option)
    others = np.flatnonzero(np.isfinite(relaxed.utility) & (option[relaxed.owner] == NONE))
    _fill(_by_density(relaxed, reduced, prices, others), relaxed.owner, uses, left, option)
    if warm is not None and relaxed.value(warm) > relaxed.value(option):
        usage = relaxed.usage(warm)
        if (usage <= relaxed.available).all() and np.isfinite(relaxed.value(warm)):
            option, left = warm.copy(), relaxed.available - usage
    trials = np.array([TRIALS], dtype=np.int64)
    for _ in range(PASSES):
        moved = bool(_move(relaxed.ptr, relaxed.utility, uses, left, option))
        value = relaxed.value(option)
        if value >= bound * (1 - gap) or trials[0] <= 0:
            break
        candidates, holders = _undecided(relaxed, gain, reduced, bound - value, option)
        if len(holders[1]):
            tables = relaxed.ptr, relaxed.owner, relaxed.utility, uses
            moved |= bool(_exchange(candidates, holders, tables, left, option, trials))
        if not moved:
            break
    return option


def _undecided(relaxed: Relaxed, gain: Real, reduced: Real, slack: float, option: Int) -> tuple[Int, tuple[Int, Int]]:
    """Options that a better assignment could have, and for each row the jobs in it that could hold something else in
    one, cheapest first: offsets int64[r + 1] and jobs.

    At most bound - (what a job's best is worth more) is the value of any assignment that gives a job another option.
    """
    open_ = np.isfinite(relaxed.utility) & (gain[relaxed.owner] - reduced <= slack)
    choices = np.bincount(relaxed.owner[open_], minlength=relaxed.jobs) + (gain <= slack)
    jobs = np.flatnonzero((choices > 1) & (option != NONE))
    jobs = jobs[np.argsort(relaxed.utility[option[jobs]], kind="stable")]
    held = option[jobs]
    use_ptr, use = spans(relaxed.use_ptr[held], np.diff(relaxed.use_ptr)[held])
    row = relaxed.use_row[use]
    ptr = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=len(relaxed.available))))).astype(np.int64)
    return np.flatnonzero(open_), (ptr, np.repeat(jobs, np.diff(use_ptr))[np.argsort(row, kind="stable")])


def _by_density(relaxed: Relaxed, reduced: Real, prices: Real, options: Int) -> Int:
    """The options in the order of what they gain beyond their price for that price; equal ones by their job."""
    options = np.sort(options)
    least = 1e-12 * max(1.0, float(prices.max(initial=0.0)))
    density = np.round(reduced[options] / np.maximum(relaxed.utility[options] - reduced[options], least), 9)
    return options[np.argsort(-density, kind="stable")]


def _jit(function: Any) -> Any:
    try:
        from numba import njit
    except ImportError:
        return function
    return njit(cache=True)(function)


@_jit
def _fits(o: int, uses: Any, left: Int) -> bool:
    use_ptr, use_row, use_amount = uses
    for u in range(use_ptr[o], use_ptr[o + 1]):  # noqa: SIM110 - Numba compiles loops, not generators
        if use_amount[u] > left[use_row[u]]:
            return False
    return True


@_jit
def _take(o: int, uses: Any, left: Int, sign: int) -> None:
    use_ptr, use_row, use_amount = uses
    for u in range(use_ptr[o], use_ptr[o + 1]):
        left[use_row[u]] -= sign * use_amount[u]


@_jit
def _fill(order: Int, owner: Int, uses: Any, left: Int, option: Int) -> None:
    for o in order:
        job = owner[o]
        if option[job] == -1 and _fits(o, uses, left):
            _take(o, uses, left, 1)
            option[job] = o


@_jit
def _best_that_fit(ptr: Int, reduced: Real, uses: Any, left: Int, option: Int) -> Int:
    """int64[n]: of each job without an option the one of most use for its price that fits, -1 where none gains."""
    found = np.full(len(ptr) - 1, -1)
    for job in range(len(ptr) - 1):
        if option[job] == -1:
            most = 0.0
            for o in range(ptr[job], ptr[job + 1]):
                if reduced[o] > most and _fits(o, uses, left):
                    found[job], most = o, reduced[o]
    return found


@_jit
def _sound(o: int, uses: Any, left: Int) -> bool:
    """Whether no row of the option is overdrawn, -1 being none: giving up a negative amount takes from its row."""
    if o != -1:
        use_ptr, use_row, _ = uses
        for u in range(use_ptr[o], use_ptr[o + 1]):
            if left[use_row[u]] < 0:
                return False
    return True


@_jit
def _swap(old: int, new: int, uses: Any, left: Int) -> bool:
    """Take `new` instead of `old`, each an option or -1, if no row is overdrawn then; otherwise change nothing."""
    if old != -1:
        _take(old, uses, left, -1)
    if new != -1:
        _take(new, uses, left, 1)
    if _sound(old, uses, left) and _sound(new, uses, left):
        return True
    if new != -1:
        _take(new, uses, left, -1)
    if old != -1:
        _take(old, uses, left, 1)
    return False


@_jit
def _move(ptr: Int, utility: Real, uses: Any, left: Int, option: Int) -> bool:
    """Each job to the best of its options that fits in what is free and what it holds itself."""
    moved = False
    for job in range(len(ptr) - 1):
        for o in range(ptr[job], ptr[job + 1]):
            worth = utility[option[job]] if option[job] != -1 else 0.0
            if utility[o] > worth and _swap(option[job], o, uses, left):
                option[job] = o
                moved = True
    return moved


@_jit
def _exchange(candidates: Int, holders: Any, tables: Any, left: Int, option: Int, trials: Int) -> bool:
    """A better option for one job, against whatever one other job then takes instead of what it holds."""
    _, owner, utility, _ = tables
    moved = False
    for o in candidates:
        if trials[0] <= 0:
            break
        job = owner[o]
        worth = utility[option[job]] if option[job] != -1 else 0.0
        if utility[o] > worth:
            moved |= _displace(job, o, utility[o] - worth, holders, tables, left, option, trials)
    return moved


@_jit
def _narrowest(o: int, uses: Any, left: Int, row_ptr: Int) -> int:
    """The row that the option overdraws with the fewest holders, -1 where it overdraws none."""
    use_ptr, use_row, _ = uses
    best = -1
    for u in range(use_ptr[o], use_ptr[o + 1]):
        row = use_row[u]
        if left[row] < 0 and (best == -1 or row_ptr[row + 1] - row_ptr[row] < row_ptr[best + 1] - row_ptr[best]):
            best = row
    return best


@_jit
def _displace(job: int, o: int, gain: float, holders: Any, tables: Any, left: Int, option: Int, trials: Int) -> bool:
    """Let the first other job make room whose loss, after its best way out, is below the gain."""
    ptr, _, utility, uses = tables
    row_ptr, jobs = holders
    held = option[job]
    if held != -1:
        _take(held, uses, left, -1)
    _take(o, uses, left, 1)
    row = _narrowest(o, uses, left, row_ptr)
    if row == -1 and held != -1:
        row = _narrowest(held, uses, left, row_ptr)  # what it gave back had been taken from others: a negative amount
    for other in jobs[row_ptr[row] : row_ptr[row + 1]] if row != -1 else jobs[:0]:
        trials[0] -= 1
        lost = option[other]
        if other == job or lost == -1:
            continue
        _take(lost, uses, left, -1)
        if _sound(o, uses, left) and _sound(held, uses, left) and _sound(lost, uses, left):
            instead, kept = -1, 0.0
            for second in range(ptr[other], ptr[other + 1]):
                if utility[second] > kept and _fits(second, uses, left):
                    instead, kept = second, utility[second]
            if gain > utility[lost] - kept + 1e-9 * gain:
                option[other] = instead
                if instead != -1:
                    _take(instead, uses, left, 1)
                option[job] = o
                return True
        _take(lost, uses, left, 1)
    _take(o, uses, left, -1)
    if held != -1:
        _take(held, uses, left, 1)
    return False
