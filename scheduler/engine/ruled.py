"""Rules on use, put into the problem that policies solve: prices on imported options, and rows for what is held.

Rules that observe change nothing. None of it touches what runs: rules never preempt.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.snapshot import Snapshot
from scheduler.engine.used_shares import UsedShare
from scheduler.model.jobs import MAX_ROLES
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.rules import Measure, Mode
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

    `adders` is float64[m]: what an option costs more than the job's cheapest, as a part of the job's own best speed.
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
        limited = np.zeros(len(problem.open), dtype=np.bool_)
        limited[_owners(problem)[problem.use_row >= self.first_row]] = True
        return replace(problem, open=problem.open & ~limited)

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


def apply_rules(snapshot: Snapshot, problem: Problem, now_us: int) -> Ruled:
    """The problem under the rules that act. Without any, it is the same object."""
    acting = [share for share in snapshot.book.shares if share.rule.mode is not Mode.OBSERVE]
    adders = np.zeros(len(problem.open), dtype=np.float64)
    first_row = len(problem.available)
    if not acting or not len(problem.number):
        return Ruled(problem, first_row, (), adders, ())
    waiting = problem.current == NONE
    held_by: list[str] = []
    prices: list[tuple[str, float]] = []
    ruled = problem
    for share in acting:
        standing = share.standing(now_us)
        if not standing.judged or share.rule.target <= 0:
            continue
        about = waiting & _counted(snapshot, share, problem)
        imported, domestic = _amounts(snapshot, problem, share.rule.measure)
        seconds = _seconds(snapshot, problem, about, share.account.horizon_us(now_us))
        if share.rule.mode is Mode.PRICE:
            price, found = _priced(share, standing, problem, about, (imported, domestic), seconds)
            prices.append((share.rule.id, price))
            adders += found
        elif _idle_domestic_option(snapshot, problem, about, imported, domestic):
            used = np.maximum(share_coefficients(imported, domestic, share.rule.target), 0.0) * seconds
            ruled = _with_row(ruled, np.where(about[_jobs(problem)], used, 0.0), max(0.0, standing.slack))
            held_by.append(share.rule.id)
    if adders.any():
        imported, _ = _amounts(snapshot, problem, Measure.DEVICE_HOURS)
        adders = _within_jobs(problem, adders, imported > 0)
        ruled = replace(ruled, rank=_ranked(problem, adders, imported > 0), adders=adders)
    return Ruled(ruled, first_row, tuple(held_by), adders, tuple(prices))


def _jobs(problem: Problem) -> Int:
    """int64[m]: the job of each option."""
    return np.repeat(np.arange(len(problem.number)), np.diff(problem.ptr))


def _owners(problem: Problem) -> Int:
    """int64[nnz]: the option of each use."""
    return np.repeat(np.arange(len(problem.open)), np.diff(problem.use_ptr))


def _counted(snapshot: Snapshot, share: UsedShare, problem: Problem) -> Flag:
    """bool[n]: jobs whose use counts for the rule."""
    if not share.rule.scope and not share.rule.exempt:
        return np.ones(len(problem.number), dtype=np.bool_)
    jobs = snapshot.jobs
    return np.fromiter((share.counts(jobs[n].spec.tenant) for n in problem.number.tolist()), np.bool_)


def _amounts(snapshot: Snapshot, problem: Problem, measure: Measure) -> tuple[Int, Int]:
    """int64[m], imported and domestic: thousandths of devices or compute units that each option takes.

    Rows of devices come first among those of an option, one for each of its few roles at most.
    """
    shelf_imported, shelf_units = snapshot.book.shelves()
    first, past = problem.use_ptr[:-1], problem.use_ptr[1:]
    imported, domestic = np.zeros(len(first), dtype=np.int64), np.zeros(len(first), dtype=np.int64)
    option = np.arange(len(first))
    for role in range(MAX_ROLES):
        option = option[first[option] + role < past[option]]
        use = first[option] + role
        row = problem.use_row[use]
        device = row < problem.capacity_rows
        option, use, row = option[device], use[device], row[device]
        if not len(option):
            break
        amount = problem.use_amount[use] * (1000 if measure is Measure.DEVICE_HOURS else shelf_units[row])
        foreign = shelf_imported[row]
        imported[option] += np.where(foreign, amount, 0)
        domestic[option] += np.where(foreign, 0, amount)
    return imported, domestic


def _seconds(snapshot: Snapshot, problem: Problem, about: Flag, horizon_us: int) -> Real:
    """float64[m]: how long each option of the jobs would run before the horizon; 0 for other jobs."""
    left = np.zeros(len(problem.number))
    left[about] = snapshot.book.work_left(snapshot.jobs, problem.number[about])
    return np.minimum(left[_jobs(problem)] / np.maximum(problem.rate, 1e-300), horizon_us / 1e6)


def _priced(
    share: UsedShare, standing: ShareStanding, problem: Problem, about: Flag, amounts: tuple[Int, Int], seconds: Real
) -> tuple[float, Real]:
    """The multiplier, and what it adds to each option (float64[m]).

    What an option costs is counted by the devices that it holds, not by how long it holds them: else those jobs would
    move first that are slowest on domestic devices, for they fill a window best.
    """
    rule, owner, n = share.rule, _jobs(problem), len(problem.number)
    coefficient = share_coefficients(*amounts, rule.target)
    looked_at = about[owner] & problem.open
    speed = _speeds(problem)
    size = np.ones(n)
    fastest = speed >= 1.0
    np.maximum.at(size, owner[fastest], (amounts[0] + amounts[1])[fastest])
    cost = np.where(looked_at, coefficient / size[owner], 0.0)
    ptr = np.concatenate(([0], np.cumsum(np.bincount(owner[looked_at], minlength=n))))
    used = coefficient * seconds
    least, pays = least_price(rule, standing.slack, ptr, cost[looked_at], used[looked_at], speed[looked_at])
    barrier = barrier_price(rule, standing.forecast)
    return max(barrier, least), np.maximum(barrier, pays)[owner] * cost


def _speeds(problem: Problem) -> Real:
    """float64[m]: rate over the job's best."""
    owner = _jobs(problem)
    best = np.zeros(len(problem.number))
    np.maximum.at(best, owner, problem.rate)
    found: Real = problem.rate / np.maximum(best[owner], 1e-300)
    return found


def _within_jobs(problem: Problem, adders: Real, imported: Flag) -> Real:
    """float64[m], at least 0: what an option costs more than the job's cheapest, but never all that it is worth.

    So a rule orders the options of a job and does not order jobs: one without a domestic option pays nothing, and no
    device idles because every use of it costs more than it is worth.
    """
    owner, speed = _jobs(problem), _speeds(problem)
    least = np.full(len(problem.number), np.inf)
    np.minimum.at(least, owner[problem.open], adders[problem.open])
    home = np.zeros(len(problem.number))
    mine = problem.open & ~imported
    np.maximum.at(home, owner[mine], speed[mine])
    more = np.where(problem.open & (home[owner] > 0), adders - least[owner], 0.0)
    return np.minimum(more, speed * (1.0 - LEAST_WORTH * home[owner]))


def _ranked(problem: Problem, adders: Real, imported: Flag) -> Int:
    """int64[m]: the job's own order, but imported options that are worth less than its best domestic one come last."""
    owner = _jobs(problem)
    value = np.round(_speeds(problem) - adders, 9)
    home = np.full(len(problem.number), -np.inf)
    mine = problem.open & ~imported
    np.maximum.at(home, owner[mine], value[mine])
    last = imported & (adders > 0) & (value <= home[owner])
    order = np.lexsort((np.arange(len(owner)), problem.rank, last, owner))
    rank = np.empty(len(owner), dtype=np.int64)
    rank[order] = np.arange(len(owner)) - problem.ptr[owner[order]]
    return rank


def _idle_domestic_option(snapshot: Snapshot, problem: Problem, about: Flag, imported: Int, domestic: Int) -> bool:
    """Whether a waiting job could start at this moment on domestic devices that are idle."""
    owner = _jobs(problem)
    options = about[owner] & problem.open & (domestic > 0) & (imported == 0)
    if not options.any():
        return False
    left = problem.available - _held(problem)
    left[: problem.capacity_rows] = snapshot.room.free_on_shelves()
    short = problem.use_amount > left[problem.use_row]
    options[_owners(problem)[short]] = False
    tried = set()
    for option in np.flatnonzero(options).tolist():
        job = int(owner[option])
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
    current = np.zeros(len(problem.open), dtype=np.bool_)
    current[problem.current[problem.current != NONE]] = True
    mine = current[_owners(problem)]
    found = np.bincount(problem.use_row[mine], weights=problem.use_amount[mine], minlength=len(problem.available))
    return found.astype(np.int64)


def _with_row(problem: Problem, used: Real, available: float) -> Problem:
    """One row more: options with a positive amount take it, rounded up, so that no sum exceeds what is available."""
    amount = np.ceil(used - 1e-9).astype(np.int64)
    takes = np.flatnonzero(amount > 0)
    at = problem.use_ptr[takes + 1]
    grown = np.zeros(len(problem.open) + 1, dtype=np.int64)
    grown[takes + 1] = 1
    return replace(
        problem,
        use_ptr=problem.use_ptr + np.cumsum(grown),
        use_row=np.insert(problem.use_row, at, len(problem.available)),
        use_amount=np.insert(problem.use_amount, at, amount[takes]),
        available=np.append(problem.available, np.int64(available)),
    )
