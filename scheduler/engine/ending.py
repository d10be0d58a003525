"""What becomes of a job when an attempt has ended: from why it was stopped and how it ended to one trigger."""

from typing import Final

from scheduler.engine.records import Attempt, JobRecord
from scheduler.model.jobs import RetryOn, Work, WorkUnit
from scheduler.model.lifecycle import AttemptEnd, StopCause, Trigger

__all__ = ["after_end"]

_OURS: Final = frozenset({StopCause.PREEMPT, StopCause.RESIZE, StopCause.DRAIN, StopCause.REQUEUE})
"""We chose to stop it: it waits again, and no retry is counted."""

ROUNDING: Final = 1e-3
"""Of the amount, where the size of a step is not known."""

_INTERRUPTED: Final = frozenset({StopCause.START_TIMEOUT, StopCause.NODE_DOWN})


def after_end(job: JobRecord, attempt: Attempt, time_us: int) -> Trigger:
    """Decide, and book what was done, saved and lost on the job."""
    finished = _finished(job, attempt)
    trigger = _trigger(job, attempt, finished, time_us)
    if trigger is Trigger.ENDED_SUCCESS:
        job.done = max(attempt.done, job.spec.work.amount or 0.0)
    else:
        job.lost_work += max(0.0, attempt.done - attempt.saved)
        job.done = attempt.saved
    job.saved = max(job.saved, attempt.saved)
    job.exit_code = attempt.exit_code
    return trigger


def _finished(job: JobRecord, attempt: Attempt) -> bool:
    """Whether it ended by itself, or did its last step within the notice. Who was stopped farther past what was
    declared had declared too little: it goes on, for only the job knows when it is done."""
    if attempt.how is AttemptEnd.EXITED and attempt.exit_code == 0:
        return True
    work = job.spec.work
    if attempt.how is not AttemptEnd.PREEMPTED or work.amount is None:
        return False
    return work.amount <= attempt.done <= work.amount + max(_step(work), ROUNDING * work.amount)


def _step(work: Work) -> float:
    """What one step does, in the work's unit, as far as that is known: the last one may lead past the amount."""
    if work.unit is WorkUnit.STEPS:
        return 1.0
    length = work.model.seq_len if work.model is not None and work.unit is WorkUnit.TOKENS else 1
    return float(work.global_batch * length)


def _trigger(job: JobRecord, attempt: Attempt, finished: bool, time_us: int) -> Trigger:
    cause = attempt.stop
    if cause in (StopCause.CANCEL, StopCause.DEPENDENCY):
        job.detail = job.detail or cause.value
        return Trigger.ENDED_CANCEL
    if finished:
        return Trigger.ENDED_SUCCESS
    if cause is StopCause.SUSPEND:
        return Trigger.ENDED_HOLD
    if cause in _OURS:
        return Trigger.ENDED_RETRY
    if cause is StopCause.TIME_LIMIT:
        job.detail = "the time limit was reached"
        return Trigger.ENDED_FAILURE
    return _retry_or_fail(job, attempt, _kind(attempt), time_us)


def _kind(attempt: Attempt) -> RetryOn:
    if attempt.stop is StopCause.HUNG:
        return RetryOn.HUNG
    if attempt.stop in _INTERRUPTED or attempt.how in (AttemptEnd.LOST, AttemptEnd.PREEMPTED, AttemptEnd.KILLED):
        return RetryOn.INTERRUPTED
    if attempt.how is AttemptEnd.OUT_OF_MEMORY:
        return RetryOn.OUT_OF_MEMORY
    return RetryOn.FAILED


def _retry_or_fail(job: JobRecord, attempt: Attempt, kind: RetryOn, time_us: int) -> Trigger:
    retries = job.spec.retries
    if kind not in retries.on or job.retries_used >= retries.limit:
        job.detail = attempt.detail or kind.value
        return Trigger.ENDED_FAILURE
    doublings = min(job.retries_used, 40)  # 2 ** 40 times any back-off is past every bound
    job.retries_used += 1
    job.not_before_us = time_us + min(retries.backoff_us << doublings, retries.backoff_max_us)
    return Trigger.ENDED_RETRY
