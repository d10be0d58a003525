"""How far each job is, as columns: what policies weigh jobs by, kept by each event that tells of it."""

from typing import Final

from scheduler.engine.columns import Columns
from scheduler.engine.records import Attempt, JobRecord
from scheduler.model.jobs import Job, Moves, Prefer
from scheduler.model.units import FOREVER_US, US_PER_S, WHOLE_DEVICE

__all__ = ["MOVES", "PREFERENCES", "note_moves", "note_progress", "standing_of"]

MOVES: Final = tuple(Moves)
PREFERENCES: Final = tuple(Prefer)


def standing_of(job: JobRecord, tenant: int) -> dict[str, object]:
    """Columns that stay as they are while the job lives, but for `note_moves`, and those of `note_progress` as at its
    beginning."""
    spec = job.spec
    checkpoint, amount = spec.checkpoint, spec.work.amount
    save_us = checkpoint.save_us if checkpoint else 0
    return {
        "tenant": tenant,
        "service": spec.service is not None,
        "moves": MOVES.index(_reach(spec)),
        "prefer": PREFERENCES.index(spec.roles[0].resources.prefer),
        "amount": float("inf") if amount is None or spec.service is not None else amount,
        "declared": checkpoint is not None,
        "save_us": save_us,
        "overhead_us": save_us + checkpoint.restart_us if checkpoint else 0,
        "attained_s": sum((_device_seconds(a) for a in job.attempts), 0.0),
        "counted": sum(a.ended_us is not None for a in job.attempts),
        **_changing(job),
    }


def note_moves(columns: Columns, job: JobRecord) -> None:
    """The user has said anew how far the job may move."""
    columns.put(job.number, {"moves": MOVES.index(_reach(job.spec))})


def note_progress(columns: Columns, job: JobRecord) -> None:
    """Bring up to date what an event may have changed."""
    columns.put(job.number, _changing(job))
    if not job.attempts or job.attempts[-1].ended_us is None:
        return
    counted = columns.job("counted")
    for attempt in job.attempts[int(counted[job.number]) :]:  # jobs that move often have many, and few are new
        if attempt.ended_us is not None:
            columns.job("attained_s")[job.number] += _device_seconds(attempt)
            counted[job.number] += 1


def _changing(job: JobRecord) -> dict[str, object]:
    attempt = job.attempt
    started_us = attempt.started_us if attempt is not None else None
    runs = attempt is not None and started_us is not None
    return {
        "deadline_us": FOREVER_US if job.deadline_us is None else job.deadline_us,
        "done": job.done if attempt is None else attempt.done,
        "saved": job.saved if attempt is None else attempt.saved,
        "seen_us": attempt.last_progress_us if attempt is not None and runs else FOREVER_US,
        "pace": (attempt.rate or attempt.allocation.rate) if attempt is not None and runs else 0.0,
        "held_us": FOREVER_US if attempt is None else attempt.allocated_us,
    }


def _device_seconds(attempt: Attempt) -> float:
    """Of an attempt that has ended; 0 for one that holds devices still."""
    if attempt.ended_us is None:
        return 0.0
    devices = sum(chosen.count * chosen.thousandths for chosen in attempt.allocation.chosen) / WHOLE_DEVICE
    return devices * (attempt.ended_us - attempt.allocated_us) / US_PER_S


def _reach(spec: Job) -> Moves:
    """How far its progress can be taken."""
    if spec.moves is Moves.ANY and (spec.checkpoint is None or not spec.checkpoint.portable):
        return Moves.SAME_ACCELERATOR
    return spec.moves
