"""What each job takes at given prices, in loops over all jobs: compiled by Numba where it is there, or over arrays."""

import numpy as np
from numpy.typing import NDArray

from scheduler.policies.kernels import COMPILED, costs, jit

__all__ = ["hungriest", "picks", "rivals", "taken"]

Int = NDArray[np.int64]
Real = NDArray[np.float64]


def hungriest(
    ptr: Int, live: NDArray[np.bool_], uses: tuple[Int, Int, Int], rows: int, compiled: bool = COMPILED
) -> Int:
    """int64[r]: what each row would lose if every job took the most of it that any of its live options takes."""
    use_ptr, use_row, use_amount = uses
    total = np.zeros(rows, dtype=np.int64)
    if compiled:
        scratch = np.zeros((2, rows), dtype=np.int64)
        _hungriest(ptr, live, use_ptr, use_row, use_amount, scratch, total)
        return total
    inside = np.repeat(live, np.diff(use_ptr))
    owner = np.repeat(np.repeat(np.arange(len(ptr) - 1), np.diff(ptr)), np.diff(use_ptr))
    cells, place = np.unique(owner[inside] * np.int64(max(rows, 1)) + use_row[inside], return_inverse=True)
    most = np.zeros(len(cells), dtype=np.int64)
    np.maximum.at(most, place, use_amount[inside])
    np.add.at(total, cells % max(rows, 1), most)
    return total


def picks(
    ptr: Int, utility: Real, uses: tuple[Int, Int, Int], prices: Real, compiled: bool = COMPILED
) -> tuple[Real, Int]:
    """The greatest utility less cost of each job, at least 0, and the first option that reaches it (-1: none does)."""
    use_ptr, use_row, use_amount = uses
    if compiled:
        gain, option = np.zeros(len(ptr) - 1), np.full(len(ptr) - 1, -1, dtype=np.int64)
        _picks(ptr, utility, use_ptr, use_row, use_amount, prices, gain, option)
        return gain, option
    reduced = utility - costs(use_ptr, use_row, use_amount, prices, compiled=False)
    gain, option = np.zeros(len(ptr) - 1), np.full(len(ptr) - 1, -1, dtype=np.int64)
    some = np.flatnonzero(np.diff(ptr))
    if len(some):
        gain[some] = np.maximum(np.maximum.reduceat(reduced, ptr[some]), 0.0)
    owner = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    reaches = np.flatnonzero((reduced >= gain[owner]) & (reduced > 0))[::-1]
    option[owner[reaches]] = reaches
    return gain, option


def rivals(
    ptr: Int, utility: Real, uses: tuple[Int, Int, Int], prices: Real, compiled: bool = COMPILED
) -> tuple[Real, Int, Int, Real]:
    """As `picks`, and for each job the next best, int64[n], -1 being none, and by how much it is behind, float64[n].

    A job that has no other option and holds nothing is infinitely far from any change.
    """
    use_ptr, use_row, use_amount = uses
    jobs = len(ptr) - 1
    gain, margin = np.zeros(jobs), np.full(jobs, np.inf)
    first, second = np.full(jobs, -1, dtype=np.int64), np.full(jobs, -1, dtype=np.int64)
    if compiled:
        _rivals(ptr, utility, use_ptr, use_row, use_amount, prices, gain, first, second, margin)
        return gain, first, second, margin
    gain, first = picks(ptr, utility, uses, prices, compiled=False)
    others = utility - costs(use_ptr, use_row, use_amount, prices, compiled=False)
    others[first[first >= 0]] = -np.inf
    some = np.flatnonzero(np.diff(ptr))
    next_ = np.where(first >= 0, 0.0, -np.inf)
    if len(some):
        next_[some] = np.maximum(next_[some], np.maximum.reduceat(others, ptr[some]))
    owner = np.repeat(np.arange(jobs), np.diff(ptr))
    reaches = (others >= next_[owner]) & np.isfinite(others) & ((first[owner] < 0) | (others > 0))
    at = np.flatnonzero(reaches)[::-1]
    second[owner[at]] = at
    return gain, first, second, gain - next_


def taken(uses: tuple[Int, Int, Int], option: Int, rows: int, compiled: bool = COMPILED) -> Int:
    """int64[r]: what the options int64[n] (-1 for none) take together of each row."""
    use_ptr, use_row, use_amount = uses
    found = np.zeros(rows, dtype=np.int64)
    if compiled:
        _taken(use_ptr, use_row, use_amount, option, found)
        return found
    chosen = np.zeros(len(use_ptr) - 1, dtype=np.bool_)
    chosen[option[option >= 0]] = True
    inside = np.repeat(chosen, np.diff(use_ptr))
    np.add.at(found, use_row[inside], use_amount[inside])
    return found


@jit
def _picks(
    ptr: Int, utility: Real, use_ptr: Int, use_row: Int, use_amount: Int, prices: Real, gain: Real, option: Int
) -> None:
    for i in range(len(gain)):
        for o in range(ptr[i], ptr[i + 1]):
            if utility[o] == -np.inf:
                continue
            cost = 0.0
            for u in range(use_ptr[o], use_ptr[o + 1]):
                cost += prices[use_row[u]] * use_amount[u]
            if utility[o] - cost > gain[i]:
                gain[i], option[i] = utility[o] - cost, o


@jit
def _rivals(
    ptr: Int,
    utility: Real,
    use_ptr: Int,
    use_row: Int,
    use_amount: Int,
    prices: Real,
    gain: Real,
    first: Int,
    second: Int,
    margin: Real,
) -> None:
    for i in range(len(gain)):
        best, next_, at, other = 0.0, -np.inf, -1, -1
        for o in range(ptr[i], ptr[i + 1]):
            if utility[o] == -np.inf:
                continue
            cost = 0.0
            for u in range(use_ptr[o], use_ptr[o + 1]):
                cost += prices[use_row[u]] * use_amount[u]
            net = utility[o] - cost
            if net > best:
                best, next_, at, other = net, best, o, at
            elif net > next_:
                next_, other = net, o
        gain[i], first[i], second[i], margin[i] = best, at, other, best - next_


@jit
def _hungriest(
    ptr: Int, live: NDArray[np.bool_], use_ptr: Int, use_row: Int, use_amount: Int, scratch: Int, total: Int
) -> None:
    seen, most = scratch[0], scratch[1]  # job that was there last, counted from 1, and the most that it takes
    for i in range(len(ptr) - 1):
        for o in range(ptr[i], ptr[i + 1]):
            if not live[o]:
                continue
            for u in range(use_ptr[o], use_ptr[o + 1]):
                row, amount = use_row[u], use_amount[u]
                if seen[row] != i + 1:
                    seen[row], most[row] = i + 1, 0
                if amount > most[row]:
                    total[row] += amount - most[row]
                    most[row] = amount


@jit
def _taken(use_ptr: Int, use_row: Int, use_amount: Int, option: Int, found: Int) -> None:
    for o in option:
        if o >= 0:
            for u in range(use_ptr[o], use_ptr[o + 1]):
                found[use_row[u]] += use_amount[u]
