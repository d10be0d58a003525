"""Why a job got nothing in this cycle: one reason, from what stood in the way of its best option."""

from scheduler.engine.snapshot import Snapshot
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.policies import NONE, Choice, Problem

__all__ = ["reason_for"]


def reason_for(snapshot: Snapshot, problem: Problem, choice: Choice, index: int, now_us: int) -> Reason:
    """The reason of the waiting job at `index` of the problem. `explain` tells all of them, for each option."""
    number = int(problem.number[index])
    rows = snapshot.rows_of[number]
    span = range(int(problem.ptr[index]), int(problem.ptr[index + 1]))
    if not span:
        return rows.excluded[0][1] if rows.excluded else Reason(code=ReasonCode.NOT_EVALUATED)
    best = min(span, key=lambda o: (int(problem.rank[o]), o))
    chosen = rows.rows[best - span.start].option.chosen[0]
    row = int(choice.blocked_by[index])
    if choice.option[index] != NONE:  # it was given an option, and the nodes had no room for the gang
        have = _idle(snapshot, rows.rows[int(choice.option[index]) - span.start].cell, chosen.accelerator)
        code = ReasonCode.FRAGMENTED if have >= chosen.count else ReasonCode.NO_ROOM
        return Reason(code=code, accelerator=chosen.accelerator, need=chosen.count, have=have)
    if row == NONE:
        return _nothing_open(snapshot, problem, index, best, now_us)
    if row < problem.capacity_rows:
        accelerator = snapshot.fleet.accelerators[row % len(snapshot.fleet.accelerators)]
        have = _idle(snapshot, row // len(snapshot.fleet.accelerators), accelerator)
        code = ReasonCode.BEHIND_IN_QUEUE if have >= chosen.count else ReasonCode.NO_ROOM
        return Reason(code=code, accelerator=accelerator, need=chosen.count, have=have)
    return _limited(snapshot, problem, index, row, chosen.accelerator)


def _idle(snapshot: Snapshot, cell: int, accelerator: str) -> int:
    return int(snapshot.room.free_on_shelves()[snapshot.fleet.shelf_of(cell, accelerator)])


def _limited(snapshot: Snapshot, problem: Problem, index: int, row: int, accelerator: str) -> Reason:
    """A limit of a tenant or user: `have` is what is left of it, in the limit's unit."""
    name = snapshot.rows.name(row)
    needs = [
        int(problem.use_amount[k])
        for o in range(int(problem.ptr[index]), int(problem.ptr[index + 1]))
        for k in range(int(problem.use_ptr[o]), int(problem.use_ptr[o + 1]))
        if int(problem.use_row[k]) == row
    ]
    code = ReasonCode.USER_LIMIT_IN_USE if ":user:" in name else ReasonCode.QUOTA_IN_USE
    who = name.partition(":")[0]
    limit = int(problem.available[row])
    return Reason(code=code, accelerator=accelerator, need=min(needs), have=limit, who=who)


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
    return Reason(code=ReasonCode.MOVE_NOT_ALLOWED, accelerator=rows[0].option.chosen[0].accelerator)
