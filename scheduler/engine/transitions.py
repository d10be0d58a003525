"""What each event changes. One rule per kind of event; `model.lifecycle.TRANSITIONS` says which are legal.

A rule changes the state and returns the commands that follow. Reports of an older attempt, of a smaller epoch or
already seen change nothing: that is what makes lost, repeated and reordered reports harmless.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec import structs

from scheduler.engine.ending import after_end
from scheduler.engine.launch import release_command, start_command, stop_command
from scheduler.engine.learned import answered_so_far
from scheduler.engine.progress import note_moves, note_progress
from scheduler.engine.reasons import key_of
from scheduler.engine.records import Attempt, JobRecord
from scheduler.engine.state import State
from scheduler.errors import TransitionError
from scheduler.model.commands import Command
from scheduler.model.events import (
    ActionRequested,
    Allocated,
    AttemptEnded,
    AttemptProgressed,
    AttemptStarted,
    CarriedOver,
    CellReachability,
    Configured,
    DependencyBroken,
    EpochStarted,
    Event,
    ForeignChanged,
    JobAction,
    JobSubmitted,
    JobUpdated,
    NodeStateChanged,
    ReasonsChanged,
    ReservationCancelled,
    ReservationMade,
    StopOrdered,
)
from scheduler.model.lifecycle import TERMINAL, TRANSITIONS, AttemptEnd, JobState, StopCause, Trigger
from scheduler.model.policy import Policy
from scheduler.model.reasons import ReasonCode

__all__ = ["fold", "notice_us"]

Commands = tuple[Command, ...]

STRENGTH: Final = {
    StopCause.PREEMPT: 0,
    StopCause.RESIZE: 0,
    StopCause.REQUEUE: 1,
    StopCause.DRAIN: 1,
    StopCause.SUSPEND: 2,
    StopCause.HUNG: 3,
    StopCause.START_TIMEOUT: 3,
    StopCause.NODE_DOWN: 3,
    StopCause.TIME_LIMIT: 4,
    StopCause.DEPENDENCY: 5,
    StopCause.CANCEL: 5,
}
"""A stronger cause replaces a weaker one on an attempt that is already stopping."""


def fold(state: State, event: Event, time_us: int) -> Commands:
    """Change `state` by one event. Raises TransitionError for an event that could not have happened."""
    commands = _RULES[type(event)](state, event, time_us)
    state.version += 1
    return commands


def notice_us(job: JobRecord, policy: Policy) -> int:
    """How long an attempt has between notice and kill: twice its save time, within the policy's bounds."""
    save_us = job.spec.checkpoint.save_us if job.spec.checkpoint else 0
    return min(max(2 * save_us, policy.notice_min_us), policy.notice_max_us)


def _move(state: State, job: JobRecord, trigger: Trigger, time_us: int) -> None:
    target = TRANSITIONS.get((job.state, trigger))
    if target is None:
        raise TransitionError(f"job {job.number} is {job.state} and cannot {trigger}", _story(job))
    if job.state is JobState.WAITING:
        job.waited_us += time_us - job.waiting_since_us
        job.reason = None
        state.book.note_reason(job, None, time_us)
        state.count_waiting(job, -1)
    job.state = target
    if target is JobState.WAITING:
        job.waiting_since_us = time_us
        state.count_waiting(job, 1)
    if target in TERMINAL:
        job.ended_us = time_us
        state.leave(job)
    state.touch(job, time_us)


def _story(job: JobRecord) -> tuple[str, ...]:
    """What befell the job, oldest first, for the error that says it cannot be."""
    lines = [f"submitted at {job.submitted_us} us as {job.id}"]
    for a in job.attempts:
        lines.append(f"attempt {a.n}: allocated {a.allocated_us}, started {a.started_us}, stop {a.stop}, ended {a.how}")
    return (*lines, f"now {job.state}")


def _epoch_started(state: State, event: EpochStarted, time_us: int) -> Commands:
    state.epoch = event.epoch
    return ()


def _configured(state: State, event: Configured, time_us: int) -> Commands:
    state.reconfigure(event)
    return ()


def _submitted(state: State, event: JobSubmitted, time_us: int) -> Commands:
    spec = event.spec
    if event.job != len(state.jobs):
        raise TransitionError(f"job {event.job} does not follow {len(state.jobs) - 1}")
    job = JobRecord(
        number=event.job,
        id=event.id,
        spec=spec,
        actor=event.actor,
        submitted_us=time_us,
        key=event.key,
        digest=event.digest,
        array=event.array,
        after=event.after,
        priority=spec.priority,
        time_limit_us=spec.time_limit_us,
        deadline_us=spec.deadline_us,
        waiting_since_us=time_us,
    )
    state.enter(job)
    state.watch(job, time_us)
    return ()


def _updated(state: State, event: JobUpdated, time_us: int) -> Commands:
    job = state.jobs[event.job]
    if not job.terminal:
        job.priority = job.priority if event.priority is None else event.priority
        job.time_limit_us = job.time_limit_us if event.time_limit_us is None else event.time_limit_us
        job.deadline_us = job.deadline_us if event.deadline_us is None else event.deadline_us
        if event.moves is not None:
            job.spec = structs.replace(job.spec, moves=event.moves)
            note_moves(state.columns, job)
            state.mark_moves(job)
        state.touch(job, time_us)
    return ()


def _action(state: State, event: ActionRequested, time_us: int) -> Commands:
    job = state.jobs[event.job]
    if job.terminal:
        return ()
    cause = {
        JobAction.CANCEL: StopCause.CANCEL,
        JobAction.SUSPEND: StopCause.SUSPEND,
        JobAction.REQUEUE: StopCause.REQUEUE,
    }.get(event.action)
    attempt = job.attempt
    if attempt is not None:
        if cause is None:
            return ()  # resume: it is not suspended
        return _stop(state, job, attempt, cause, time_us, time_us + notice_us(job, state.config.policy), -1)
    if event.action is JobAction.CANCEL:
        job.detail = f"cancelled by {event.actor.user}"
        _move(state, job, Trigger.CANCEL, time_us)
    elif event.action is JobAction.SUSPEND and job.state is JobState.WAITING:
        _move(state, job, Trigger.SUSPEND, time_us)
    elif event.action is JobAction.RESUME and job.state is JobState.SUSPENDED:
        _move(state, job, Trigger.RESUME, time_us)
    return ()


def _node_state(state: State, event: NodeStateChanged, time_us: int) -> Commands:
    state.room.set_state(event.node, event.state)
    return ()


def _foreign(state: State, event: ForeignChanged, time_us: int) -> Commands:
    state.foreign = event.foreign
    state.room.set_foreign(event.foreign)
    return ()


def _reachability(state: State, event: CellReachability, time_us: int) -> Commands:
    state.room.reachable[state.fleet.cells.index(event.cell)] = event.reachable
    return ()


def _reserved(state: State, event: ReservationMade, time_us: int) -> Commands:
    state.windows.forget_past(time_us)
    state.windows.add(event.reservation)
    state.watch_windows(time_us)
    return ()


def _unreserved(state: State, event: ReservationCancelled, time_us: int) -> Commands:
    state.windows.remove(event.id)
    state.watch_windows(time_us)
    return ()


def _allocated(state: State, event: Allocated, time_us: int) -> Commands:
    job = state.jobs[event.job]
    if event.attempt != len(job.attempts) + 1 or event.epoch != state.epoch:
        raise TransitionError(f"attempt {event.attempt} of epoch {event.epoch} cannot follow", _story(job))
    cell = int(state.fleet.cell[event.allocation.grants[0].node])
    attempt = Attempt(
        n=event.attempt,
        epoch=event.epoch,
        cell=state.fleet.cells[cell],
        allocation=event.allocation,
        allocated_us=time_us,
        done_at_start=job.done,
        done=job.done,
        saved=job.saved,
    )
    job.attempts.append(attempt)
    state.hold(job, attempt)
    _move(state, job, Trigger.ALLOCATE, time_us)
    return (start_command(state, job, attempt),)


def _reported(
    state: State, event: AttemptStarted | AttemptProgressed | AttemptEnded, *, closing: bool = False
) -> tuple[JobRecord, Attempt] | None:
    """The live attempt that the report is of, or None if the report is late, repeated or of a fenced epoch."""
    if not 0 <= event.job < len(state.jobs):
        return None
    job = state.jobs[event.job]
    attempt = job.attempt
    if attempt is None or attempt.n != event.attempt or attempt.epoch != event.epoch:
        return None
    if event.seq <= attempt.seq and not closing:
        return None
    attempt.seq = max(attempt.seq, event.seq)
    return job, attempt


def _started(state: State, event: AttemptStarted, time_us: int) -> Commands:
    found = _reported(state, event)
    if found is not None:
        job, attempt = found
        attempt.endpoints = event.endpoints
        _note_started(state, job, attempt, time_us)
        state.learn(job, attempt)
    return ()


def _note_started(state: State, job: JobRecord, attempt: Attempt, time_us: int) -> None:
    if attempt.started_us is None:
        attempt.started_us = time_us
        attempt.last_progress_us = time_us
    if job.state is JobState.STARTING:
        _move(state, job, Trigger.STARTED, time_us)


def _progressed(state: State, event: AttemptProgressed, time_us: int) -> Commands:
    found = _reported(state, event)
    if found is None:
        return ()
    job, attempt = found
    _note_started(state, job, attempt, time_us)  # a started report may have been lost
    state.book.progress(job, attempt, time_us, float(event.done), absolute=_is_absolute(state, job))
    if event.done > attempt.done:
        attempt.last_progress_us = time_us
    attempt.done = max(attempt.done, float(event.done))
    attempt.saved = max(attempt.saved, min(float(event.saved), attempt.done))
    attempt.rate = float(event.rate)
    attempt.overruns = event.overruns
    if event.came and job.spec.service is not None:
        attempt.answered = answered_so_far(attempt, event, time_us)
    note_progress(state.columns, job)
    state.learn(job, attempt)
    if event.loss is not None:
        attempt.loss = event.loss
        attempt.first_loss = event.loss if attempt.first_loss is None else attempt.first_loss
    if job.spec.no_progress_timeout_us is not None:
        state.touch(job, time_us)
    return ()


def _is_absolute(state: State, job: JobRecord) -> bool:
    """Whether the forecast rate of what the job holds is in its own unit of work."""
    held = int(state.columns.job("current")[job.number])
    return held >= 0 and state.rows_of[job.number].rows[held].option.rate.absolute


def _ended(state: State, event: AttemptEnded, time_us: int) -> Commands:
    # the end counts even if a later report overtook it: an executor sends it once per attempt
    found = _reported(state, event, closing=True)
    if found is None:
        return ()
    job, attempt = found
    amount = job.spec.work.amount
    if event.how is AttemptEnd.EXITED and event.exit_code == 0 and amount is not None:
        state.book.progress(job, attempt, time_us, amount, absolute=_is_absolute(state, job))
    attempt.ended_us = time_us
    attempt.how = event.how
    attempt.exit_code = event.exit_code
    attempt.detail = event.detail
    if attempt.started_us is not None:
        job.ran_us += time_us - attempt.started_us
    state.let_go(job, attempt)
    state.learn(job, attempt)
    trigger = after_end(job, attempt, time_us)
    _move(state, job, trigger, time_us)
    if not job.terminal:
        state.mark_moves(job)
    return (release_command(job, attempt),)


def _stop_ordered(state: State, event: StopOrdered, time_us: int) -> Commands:
    job = state.jobs[event.job]
    attempt = job.attempt
    if attempt is None or attempt.n != event.attempt:
        return ()
    return _stop(state, job, attempt, event.cause, time_us, event.deadline_us, event.for_job)


def _stop(
    state: State, job: JobRecord, attempt: Attempt, cause: StopCause, time_us: int, deadline_us: int, for_job: int
) -> Commands:
    if attempt.stop is None or STRENGTH[cause] > STRENGTH[attempt.stop]:
        attempt.stop = cause
        attempt.stop_for = for_job
    if job.state is JobState.STOPPING:
        # an earlier deadline holds, unless even its grace is over and the kill has to be sent once more
        expired = time_us >= attempt.stop_deadline_us
        attempt.stop_deadline_us = deadline_us if expired else min(deadline_us, attempt.stop_deadline_us)
    else:
        attempt.stop_us = time_us
        attempt.stop_deadline_us = deadline_us
    _move(state, job, Trigger.STOP, time_us)
    return (stop_command(job, attempt, cause, attempt.stop_deadline_us - time_us),)


def _dependency_broken(state: State, event: DependencyBroken, time_us: int) -> Commands:
    job = state.jobs[event.job]
    if job.state is JobState.WAITING:
        job.detail = "a job that it comes after did not end as required"
        _move(state, job, Trigger.ABANDON, time_us)
    return ()


def _reasons(state: State, event: ReasonsChanged, time_us: int) -> Commands:
    for number, reason in event.reasons:
        job = state.jobs[number]
        if job.state is JobState.WAITING:
            job.reason = reason
            state.columns.job("reason")[number] = key_of(reason)
            state.book.note_reason(job, reason, time_us)
            if reason.code is ReasonCode.DOMESTIC_SHARE_HOLD:
                state.touch(job, time_us)  # to look again soon: what the rule waits for may be gone by then
    return ()


def _carried(state: State, event: CarriedOver, time_us: int) -> Commands:
    if event.adds:
        kept = dict(state.prices) | dict(event.prices)
        for name in event.gone:
            kept.pop(name, None)
        state.prices = tuple(sorted(kept.items()))
    else:
        state.prices = event.prices
    return ()


_RULES: Final[dict[type, Callable[[State, Any, int], Commands]]] = {
    EpochStarted: _epoch_started,
    Configured: _configured,
    JobSubmitted: _submitted,
    JobUpdated: _updated,
    ActionRequested: _action,
    NodeStateChanged: _node_state,
    ForeignChanged: _foreign,
    CellReachability: _reachability,
    ReservationMade: _reserved,
    ReservationCancelled: _unreserved,
    AttemptStarted: _started,
    AttemptProgressed: _progressed,
    AttemptEnded: _ended,
    Allocated: _allocated,
    StopOrdered: _stop_ordered,
    DependencyBroken: _dependency_broken,
    ReasonsChanged: _reasons,
    CarriedOver: _carried,
}
