"""What time alone brings about: limits, time-outs, back-offs, options that open later."""

from collections.abc import Iterator

from scheduler.engine.options import JobRows
from scheduler.engine.records import JobRecord
from scheduler.model.lifecycle import JobState, StopCause
from scheduler.model.policy import Policy
from scheduler.model.reasons import ReasonCode
from scheduler.model.units import FOREVER_US, US_PER_S

__all__ = ["next_alarm", "overdue"]

RECHECK_US = 5 * US_PER_S
"""An overdue job whose stop was not carried out is looked at again after this."""

HOLD_RECHECK_US = 60 * US_PER_S
"""A start that a rule holds is looked at again after this, for no event tells when the rule lets go."""


def overdue(job: JobRecord, policy: Policy, now_us: int) -> StopCause | None:
    """Why the job's attempt must stop at `now_us`, the strongest cause first; for a stopping one, whose grace is over,
    the cause that it is stopping for."""
    attempt = job.attempt
    if attempt is None:
        return None
    if job.state is JobState.STOPPING:
        return attempt.stop if now_us >= attempt.stop_deadline_us + policy.stop_grace_us else None
    if job.state is JobState.STARTING:
        return StopCause.START_TIMEOUT if now_us >= attempt.allocated_us + policy.start_timeout_us else None
    started_us = attempt.started_us or attempt.allocated_us
    if job.time_limit_us is not None and now_us - started_us + job.ran_us >= job.time_limit_us:
        return StopCause.TIME_LIMIT
    patience = job.spec.no_progress_timeout_us
    if patience is not None and now_us - max(attempt.last_progress_us, started_us) >= patience:
        return StopCause.HUNG
    return None


def next_alarm(job: JobRecord, rows: JobRows, policy: Policy, now_us: int) -> int:
    """The first moment after `now_us` at which a cycle should look at the job though nothing happened."""
    if overdue(job, policy, now_us) is not None:
        return now_us + RECHECK_US
    if job.reason is not None and job.reason.code is ReasonCode.DOMESTIC_SHARE_HOLD:
        return now_us + HOLD_RECHECK_US
    return min((time for time in _moments(job, rows, policy) if time > now_us), default=FOREVER_US)


def _moments(job: JobRecord, rows: JobRows, policy: Policy) -> Iterator[int]:
    attempt = job.attempt
    if job.state is JobState.WAITING:
        yield job.not_before_us
        for wait_us in rows.opens_us:
            yield job.submitted_us + wait_us
    elif attempt is None:
        return
    elif job.state is JobState.STARTING:
        yield attempt.allocated_us + policy.start_timeout_us
    elif job.state is JobState.STOPPING:
        yield attempt.stop_deadline_us + policy.stop_grace_us
    else:
        started_us = attempt.started_us or attempt.allocated_us
        yield started_us + policy.min_run_us
        if job.time_limit_us is not None:
            yield started_us + job.time_limit_us - job.ran_us
        if job.spec.no_progress_timeout_us is not None:
            yield max(attempt.last_progress_us, started_us) + job.spec.no_progress_timeout_us
