"""After a restart: what the journal says against what the executors hold. Neither is believed alone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from scheduler.engine.launch import release_command, start_command, stop_command
from scheduler.engine.records import Attempt, JobRecord
from scheduler.engine.state import State
from scheduler.model.commands import Command, Release, Stop
from scheduler.model.events import AttemptEnded, Event
from scheduler.model.lifecycle import AttemptEnd, JobState, StopCause
from scheduler.ports import AttemptStatus

__all__ = ["reconcile"]


def reconcile(
    state: State, statuses: Mapping[str, Sequence[AttemptStatus]], now_us: int
) -> tuple[tuple[Event, ...], tuple[Command, ...]]:
    """Events to record, and commands to send, so that executors and state agree again.

    `statuses` holds the cells whose executor answered; of the others nothing is concluded. What runs is adopted by
    leaving it alone. A start without a trace is sent again: it may never have arrived, and starts are idempotent. An
    attempt that had started and is gone is lost. What nobody asked for is stopped and released.
    """
    events: list[Event] = []
    commands: list[Command] = []
    for cell, listed in statuses.items():
        found = {(status.job_id, status.attempt): status for status in listed}
        for job in state.holding():
            attempt = job.attempt
            if attempt is None or attempt.cell != cell:
                continue
            status = found.pop((job.id, attempt.n), None)
            if status is None:
                _without_trace(state, job, attempt, events, commands)
            elif job.state is JobState.STOPPING and not status.ended:
                cause = attempt.stop or StopCause.REQUEUE
                commands.append(stop_command(job, attempt, cause, attempt.stop_deadline_us - now_us))
        commands.extend(_orphans(state, cell, found.values()))
    return tuple(events), tuple(commands)


def _without_trace(
    state: State, job: JobRecord, attempt: Attempt, events: list[Event], commands: list[Command]
) -> None:
    if job.state is JobState.STARTING:
        commands.append(start_command(state, job, attempt))
        return
    detail = "gone when the scheduler came back"
    events.append(AttemptEnded(job.number, attempt.n, attempt.epoch, attempt.seq + 1, AttemptEnd.LOST, detail=detail))


def _orphans(state: State, cell: str, statuses: Iterable[AttemptStatus]) -> Iterator[Command]:
    for status in statuses:
        number = state.by_id.get(status.job_id)
        known = number is not None and any(a.n == status.attempt for a in state.jobs[number].attempts)
        if known and number is not None:
            attempt = next(a for a in state.jobs[number].attempts if a.n == status.attempt)
            if attempt.ended_us is not None and status.ended:
                yield release_command(state.jobs[number], attempt)
                continue
        if not status.ended:
            yield Stop(
                job=status.job,
                attempt=status.attempt,
                epoch=status.epoch,
                job_id=status.job_id,
                cell=cell,
                notice_us=0,
                cause=StopCause.CANCEL.value,
            )
        yield Release(job=status.job, attempt=status.attempt, epoch=status.epoch, job_id=status.job_id, cell=cell)
