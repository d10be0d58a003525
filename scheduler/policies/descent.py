"""Newton's method on the bound: where many jobs share few rows, demand is nearly a smooth function of the prices.

The bound is convex and piecewise linear. Its slope at some prices is what the jobs leave of each row; the jobs whose
best two choices are nearly level are those that a move of the prices turns, so they tell how the slope changes (a
generalised Hessian, as in semismooth Newton methods; Qi and Sun, 1993). The first full steps come within a thousandth
of the best bound, and each costs one pass over the jobs.
"""

from dataclasses import dataclass

import numpy as np

from scheduler.policies.answers import rivals
from scheduler.policies.relaxed import Int, Real, Relaxed, spans

__all__ = ["Proposal", "descend"]

WIDE, NARROW = 0.3, 1e-4
"""Margins of jobs that count as nearly level, of a typical utility: at first, and never less."""

LEVEL = 1e-9
"""Margins of a smaller part of a typical utility are rounding errors."""

REACH = 8.0
"""They are narrowed to so many times what a step changes an option of typical amounts."""

DAMP, RIDGE, LEAST = 0.01, 1e-3, 1e-60
"""What is added to the diagonal: a part of itself, a part of its mean, and what keeps rows that nobody leaves in."""

FARTHEST = 0.5
"""A price may rise from nothing by that part of a typical utility."""

BACK, SHORTEST = 0.35, 0.01
STALLS = 4
"""So many times no step may lead down, or so little that it does not matter, before the search is over."""

DENSE = 64
"""Up to so many rows the equations are solved at once; beyond, by conjugate gradients."""

TURNS, RESIDUAL = 60, 1e-4


@dataclass(slots=True)
class Proposal:
    """What all jobs take at some prices: the bound there, its value and use, and who is how near to another choice."""

    prices: Real
    bound: float
    value: float
    usage: Int
    first: Int
    second: Int
    margin: Real

    def tied(self, typical: float) -> float:
        """The part of the jobs whose two best choices are level."""
        return float(np.mean(self.margin <= LEVEL * typical))

    @classmethod
    def at(cls, relaxed: Relaxed, prices: Real) -> "Proposal":
        uses = relaxed.use_ptr, relaxed.use_row, relaxed.use_amount
        gain, first, second, margin = rivals(relaxed.ptr, relaxed.utility, uses, prices)
        total, usage = float(gain.sum()), relaxed.usage(first)
        paid = float(prices @ usage)
        return cls(prices, total + float(prices @ relaxed.available), total + paid, usage, first, second, margin)


def descend(relaxed: Relaxed, start: Real, passes: int, gap: float) -> tuple[list[Proposal], bool]:
    """Proposals on the way down from the prices `start` float64[r], the best bound last, and whether it got there:
    whether the next step promises less than `gap` of the bound. It looks at all jobs `passes` times at most."""
    rows = relaxed.binding
    typical, amounts = relaxed.typical(), relaxed.typical_amounts()[rows]
    narrow = max(NARROW, 2 * len(rows) / relaxed.jobs) * typical
    width = max(WIDE * typical, narrow)
    at, stalls = Proposal.at(relaxed, start), 0
    found = [at]
    while passes > 0:
        move, promised, whole = _newton(relaxed, at, width, amounts, FARTHEST * typical)
        if whole and promised <= gap * at.bound:
            return found, True
        better, looks = _search(relaxed, at, rows, move)
        passes -= looks
        if better is None or at.bound - better.bound <= gap * at.bound:
            stalls += 1
            width = max(narrow, width / 2)
        if stalls == STALLS:
            break
        if better is None:
            continue
        changed = float(np.mean(np.abs(better.prices - at.prices)[rows] * amounts))
        width = min(width, max(REACH * changed, narrow))
        at = better
        found.append(at)
    return found, False


def _search(relaxed: Relaxed, at: Proposal, rows: Int, move: Real) -> tuple[Proposal | None, int]:
    """The first point with a lower bound on the way back from the end of the move, and how many were tried."""
    length, looks = 1.0, 0
    while length > SHORTEST:
        looks += 1
        prices = at.prices.copy()
        prices[rows] = np.maximum(0.0, prices[rows] + length * move)
        there = Proposal.at(relaxed, prices)
        if there.bound < at.bound:
            return there, looks
        length *= BACK
    return None, looks


def _newton(relaxed: Relaxed, at: Proposal, width: float, amounts: Real, farthest: float) -> tuple[Real, float, bool]:
    """The move of the prices of rows that can bind, how much the bound should fall, and whether it is all of the move:
    no price may more than double, or go beyond `farthest` for the row's typical amount. Rows that are free and unwanted
    stay so.

    A job of margin m counts as (1 - m / width) / width turned jobs for each unit by which the move levels its choices.
    Rows are measured in their typical amounts: money and devices differ by a factor of millions.
    """
    rows = relaxed.binding
    slope = (relaxed.available - at.usage)[rows] / amounts
    priced = (at.prices[rows] > 0) | (slope < 0)
    slope = np.where(priced, slope, 0.0)
    near = np.flatnonzero(at.margin < width)
    weight = (1 - at.margin[near] / width) / width
    place = np.full(len(relaxed.available), -1, dtype=np.int64)
    place[rows[priced]] = np.flatnonzero(priced)
    job, row, amount = _differences(relaxed, at.first[near], at.second[near], place)
    move = np.where(priced, _solved((job, row, amount / amounts[row]), weight, -slope), 0.0)
    most = np.maximum(at.prices[rows] * amounts, farthest)
    whole = bool((np.abs(move) <= most).all())
    cut = np.clip(move, -most, most)
    if slope @ cut >= 0:  # cut row by row it leads up
        cut = move * float(np.min(most / np.maximum(np.abs(move), most)))
    return cut / amounts, -0.5 * float(slope @ cut), whole


def _differences(relaxed: Relaxed, first: Int, second: Int, place: Int) -> tuple[Int, Int, Real]:
    """Entries (job, row, amount) of what each job takes at its best choice less what it takes at the next one."""
    job, row, amount = [], [], []
    for option, sign in ((first, 1.0), (second, -1.0)):
        has = np.flatnonzero(option >= 0)
        begin = relaxed.use_ptr[option[has]]
        count = relaxed.use_ptr[option[has] + 1] - begin
        _, entry = spans(begin, count)
        job.append(np.repeat(has, count))
        row.append(place[relaxed.use_row[entry]])
        amount.append(sign * relaxed.use_amount[entry])
    jobs, rows, amounts = np.concatenate(job), np.concatenate(row), np.concatenate(amount)
    kept = rows >= 0
    return jobs[kept], rows[kept], amounts[kept]


def _solved(turned: tuple[Int, Int, Real], weight: Real, wanted: Real) -> Real:
    """x with (D' W D + damping) x = wanted, D being the differences and W the weights."""
    job, row, amount = turned
    rows = len(wanted)
    diagonal = np.bincount(row, weights=amount**2 * weight[job], minlength=rows)
    damped = RIDGE * float(diagonal.mean()) + DAMP * diagonal + LEAST
    if rows <= DENSE:
        dense = np.zeros((len(weight), rows))
        np.add.at(dense, (job, row), amount)
        return np.linalg.solve(dense.T @ (weight[:, None] * dense) + np.diag(damped), wanted).astype(np.float64)
    x, residual = np.zeros(rows), wanted.copy()
    scaled = residual / (diagonal + damped)
    ahead, size = scaled.copy(), float(residual @ scaled)
    least = RESIDUAL * size
    for _ in range(TURNS):
        if size <= least:
            break
        across = np.bincount(job, weights=amount * ahead[row], minlength=len(weight)) * weight
        pushed = np.bincount(row, weights=amount * across[job], minlength=rows) + damped * ahead
        length = size / float(ahead @ pushed)
        x += length * ahead
        residual -= length * pushed
        scaled = residual / (diagonal + damped)
        before, size = size, float(residual @ scaled)
        ahead = scaled + (size / before) * ahead
    return x
