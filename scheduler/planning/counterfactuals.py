"""Which change would start a job sooner: every candidate is tried on a copy of the state by the engine that decides.

A change that starts the job in this very cycle is proved by that cycle. Any other is followed through a forecast until
the job starts. Effort is bounded by numbers of trials and events, so that the same question has the same answer; `stop`
lets a service end it early.
"""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from msgspec import Struct

from scheduler.engine import intake
from scheduler.engine.engine import Decision, Engine
from scheduler.engine.image import decode
from scheduler.engine.records import JobRecord
from scheduler.engine.state import State
from scheduler.errors import DualtrackError
from scheduler.model.allocations import Allocation, Chosen
from scheduler.model.events import ActionRequested, Actor, Allocated, JobAction, JobUpdated, StopOrdered
from scheduler.model.jobs import Job
from scheduler.planning.changes import Change, changes_of, run_time_us
from scheduler.simulator.forecast import DEFAULT_HORIZON_US, Budget, forecast

__all__ = ["Asked", "Counterfactuals", "Effort", "Proposal", "counterfactuals", "enter"]

VICTIMS_SIZE: Final = 3.0
"""How much larger a change counts for which others would have to leave; as the sizes in `changes`, a convention."""


class Asked(Struct, frozen=True, kw_only=True):
    """The job in question: an accepted one by its `number`, or one that `actor` would submit now."""

    number: int = -1
    job: Job | None = None
    actor: Actor = Actor("", "", authenticated=False)


class Effort(Struct, frozen=True, kw_only=True):
    """How much may be tried: candidates in one cycle each, forecasts, and what one forecast may cost."""

    candidates: int = 40
    forecasts: int = 8
    budget: Budget = Budget(events=50_000, cycles=5_000, wall_s=3.0)


class Proposal(Struct, frozen=True, kw_only=True):
    """A change with what it was seen to bring. `sooner_us` None: without it the job was not seen to start at all.

    `run_us` where work and rate tell it. `victims` are jobs that would be told to leave in the first cycle.
    """

    change: Change
    start_us: int
    chosen: tuple[Chosen, ...]
    sooner_us: int | None = None
    run_us: int | None = None
    victims: tuple[int, ...] = ()


class Counterfactuals(Struct, frozen=True, kw_only=True):
    """`proposals`: each starts sooner than every smaller one. `start_us`: without any change, or None.

    `complete` is False where effort or time ran out before every candidate was tried.
    """

    start_us: int | None
    proposals: tuple[Proposal, ...]
    tried: int
    forecasts: int
    complete: bool


class _Seen(Struct, frozen=True):
    """What became of the job in one trial."""

    start_us: int
    chosen: tuple[Chosen, ...]
    victims: tuple[int, ...]


def counterfactuals(
    image: bytes, asked: Asked, now_us: int, *, effort: Effort | None = None, stop: Callable[[], bool] | None = None
) -> Counterfactuals:
    """Proposals for the job, smallest change first. `image` is of a state, see `engine.image`."""
    effort, stopped = effort or Effort(), stop or (lambda: False)
    trials = _Trials(image, asked, now_us, effort, stopped)
    start_us = trials.present_start_us()
    found = trials.at_once()
    found += trials.later(found, start_us)
    return Counterfactuals(
        start_us=start_us,
        proposals=tuple(_frontier(found, start_us)),
        tried=trials.tried,
        forecasts=trials.forecasts,
        complete=trials.complete,
    )


def enter(engine: Engine, asked: Asked, change: Change | None, now_us: int) -> int:
    """Put the job into the engine's state, with the change if there is one; returns its number.

    An accepted job is updated, or cancelled and submitted again, as its user would do it. Raises what that would raise.
    """
    state = engine.state
    if asked.job is not None:
        return _submit(engine, change.job if change else asked.job, asked.actor, now_us)
    record = state.jobs[asked.number]
    if change is None:
        return asked.number
    if change.in_place:
        engine.fold(_updated(record, change.job), now_us)
        return asked.number
    engine.fold(ActionRequested(record.number, JobAction.CANCEL, record.actor), now_us)
    return _submit(engine, change.job, record.actor, now_us)


def _submit(engine: Engine, job: Job, actor: Actor, now_us: int) -> int:
    number = len(engine.state.jobs)
    for event in intake.submission(engine.state, job, actor, lambda: f"asked-{number}", now_us):
        engine.fold(event, now_us)
    return number


def _updated(record: JobRecord, job: Job) -> JobUpdated:
    return JobUpdated(
        record.number,
        record.actor,
        priority=job.priority if job.priority != record.priority else None,
        time_limit_us=job.time_limit_us if job.time_limit_us != record.time_limit_us else None,
        moves=job.moves if job.moves is not record.spec.moves else None,
    )


class _Trials:
    """One question: every trial begins from a copy of the same state and leaves nothing behind."""

    def __init__(self, image: bytes, asked: Asked, now_us: int, effort: Effort, stop: Callable[[], bool]) -> None:
        self.asked = asked
        self.now_us = now_us
        self.effort = effort
        self.stop = stop
        self.tried = self.forecasts = 0
        self.complete = True
        self.state = decode(image)
        self.job, self._has_progress = _job_as_it_stands(self.state, asked)
        found = changes_of(self.state, self.job, now_us, has_progress=self._has_progress)
        self.complete = len(found) <= effort.candidates
        self.candidates = found[: effort.candidates]

    def present_start_us(self) -> int | None:
        seen = self._in_this_cycle(None)
        if isinstance(seen, _Seen):
            return seen.start_us
        after = None if seen is None else self._followed(*seen)
        return None if after is None else after.start_us

    def at_once(self) -> list[Proposal]:
        """Changes with which the job starts in this very cycle. The others are kept for `later`."""
        found: list[Proposal] = []
        self._waiting: list[tuple[Change, State, int, tuple[int, ...]]] = []
        for change in self.candidates:
            if self.stop():
                self.complete = False
                break
            self.tried += 1
            seen = self._in_this_cycle(change)
            if isinstance(seen, _Seen):
                found.append(self._proposal(change, seen))
            elif seen is not None:
                self._waiting.append((change, *seen))
        return found

    def later(self, found: list[Proposal], start_us: int | None) -> list[Proposal]:
        """Changes smaller than any that starts the job at once, followed through a forecast for as long as it could
        show an earlier start than without any change, or with a smaller one."""
        smallest = min((_size(p.change, p.victims) for p in found), default=float("inf"))
        best_us = start_us
        more: list[Proposal] = []
        for change, state, number, victims in sorted(self._waiting, key=lambda entry: _size(entry[0], entry[3])):
            if _size(change, victims) >= smallest:
                break
            if self.forecasts >= self.effort.forecasts or self.stop():
                self.complete = False
                break
            seen = self._followed(state, number, victims, best_us)
            if seen is not None and (best_us is None or seen.start_us < best_us):
                more.append(self._proposal(change, seen))
                best_us = seen.start_us
        return more

    def _in_this_cycle(self, change: Change | None) -> "_Seen | tuple[State, int, tuple[int, ...]] | None":
        """What one cycle shows: a start; or the state after it, to be followed; None where it is not accepted."""
        engine = Engine(self.state.fork())
        try:
            number = enter(engine, self.asked, change, self.now_us)
        except DualtrackError:
            return None
        decision = engine.decide(self.now_us)
        victims = tuple(e.job for e in decision.events if isinstance(e, StopOrdered) and e.for_job == number)
        allocation = _allocated(decision, number)
        if allocation is not None:
            return _Seen(self.now_us, allocation.chosen, victims)
        for event in decision.events:
            engine.fold(event, self.now_us)
        return engine.state, number, victims

    def _followed(
        self, state: State, number: int, victims: tuple[int, ...], before_us: int | None = None
    ) -> _Seen | None:
        self.forecasts += 1
        horizon_us = DEFAULT_HORIZON_US if before_us is None else min(DEFAULT_HORIZON_US, before_us - self.now_us)
        budget = self.effort.budget
        told = forecast(state, self.now_us, horizon_us=horizon_us, budget=budget, until_started=number).of(number)
        if told is None or told.next_start_us is None:
            return None
        return _Seen(told.next_start_us, told.chosen, victims)

    def _proposal(self, change: Change, seen: _Seen) -> Proposal:
        part = seen.chosen[0]
        times = run_time_us(self.state, change.job, part.accelerator, part.count)
        run_us = None if times is None else times[0]
        return Proposal(change=change, start_us=seen.start_us, chosen=seen.chosen, run_us=run_us, victims=seen.victims)


def _size(change: Change, victims: tuple[int, ...]) -> float:
    return change.size + (VICTIMS_SIZE if victims else 0.0)


def _allocated(decision: Decision, number: int) -> Allocation | None:
    return next((e.allocation for e in decision.events if isinstance(e, Allocated) and e.job == number), None)


def _job_as_it_stands(state: State, asked: Asked) -> tuple[Job, bool]:
    """The job with what was changed since it was accepted, and whether it has run."""
    if asked.job is not None:
        return asked.job, False
    record = state.jobs[asked.number]
    updated = {"priority": record.priority, "time_limit_us": record.time_limit_us, "deadline_us": record.deadline_us}
    return msgspec.structs.replace(record.spec, **updated), bool(record.attempts)


def _frontier(found: list[Proposal], start_us: int | None) -> Iterator[Proposal]:
    """Smallest first, each one that starts the job sooner than all before it."""
    best_us = start_us
    for proposal in sorted(found, key=lambda p: (_size(p.change, p.victims), p.start_us)):
        if best_us is None or proposal.start_us < best_us:
            sooner_us = None if start_us is None else start_us - proposal.start_us
            yield msgspec.structs.replace(proposal, sooner_us=sooner_us)
            best_us = proposal.start_us
