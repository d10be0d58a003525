"""The loops over all jobs at given prices: compiled by Numba where it is there, the same over arrays where it is not.

A job that must reach a throughput at least cost walks along the lower hull of the points (throughput, cost) of its
options, from idle (0, 0) on, so it never mixes more than two neighbours on that hull.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COMPILED", "costs", "jit", "spend", "spread", "used"]

Int = NDArray[np.int64]
Real = NDArray[np.float64]

COMPILED = find_spec("numba") is not None


def jit(function: Any) -> Any:
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


def spend(
    options: tuple[Int, Real, Real], uses: tuple[Int, Int, Int], demand: Real, growth: Real, load: Real, compiled: bool
) -> tuple[float, float, Real]:
    """Least cost of all demands float64[n] together, its rise where each demand rises by `growth`, and the rise of the
    cost of each job per unit of its throughput, float64[n]. `options` are ptr, speed and cost. What is taken of each
    row is written to `load` float64[r]."""
    load[:] = 0.0
    if compiled:
        slope, sums = np.empty(len(demand)), np.zeros(2)
        _spend(*options, *uses, demand, growth, slope, sums, load)
        return float(sums[0]), float(sums[1]), slope
    low, high, part, spent, slope = _hull(*options, demand)
    load += used(*uses, _shares(low, high, part, len(options[1])), len(load), compiled=False)
    return float(spent.sum()), float((slope * growth).sum()), slope


def spread(ptr: Int, speed: Real, cost: Real, demand: Real, compiled: bool = COMPILED) -> Real:
    """float64[m]: the shares with which each job reaches its demand at least cost."""
    if compiled:
        share = np.zeros(len(speed))
        _spread(ptr, speed, cost, demand, share)
        return share
    low, high, part, _, _ = _hull(ptr, speed, cost, demand)
    return _shares(low, high, part, len(speed))


def _shares(low: Int, high: Int, part: Real, options: int) -> Real:
    share = np.zeros(options)
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


@jit
def _costs(use_ptr: Int, use_row: Int, use_amount: Int, prices: Real, found: Real) -> None:
    for o in range(len(found)):
        total = 0.0
        for u in range(use_ptr[o], use_ptr[o + 1]):
            total += prices[use_row[u]] * use_amount[u]
        found[o] = total


@jit
def _used(use_ptr: Int, use_row: Int, use_amount: Int, share: Real, found: Real) -> None:
    for o in range(len(share)):
        if share[o] > 0:
            for u in range(use_ptr[o], use_ptr[o + 1]):
                found[use_row[u]] += share[o] * use_amount[u]


@jit
def _ahead(first: int, last: int, speed: Real, cost: Real, at_rate: float, at_cost: float) -> int:
    """The next point of the hull, -1 where there is none."""
    best, least = -1, np.inf
    for o in range(first, last):
        if speed[o] > at_rate:
            rise = (cost[o] - at_cost) / (speed[o] - at_rate)
            if rise < least or (rise == least and speed[o] > speed[best]):
                best, least = o, rise
    return best


@jit
def _load(o: int, share: float, use_ptr: Int, use_row: Int, use_amount: Int, load: Real) -> None:
    for u in range(use_ptr[o], use_ptr[o + 1]):
        load[use_row[u]] += share * use_amount[u]


@jit
def _spend(
    ptr: Int,
    speed: Real,
    cost: Real,
    use_ptr: Int,
    use_row: Int,
    use_amount: Int,
    demand: Real,
    growth: Real,
    slope: Real,
    sums: Real,
    load: Real,
) -> None:
    for i in range(len(demand)):
        at, at_rate, at_cost, rise, left = -1, 0.0, 0.0, 0.0, 1.0
        while True:
            o = _ahead(ptr[i], ptr[i + 1], speed, cost, at_rate, at_cost)
            if o == -1:
                break
            rise = (cost[o] - at_cost) / (speed[o] - at_rate)
            if speed[o] >= demand[i]:
                part = (demand[i] - at_rate) / (speed[o] - at_rate)
                at_cost += rise * (demand[i] - at_rate)
                left = 1.0 - part
                _load(o, part, use_ptr, use_row, use_amount, load)
                break
            at, at_rate, at_cost = o, speed[o], cost[o]
        if at != -1:
            _load(at, left, use_ptr, use_row, use_amount, load)
        slope[i] = rise
        sums[0] += at_cost
        sums[1] += rise * growth[i]


@jit
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
