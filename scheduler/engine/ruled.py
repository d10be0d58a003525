"""Rules on use, put into the problem that policies solve: prices on imported options, and rows for what is held.

Rules that observe change nothing. None of it touches what runs: rules never preempt.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.offers import Offers, cut, uses_of
from scheduler.engine.snapshot import Snapshot
from scheduler.engine.used_shares import UsedShare
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.rules import Mode
from scheduler.placement.gang import place
from scheduler.policies import NONE, Choice, Problem
from scheduler.quota.domestic_share import ShareStanding, barrier_price, least_price, share_coefficients

__all__ = ["Ruled", "apply_rules"]

LEAST_WORTH: Final = 0.02
"""The dearest imported option keeps this part of the worth of the best domestic one: the last choice, not none."""

Int = NDArray[np.int64]
Real = NDArray[np.float64]
Flag = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ruled:
    """`problem` with the rows and prices of the rules; rows from `first_row` on belong to `held_by`, one each.

    `adders` is float64[m], or empty: what an option costs more than the job's cheapest, as a part of its best speed.
    `prices` are the multipliers by rule.
    """

    problem: Problem
    first_row: int
    held_by: tuple[str, ...]
    adders: Real
    prices: tuple[tuple[str, float], ...]

    def strict(self) -> Problem:
        """Without the options that a rule limits, for whoever does not count rows."""
        if not self.held_by:
            return self.problem
        problem = self.problem
        limited = np.searchsorted(problem.use_ptr, np.flatnonzero(problem.use_row >= self.first_row), side="right") - 1
        is_open = problem.open.copy()
        is_open[limited] = False
        return replace(problem, open=is_open)

    def reason(self, snapshot: Snapshot, choice: Choice, index: int, now_us: int) -> Reason | None:
        """Why the waiting job at `index` waits, if a rule holds it or has closed all it could take; None otherwise."""
        row = int(choice.blocked_by[index])
        if row < self.first_row or choice.option[index] != NONE:
            number = int(self.problem.number[index])
            takes = [(r.option.chosen, r.cell) for r in snapshot.rows_of[number].rows]
            return snapshot.book.why_ended(snapshot.jobs[number].spec, takes, now_us)
        problem = self.problem
        span = range(int(problem.ptr[index]), int(problem.ptr[index + 1]))
        held = [o for o in span if row in problem.use_row[problem.use_ptr[o] : problem.use_ptr[o + 1]]]
        best = min(held, key=lambda o: (int(problem.rank[o]), o))
        chosen = snapshot.rows_of[int(problem.number[index])].rows[best - span.start].option.chosen[0]
        return Reason(
            code=ReasonCode.DOMESTIC_SHARE_HOLD,
            accelerator=chosen.accelerator,
            need=chosen.count,
            who=self.held_by[row - self.first_row],
        )


def apply_rules(
    snapshot: Snapshot, problem: Problem, now_us: int, multipliers: Mapping[str, float] | None = None
) -> Ruled:
    """The problem under the rules that act. Without any, it is the same object.

    `multipliers` are the prices of rules found for all jobs; without them they are found for those of the problem.
    """
    acting = [share for share in snapshot.book.shares if share.rule.mode is not Mode.OBSERVE]
    nothing = np.zeros(0)
    first_row = len(problem.available)
    standings = [(share, share.standing(now_us)) for share in acting]
    judged = [(share, standing) for share, standing in standings if standing.judged and share.rule.target > 0]
    if not judged or not len(problem.number):
        return Ruled(problem, first_row, (), nothing, ())
    offers = cut(snapshot, problem)
    held_by: list[str] = []
    prices: list[tuple[str, float]] = []
    adders, ruled = np.zeros(len(offers.option)), problem
    for share, standing in judged:
        about = _counted(snapshot, share, problem, offers)[offers.owner] & offers.open
        seconds = _seconds(snapshot, problem, offers, share.account.horizon_us(now_us))
        if share.rule.mode is Mode.PRICE:
            given = None if multipliers is None else multipliers.get(share.rule.id, 0.0)
            price, found = _priced(share, standing, offers, about, seconds, given)
            prices.append((share.rule.id, price))
            adders += found
        elif _idle_domestic_option(snapshot, problem, offers, about):
            used = share_coefficients(*offers.amounts(share.rule.measure), share.rule.target) * seconds
            takes = np.flatnonzero(about & (used > 0))
            ruled = _with_row(ruled, offers.option[takes], used[takes], max(0.0, standing.slack))
            held_by.append(share.rule.id)
    if adders.any():
        whole, rank = np.zeros(len(problem.open)), problem.rank.copy()
        within = _within_jobs(offers, adders)
        whole[offers.option] = within
        rank[offers.option] = _ranked(problem, offers, within)
        return Ruled(replace(ruled, rank=rank, adders=whole), first_row, tuple(held_by), whole, tuple(prices))
    return Ruled(ruled, first_row, tuple(held_by), nothing, tuple(prices))


def _counted(snapshot: Snapshot, share: UsedShare, problem: Problem, offers: Offers) -> Flag:
    """bool[w]: waiting jobs whose use counts for the rule."""
    if not share.rule.scope and not share.rule.exempt:
        return np.ones(len(offers.job), dtype=np.bool_)
    jobs = snapshot.jobs
    return np.fromiter((share.counts(jobs[n].spec.tenant) for n in problem.number[offers.job].tolist()), np.bool_)


def _seconds(snapshot: Snapshot, problem: Problem, offers: Offers, horizon_us: int) -> Real:
    """float64[k]: how long each option would run before the horizon."""
    left = snapshot.book.work_left(snapshot.jobs, problem.number[offers.job])
    return np.minimum(left[offers.owner] / np.maximum(problem.rate[offers.option], 1e-300), horizon_us / 1e6)


def _priced(
    share: UsedShare, standing: ShareStanding, offers: Offers, about: Flag, seconds: Real, given: float | None = None
) -> tuple[float, Real]:
    """The multiplier, and what it adds to each option (float64[k]).

    What an option costs is counted by the devices that it holds, not by how long it holds them: else those jobs would
    move first that are slowest on domestic devices, for they fill a window best.
    """
    rule, owner = share.rule, offers.owner
    imported, domestic = offers.amounts(rule.measure)
    coefficient = share_coefficients(imported, domestic, rule.target)
    size = np.maximum(offers.most((imported + domestic).astype(np.float64), offers.speed >= 1.0), 1.0)
    cost = np.where(about, coefficient / size[owner], 0.0)
    if given is not None:
        return given, given * cost
    ptr = np.concatenate(([0], np.cumsum(np.bincount(owner[about], minlength=len(offers.job)))))
    used = coefficient[about] * seconds[about]
    least, pays = least_price(rule, standing.slack, ptr, cost[about], used, offers.speed[about])
    barrier = barrier_price(rule, standing.forecast)
    return max(barrier, least), np.maximum(barrier, pays)[owner] * cost


def _within_jobs(offers: Offers, adders: Real) -> Real:
    """float64[k], at least 0: what an option costs more than the job's cheapest, but never all that it is worth.

    So a rule orders the options of a job and does not order jobs: one without a domestic option pays nothing, and no
    device idles because every use of it costs more than it is worth.
    """
    owner = offers.owner
    cheapest = -offers.most(np.where(offers.open, -adders, -np.inf))
    home = offers.most(offers.speed, offers.open & (offers.imported == 0))
    more = np.where(offers.open & (home[owner] > 0), adders - cheapest[owner], 0.0)
    return np.minimum(more, offers.speed * (1.0 - LEAST_WORTH * home[owner]))


def _ranked(problem: Problem, offers: Offers, adders: Real) -> Int:
    """int64[k]: the job's own order, but imported options that are worth less than its best domestic one come last."""
    foreign = offers.imported > 0
    value = np.round(offers.speed - adders, 9)
    home = offers.most(value, offers.open & ~foreign)
    last = foreign & (adders > 0) & (value <= home[offers.owner])
    order = np.lexsort((np.arange(len(value)), problem.rank[offers.option], last, offers.owner))
    rank = np.empty(len(value), dtype=np.int64)
    rank[order] = np.arange(len(value)) - offers.ptr[offers.owner[order]]
    return rank


def _idle_domestic_option(snapshot: Snapshot, problem: Problem, offers: Offers, about: Flag) -> bool:
    """Whether a waiting job could start at this moment on domestic devices that are idle."""
    places = np.flatnonzero(about & (offers.domestic > 0) & (offers.imported == 0))
    if not len(places):
        return False
    left = problem.available - _held(problem)
    left[: problem.capacity_rows] = snapshot.room.free_on_shelves()
    use, owner = uses_of(problem, offers.option[places])
    fits = np.ones(len(places), dtype=np.bool_)
    fits[owner[problem.use_amount[use] > left[problem.use_row[use]]]] = False
    tried = set()
    for found in places[fits].tolist():
        job, option = int(offers.job[offers.owner[found]]), int(offers.option[found])
        record = snapshot.jobs[int(problem.number[job])]
        row = snapshot.rows_of[record.number].rows[option - int(problem.ptr[job])]
        chosen, charge = row.option.chosen, row.option.charge
        tenant, user = snapshot.tenant_of(record), record.actor.user
        if snapshot.ledger.shortages(tenant, user, chosen, charge, record.spec.job_class):
            continue
        if (row.cell, row.demands) not in tried:
            tried.add((row.cell, row.demands))
            if place(snapshot.room, row.cell, row.demands) is not None:
                return True
    return False


def _held(problem: Problem) -> Int:
    """int64[rows]: what running jobs of the problem hold."""
    use, _ = uses_of(problem, problem.current[problem.current != NONE])
    weights, rows = problem.use_amount[use], problem.use_row[use]
    return np.bincount(rows, weights=weights, minlength=len(problem.available)).astype(np.int64)


def _with_row(problem: Problem, options: Int, used: Real, available: float) -> Problem:
    """One row more: the options take it, rounded up, so that no sum exceeds what is available."""
    amount = np.ceil(used - 1e-9).astype(np.int64)
    at = problem.use_ptr[options + 1]
    grown = np.zeros(len(problem.open) + 1, dtype=np.int64)
    grown[options + 1] = 1
    return replace(
        problem,
        use_ptr=problem.use_ptr + np.cumsum(grown),
        use_row=np.insert(problem.use_row, at, len(problem.available)),
        use_amount=np.insert(problem.use_amount, at, amount),
        available=np.append(problem.available, np.int64(available)),
    )
