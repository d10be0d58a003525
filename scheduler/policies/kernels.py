"""The loops over all jobs at given prices: compiled by Numba where it is there, the same over arrays where it is not.

A job that must reach a throughput at least cost walks along the lower hull of the points (throughput, cost) of its
options, from idle (0, 0) on, so it never mixes more than two neighbours on that hull.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COMPILED", "costs", "hungriest", "picks", "spend", "spread", "taken", "used"]

Int = NDArray[np.int64]
Real = NDArray[np.float64]

COMPILED = find_spec("numba") is not None


def _jit(function: Any) -> Any:
    if not COMPILED:
        return function
    from numba import njit

    return njit(cache=True)(function)


def costs(use_ptr: Int, use_row: Int, use_amount: Int, prices: Real, compiled: bool = COMPILED) -> Real:
    """float64[m]: what each option costs at `prices` float64[r] for the whole of the time."""
    if compiled:
        found = np.empty(len(use_ptr) - 1)
        _costs(use_ptr, use_row, use_amount, prices, found)
        return found
    owner = np.repeat(np.arange(len(use_ptr) - 1), np.diff(use_ptr))
    return np.bincount(owner, weights=prices[use_row] * use_amount, minlength=len(use_ptr) - 1).astype(np.float64)


def used(use_ptr: Int, use_row: Int, use_amount: Int, share: Real, rows: int, compiled: bool = COMPILED) -> Real:
    """float64[r]: what the shares float64[m] take of each row."""
    if compiled:
        found = np.zeros(rows)
        _used(use_ptr, use_row, use_amount, share, found)
        return found
    taken = np.repeat(share, np.diff(use_ptr)) * use_amount
    return np.bincount(use_row, weights=taken, minlength=rows).astype(np.float64)


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


def spend(ptr: Int, speed: Real, cost: Real, demand: Real, growth: Real, compiled: bool = COMPILED) -> tuple[Real, ...]:
    """Least cost of all demands float64[n] together, its rise where each demand rises by `growth`, and the rise of the
    cost of each job per unit of its throughput, float64[n]: three arrays, the first two of one element."""
    if compiled:
        slope, sums = np.empty(len(demand)), np.zeros(2)
        _spend(ptr, speed, cost, demand, growth, slope, sums)
        return sums[:1], sums[1:], slope
    _, _, _, spent, slope = _hull(ptr, speed, cost, demand)
    return np.array([spent.sum()]), np.array([(slope * growth).sum()]), slope


def spread(ptr: Int, speed: Real, cost: Real, demand: Real, compiled: bool = COMPILED) -> Real:
    """float64[m]: the shares with which each job reaches its demand at least cost."""
    share = np.zeros(len(speed))
    if compiled:
        _spread(ptr, speed, cost, demand, share)
        return share
    low, high, part, _, _ = _hull(ptr, speed, cost, demand)
    share[high[high >= 0]] = part[high >= 0]
    share[low[low >= 0]] = 1 - part[low >= 0]
    return share


def _hull(ptr: Int, speed: Real, cost: Real, demand: Real) -> tuple[Int, Int, Real, Real, Real]:
    """The hull's point before each demand and the one after it (options, -1 for idle), the share of the latter, the
    cost, and its rise per unit of throughput."""
    n, width = len(demand), int(np.diff(ptr).max(initial=0))
    place = ptr[:-1, None] + np.arange(width)
    there = place < ptr[1:, None]
    place = np.where(there, place, 0)
    rate, price = np.where(there, speed[place], 0.0), np.where(there, cost[place], 0.0)
    low, high = np.full(n, -1, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    part, slope, at_rate, at_cost = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    spent, open_ = np.zeros(n), np.arange(n)
    while len(open_):
        ahead = rate[open_] - at_rate[open_, None]
        rise = np.full(ahead.shape, np.inf)
        np.divide(price[open_] - at_cost[open_, None], ahead, out=rise, where=ahead > 0)
        least = rise.min(axis=1, initial=np.inf)
        tops = np.where((rise == least[:, None]) & (ahead > 0), rate[open_], -1.0)
        best = tops.argmax(axis=1) if width else np.zeros(len(open_), dtype=np.int64)
        ends = ~np.isfinite(least)  # at its fastest: asked for more by a rounding error at most
        done, best, least, go = open_[ends], best[~ends], least[~ends], open_[~ends]
        spent[done] = at_cost[done]
        high[done], part[done], low[done] = low[done], 1.0, -1
        reach = rate[go, best]
        slope[go] = least
        stop = reach >= demand[go]
        now = go[stop]
        part[now] = (demand[now] - at_rate[now]) / (reach[stop] - at_rate[now])
        spent[now] = at_cost[now] + least[stop] * (demand[now] - at_rate[now])
        high[now] = ptr[now] + best[stop]
        open_ = go[~stop]
        low[open_] = ptr[open_] + best[~stop]
        at_rate[open_], at_cost[open_] = reach[~stop], price[open_, best[~stop]]
    return low, high, part, spent, slope


@_jit
def _costs(use_ptr: Int, use_row: Int, use_amount: Int, prices: Real, found: Real) -> None:
    for o in range(len(found)):
        total = 0.0
        for u in range(use_ptr[o], use_ptr[o + 1]):
            total += prices[use_row[u]] * use_amount[u]
        found[o] = total


@_jit
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


@_jit
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


@_jit
def _taken(use_ptr: Int, use_row: Int, use_amount: Int, option: Int, found: Int) -> None:
    for o in option:
        if o >= 0:
            for u in range(use_ptr[o], use_ptr[o + 1]):
                found[use_row[u]] += use_amount[u]


@_jit
def _used(use_ptr: Int, use_row: Int, use_amount: Int, share: Real, found: Real) -> None:
    for o in range(len(share)):
        if share[o] > 0:
            for u in range(use_ptr[o], use_ptr[o + 1]):
                found[use_row[u]] += share[o] * use_amount[u]


@_jit
def _ahead(first: int, last: int, speed: Real, cost: Real, at_rate: float, at_cost: float) -> int:
    """The next point of the hull, -1 where there is none."""
    best, least = -1, np.inf
    for o in range(first, last):
        if speed[o] > at_rate:
            rise = (cost[o] - at_cost) / (speed[o] - at_rate)
            if rise < least or (rise == least and speed[o] > speed[best]):
                best, least = o, rise
    return best


@_jit
def _spend(ptr: Int, speed: Real, cost: Real, demand: Real, growth: Real, slope: Real, sums: Real) -> None:
    for i in range(len(demand)):
        at_rate, at_cost, rise = 0.0, 0.0, 0.0
        while True:
            o = _ahead(ptr[i], ptr[i + 1], speed, cost, at_rate, at_cost)
            if o == -1:
                break
            rise = (cost[o] - at_cost) / (speed[o] - at_rate)
            if speed[o] >= demand[i]:
                at_cost += rise * (demand[i] - at_rate)
                break
            at_rate, at_cost = speed[o], cost[o]
        slope[i] = rise
        sums[0] += at_cost
        sums[1] += rise * growth[i]


@_jit
def _spread(ptr: Int, speed: Real, cost: Real, demand: Real, share: Real) -> None:
    for i in range(len(demand)):
        at, at_rate, at_cost = -1, 0.0, 0.0
        while True:
            o = _ahead(ptr[i], ptr[i + 1], speed, cost, at_rate, at_cost)
            if o == -1:
                if at != -1:
                    share[at] = 1.0
                break
            if speed[o] >= demand[i]:
                part = (demand[i] - at_rate) / (speed[o] - at_rate)
                share[o] = part
                if at != -1:
                    share[at] = 1.0 - part
                break
            at, at_rate, at_cost = o, speed[o], cost[o]
