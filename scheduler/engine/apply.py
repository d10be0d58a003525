"""From a plan to decisions: feasibility is asked once more, and each change becomes an event to be recorded."""

from collections.abc import Iterator

from scheduler.engine.state import State
from scheduler.errors import PlanRejectedError
from scheduler.model.events import (
    Allocated,
    AttemptEnded,
    CarriedOver,
    DependencyBroken,
    Event,
    ReasonsChanged,
    StopOrdered,
)
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.plan import Plan, PlannedStart
from scheduler.placement.feasibility import admits
from scheduler.placement.room import Room
from scheduler.quota.ledger import Ledger

__all__ = ["decisions"]


def decisions(state: State, plan: Plan) -> tuple[Event, ...]:
    """The plan as events, in the order in which they are to be folded.

    Raises PlanRejectedError for a plan of another version, or one that the state as it is does not admit.
    """
    if plan.version != state.version:
        raise PlanRejectedError(f"the plan is of version {plan.version}, the state is at {state.version}")
    return (*_ends(state, plan), *_starts(state, plan), *_notes(state, plan))


def _ends(state: State, plan: Plan) -> Iterator[Event]:
    for number in plan.lost:
        attempt = state.jobs[number].attempt
        if attempt is None:
            raise PlanRejectedError(f"job {number} holds nothing that could be lost")
        detail = "no sign of life after the notice ran out"
        yield AttemptEnded(number, attempt.n, attempt.epoch, attempt.seq + 1, AttemptEnd.LOST, detail=detail)
    for number in plan.broken:
        yield DependencyBroken(number)
    for stop in plan.stops:
        attempt = state.jobs[stop.job].attempt
        if attempt is None:
            raise PlanRejectedError(f"job {stop.job} holds nothing that could be stopped")
        yield StopOrdered(stop.job, attempt.n, state.epoch, stop.cause, stop.deadline_us, stop.for_job)


def _starts(state: State, plan: Plan) -> Iterator[Event]:
    room = state.room.fork(indexed=False)
    payers = [(state.tenant_of(state.jobs[start.job]), start.allocation) for start in plan.starts]
    ledger = None if state.ledger.admits_all(payers) else state.ledger.fork()
    for start in plan.starts:
        _check(state, room, ledger, start, plan.now_us)
        priced = state.priced(start.allocation, plan.now_us)
        yield Allocated(start.job, len(state.jobs[start.job].attempts) + 1, state.epoch, priced)


def _check(state: State, room: Room, ledger: Ledger | None, start: PlannedStart, now_us: int) -> None:
    """`room` and `ledger` are as the starts before have left them; no ledger where no limit is in anybody's way."""
    job, allocation = state.jobs[start.job], start.allocation
    if job.state is not JobState.WAITING:
        raise PlanRejectedError(f"job {start.job} is {job.state} and cannot start")
    if not admits(room, allocation.grants):
        raise PlanRejectedError(f"job {start.job} does not fit where the plan puts it")
    room.take(allocation.grants)
    if ledger is not None:
        tenant, user = state.tenant_of(job), job.actor.user
        if ledger.shortages(tenant, user, allocation.chosen, allocation.charge, allocation.job_class):
            raise PlanRejectedError(f"job {start.job} exceeds a limit of its tenant")
        ledger.add(tenant, user, allocation)
    if state.windows.keep_off(job, state.rows_of[start.job].rows, allocation, now_us):
        raise PlanRejectedError(f"job {start.job} would still run when its nodes are reserved")


def _notes(state: State, plan: Plan) -> Iterator[Event]:
    if plan.reasons:
        yield ReasonsChanged(plan.reasons)
    if plan.prices != state.prices:
        changed = tuple(sorted(set(plan.prices) - set(state.prices)))
        gone = tuple(sorted(dict(state.prices).keys() - dict(plan.prices).keys()))
        few = len(changed) + len(gone) < len(plan.prices) // 2
        yield CarriedOver(changed, adds=True, gone=gone) if few else CarriedOver(plan.prices)
