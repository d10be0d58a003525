"""Why a job got nothing in this cycle: one reason, from what stood in the way of its best option."""

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.reasons import budget_reason, limited_resource
from scheduler.engine.snapshot import Snapshot
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.policies import NONE, Choice, Problem, entries_of

__all__ = ["limits_left", "reason_for"]

Int = NDArray[np.int64]


def limits_left(problem: Problem, choice: Choice) -> Int:
    """int64[rows]: what of each row the choice leaves."""
    taken = choice.option != NONE
    if problem.standing is not None:  # what runs is not among what there is to give
        taken &= problem.current == NONE
    _, row, amount = entries_of(problem, choice.option[taken])
    return problem.available - np.bincount(row, weights=amount, minlength=len(problem.available)).astype(np.int64)


def reason_for(snapshot: Snapshot, problem: Problem, choice: Choice, left: Int, index: int, now_us: int) -> Reason:
    """The reason of the waiting job at `index` of the problem, after a choice that leaves `left`, see `limits_left`.
    `explain` tells all of them, for each option."""
    number = int(problem.number[index])
    rows = snapshot.rows_of[number]
    span = range(int(problem.ptr[index]), int(problem.ptr[index + 1]))
    if not span:
        return rows.excluded[0][1] if rows.excluded else Reason(code=ReasonCode.NOT_EVALUATED)
    best = min(span, key=lambda o: (int(problem.rank[o]), o))
    chosen = rows.rows[best - span.start].option.chosen[0]
    row = int(choice.blocked_by[index])
    if choice.option[index] != NONE:  # it was given an option, and the nodes had no room for the gang
        reserved = _reserved(snapshot, number, now_us)
        if reserved is not None:
            return reserved
        have = _idle(snapshot, rows.rows[int(choice.option[index]) - span.start].cell, chosen.accelerator)
        code = ReasonCode.FRAGMENTED if have >= chosen.count else ReasonCode.NO_ROOM
        return Reason(code=code, accelerator=chosen.accelerator, need=chosen.count, have=have)
    if row == NONE:
        return _nothing_open(snapshot, problem, index, best, now_us)
    if row < problem.capacity_rows:
        accelerator = snapshot.fleet.accelerators[row % len(snapshot.fleet.accelerators)]
        have = _idle(snapshot, row // len(snapshot.fleet.accelerators), accelerator)
        code = ReasonCode.BEHIND_IN_QUEUE if have >= chosen.count else ReasonCode.NO_ROOM
        code = ReasonCode.OUTPRICED if choice.prices.get(row, 0.0) > 0 else code
        return Reason(code=code, accelerator=accelerator, need=chosen.count, have=have)
    return _limited(snapshot, problem, left, index, row, chosen.accelerator, now_us)


def _reserved(snapshot: Snapshot, number: int, now_us: int) -> Reason | None:
    """The reserved window that alone keeps the job, which found no room, off idle nodes."""
    rows = sorted(snapshot.rows_of[number].rows, key=lambda row: row.option.rank)
    return snapshot.windows.reason(snapshot.room, snapshot.jobs[number], rows, now_us)


def _idle(snapshot: Snapshot, cell: int, accelerator: str) -> int:
    return int(snapshot.idle[snapshot.fleet.shelf_of(cell, accelerator)])


def _limited(
    snapshot: Snapshot, problem: Problem, left: Int, index: int, row: int, accelerator: str, now_us: int
) -> Reason:
    """A limit of a tenant or user stands in the way.

    It stands for ever where no option that the job could still take stays within the limits; a limit that only the best
    option exceeds is no reason for a job that has another.
    """
    number = int(problem.number[index])
    first = int(problem.ptr[index])
    allowed = snapshot.columns.option("allowed")[int(snapshot.columns.job("first")[number]) :]
    options = [o for o in range(first, int(problem.ptr[index + 1])) if allowed[o - first]]
    possible = [o for o in options if _beyond(snapshot, problem, o) == NONE]
    if not possible:
        rows = [_beyond(snapshot, problem, o) for o in options]
        row = row if row in rows else rows[0]
        return _limit_reason(snapshot, problem, left, row, options, accelerator, for_ever=True)
    if any(row in _limits(problem, o) for o in possible):
        return _limit_reason(snapshot, problem, left, row, possible, accelerator, for_ever=False)
    option = snapshot.rows_of[number].rows[min(possible, key=lambda o: (int(problem.rank[o]), o)) - first]
    chosen = option.option.chosen[0]
    opens_us = snapshot.jobs[number].submitted_us + option.option.after_wait_us
    if opens_us > now_us:
        return Reason(code=ReasonCode.AFTER_WAIT, accelerator=chosen.accelerator, until_us=opens_us)
    have = _idle(snapshot, option.cell, chosen.accelerator)
    code = ReasonCode.BEHIND_IN_QUEUE if have >= chosen.count else ReasonCode.NO_ROOM
    return Reason(code=code, accelerator=chosen.accelerator, need=chosen.count, have=have)


def _limits(problem: Problem, option: int) -> dict[int, int]:
    """What the option takes from each row that is a limit."""
    span = slice(int(problem.use_ptr[option]), int(problem.use_ptr[option + 1]))
    pairs = zip(problem.use_row[span].tolist(), problem.use_amount[span].tolist(), strict=True)
    return {row: amount for row, amount in pairs if row >= problem.capacity_rows}


def _beyond(snapshot: Snapshot, problem: Problem, option: int) -> int:
    """The first limit that the option exceeds even when nothing else counts against it and all is in service that was
    promised, or NONE."""
    limits = _limits(problem, option)
    return next((row for row, amount in limits.items() if amount > snapshot.rows.promised(row)), NONE)


def _limit_reason(
    snapshot: Snapshot, problem: Problem, left: Int, row: int, options: list[int], accelerator: str, *, for_ever: bool
) -> Reason:
    name = snapshot.rows.name(row)
    budget = snapshot.rows.spent_budget(row, snapshot.ledger.spent)
    resource = limited_resource(snapshot.rows.resource(row), accelerator)
    if budget is not None and not for_ever:
        return budget_reason(budget, accelerator, _tenant(name), resource)
    if ":user:" in name:
        code = ReasonCode.USER_LIMIT_EXCEEDED if for_ever else ReasonCode.USER_LIMIT_IN_USE
    elif for_ever:
        code = ReasonCode.EXCEEDS_QUOTA if snapshot.rows.promised(row) else ReasonCode.QUOTA_ZERO
    else:
        code = ReasonCode.QUOTA_IN_USE
    need = min(amount for o in options for used, amount in _limits(problem, o).items() if used == row)
    unit, limit, spare = snapshot.rows.unit(row), snapshot.rows.promised(row), max(0, int(left[row]))
    tenant, _, user = name.partition(":user:")
    return Reason(
        code=code,
        accelerator=accelerator,
        need=-(-need // unit),
        have=(limit if for_ever else min(limit, spare)) // unit,
        who=user or _tenant(name),
        resource=resource,
        limit=limit // unit,
        used=-(-max(0, snapshot.rows.present(row, snapshot.ledger.limits) - spare) // unit),
        tenant=tenant if user else "",
    )


def _tenant(name: str) -> str:
    """Of the name of a limit."""
    return name.partition(":")[0]


def _nothing_open(snapshot: Snapshot, problem: Problem, index: int, best: int, now_us: int) -> Reason:
    number = int(problem.number[index])
    span = range(int(problem.ptr[index]), int(problem.ptr[index + 1]))
    rows = snapshot.rows_of[number].rows
    if any(problem.open[o] for o in span):
        accelerator = rows[best - span.start].option.chosen[0].accelerator
        return Reason(code=ReasonCode.BEHIND_IN_QUEUE, accelerator=accelerator)
    opens = [snapshot.jobs[number].submitted_us + row.option.after_wait_us for row in rows]
    later = [time for time in opens if time > now_us]
    if later:
        return Reason(code=ReasonCode.AFTER_WAIT, until_us=min(later))
    allowed = snapshot.columns.option("allowed")[int(snapshot.columns.job("first")[number]) :]
    masked = [row for row, may in zip(rows, allowed, strict=False) if may]
    reserved = _reserved(snapshot, number, now_us)
    if reserved is not None:
        return reserved
    if masked:  # the policy would have given it devices, but no node had them together with processors and memory
        chosen = masked[0].option.chosen[0]
        have = _idle(snapshot, masked[0].cell, chosen.accelerator)
        code = ReasonCode.FRAGMENTED if have >= chosen.count else ReasonCode.NO_ROOM
        return Reason(code=code, accelerator=chosen.accelerator, need=chosen.count, have=have)
    return Reason(code=ReasonCode.MOVE_NOT_ALLOWED, accelerator=rows[0].option.chosen[0].accelerator)
