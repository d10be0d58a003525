"""Where a job may go on: where its progress can be taken, and where it has not run out of memory."""

from scheduler.engine.options import OptionRow
from scheduler.engine.records import JobRecord
from scheduler.model.accelerators import Catalog
from scheduler.model.jobs import Moves
from scheduler.model.lifecycle import AttemptEnd
from scheduler.model.reasons import Reason, ReasonCode

__all__ = ["may_continue_on", "move_reason"]


def may_continue_on(job: JobRecord, row: OptionRow, catalog: Catalog) -> bool:
    return move_reason(job, row, catalog) is None


def move_reason(job: JobRecord, row: OptionRow, catalog: Catalog) -> Reason | None:
    """Why the job's saved progress cannot be taken to the option, or None. A job without progress may go anywhere where
    it has not run out of memory yet, with as many devices or more."""
    crowded = _ran_out_of_memory(job, row)
    if crowded is not None:
        return crowded
    if job.done <= 0 or not job.attempts:
        return None
    held = job.attempts[-1].allocation.chosen
    wanted = row.option.chosen
    if all(a.accelerator == b.accelerator for a, b in zip(held, wanted, strict=True)):
        if job.spec.moves is Moves.NEVER and held != wanted:
            return Reason(code=ReasonCode.MOVE_NOT_ALLOWED, accelerator=wanted[0].accelerator)
        return None
    if job.spec.moves is Moves.ANY:
        checkpoint = job.spec.checkpoint
        if checkpoint is not None and checkpoint.portable:
            return None
        return Reason(code=ReasonCode.CHECKPOINT_NOT_PORTABLE, accelerator=wanted[0].accelerator)
    if job.spec.moves is Moves.SAME_FAMILY:
        family = {a.name: a.family for a in catalog}
        if all(family[a.accelerator] == family[b.accelerator] for a, b in zip(held, wanted, strict=True)):
            return None
    return Reason(code=ReasonCode.MOVE_NOT_ALLOWED, accelerator=wanted[0].accelerator)


def _ran_out_of_memory(job: JobRecord, row: OptionRow) -> Reason | None:
    for attempt in job.attempts:
        if attempt.how is not AttemptEnd.OUT_OF_MEMORY:
            continue
        for held, wanted in zip(attempt.allocation.chosen, row.option.chosen, strict=True):
            if wanted.accelerator == held.accelerator and wanted.amount <= held.amount:
                name, need = wanted.accelerator, held.count + 1
                return Reason(code=ReasonCode.MEMORY_FLOOR, accelerator=name, need=need, have=wanted.count)
    return None
