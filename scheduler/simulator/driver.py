"""The loop that a service runs, in virtual time: inputs are folded, a cycle decides, commands go to the world."""

import time
from collections.abc import Callable, Iterable, Mapping
from enum import Enum

from msgspec import Struct, field, structs

from scheduler.engine.engine import Engine
from scheduler.engine.intake import submission
from scheduler.engine.state import State
from scheduler.errors import ConflictError, DeniedError, DualtrackError, InfeasibleError, NotFoundError, OverloadedError
from scheduler.model.commands import Command, Start
from scheduler.model.events import Actor, AttemptEnded, AttemptProgressed, AttemptStarted, Event
from scheduler.model.units import FOREVER_US
from scheduler.model.workload import Arrival, Truth
from scheduler.ports import AttemptKey, Report
from scheduler.simulator.estimates import Basis, History, estimate
from scheduler.simulator.event_queue import EventQueue
from scheduler.simulator.execution import Happening, Overheads, Timer
from scheduler.simulator.world import World

__all__ = ["Driver", "Halt", "Refusal", "Tally", "seen"]

_REFUSALS = (ConflictError, DeniedError, InfeasibleError, NotFoundError, OverloadedError)
_ROUNDS_PER_INSTANT = 10_000
_FRUITLESS_INSTANTS = 10_000
"""After so many instants in a row with nothing but reports of progress, only what never ends is left."""


class Halt(Enum):
    """Why a run came to an end."""

    NOTHING_LEFT = "nothing_left"  # to happen, or only what never ends
    TIME = "time"
    STOPPED = "stopped"


class Refusal(Struct, frozen=True):
    """An arrival that was not accepted, and why."""

    index: int
    error: DualtrackError


class Tally(Struct):
    """Counts of a run; `progress` are those events that only tell progress. `cycle_s`: durations of the cycles; `gaps`:
    what those that proved one may lack to the optimum."""

    events: int = 0
    progress: int = 0
    cycles: int = 0
    cycle_s: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


class Driver:
    """Joins an engine with a world. `observe` sees every event right after it was folded, with the scheduler's time.

    The world begins at `start_us`. The scheduler's clock is the world's plus `offset_us`, and never runs backwards.
    """

    def __init__(
        self,
        state: State,
        overheads: Overheads,
        observe: Callable[[Event, int], None] | None = None,
        *,
        start_us: int = 0,
    ) -> None:
        self.engine = Engine(state)
        self.queue: EventQueue[Happening] = EventQueue()
        self.world = World(self.queue, overheads, self._forecast_rate, self.deliver)
        self.tally = Tally()
        self.now_us = start_us
        self.offset_us = 0
        self.observe = observe
        self.inbox: list[Event] = []
        self.outbox: list[Command] = []
        self.entries: list[int] = []
        self.bases: dict[int, Basis] = {}
        self.past: History | None = None
        self._overheads = overheads
        self._clock_us = 0
        self._next_cycle_us = 0
        self._changed = True
        self._vacated = False  # a place was made that somebody waits for: its cycle waits for no round
        self._named = 0

    @property
    def state(self) -> State:
        return self.engine.state

    def clock_us(self) -> int:
        """The scheduler's time."""
        self._clock_us = max(self._clock_us, self.now_us + self.offset_us)
        return self._clock_us

    # inputs

    def deliver(self, report: Report) -> None:
        """A report has come: it is folded with the next batch."""
        self.inbox.append(report)

    def expect(self, arrivals: Iterable[Arrival]) -> None:
        """Jobs that people will submit, each at its time."""
        ordered = sorted(enumerate(arrivals), key=lambda pair: pair[1].at_us)
        position = 0

        def arrive(now_us: int) -> None:
            nonlocal position
            while position < len(ordered) and ordered[position][1].at_us <= now_us:
                self.submit(*ordered[position])
                position += 1
            if position < len(ordered):
                self.queue.push(ordered[position][1].at_us, arrive)

        if ordered:
            self.queue.push(ordered[0][1].at_us, arrive)

    def submit(self, index: int, arrival: Arrival) -> None:
        """Submit now; a refusal is kept in the tally."""
        actor = Actor(arrival.user or "user", arrival.job.tenant, authenticated=True)
        try:
            accepted = submission(self.state, arrival.job, actor, self._new_id, self.clock_us())
        except _REFUSALS as error:
            self.tally.refusals.append(Refusal(index, error))
            self.entries.append(-1)
            return
        for event in accepted:
            self.entries.append(event.job)
            self.feed(event)
            self.bases[event.job] = self.introduce(event.job, arrival.truth)

    def introduce(self, job: int, truth: Truth, ran_us: int = 0) -> Basis:
        """Tell the world what will become of an accepted job; what nobody knows of its run time is estimated.

        An attempt that has outlived the estimate, at `ran_us`, is given as long again.
        """
        record = self.state.jobs[job]
        rows = self.state.rows_of[job].rows
        absolute = bool(rows) and rows[0].option.rate.absolute
        found = estimate(record.spec, record.actor.user, absolute, self.state.config.tenants, self.past)
        if truth.run_us is None and truth.amount is None and found.run_us is not None:
            truth = structs.replace(truth, run_us=found.run_us if ran_us < found.run_us else 2 * ran_us)
        self.world.learn(job, record.spec, truth)
        return found.basis

    def feed(self, event: Event) -> None:
        """Fold one event now; its commands wait for the end of the batch."""
        now_us = self.clock_us()
        self.outbox.extend(self.engine.fold(event, now_us))
        self.tally.events += 1
        if isinstance(event, AttemptProgressed):
            self.tally.progress += 1
        elif not isinstance(event, AttemptStarted):
            self._changed = True
            self._vacated |= isinstance(event, AttemptEnded) and self._was_told(event)
        if self.observe is not None:
            self.observe(event, now_us)

    # the loop

    def run(self, until_us: int = FOREVER_US, stop: Callable[[], bool] | None = None) -> Halt:
        """Until nothing can happen any more, the time is `until_us`, or `stop()` says so between two instants."""
        fruitless = 0
        while fruitless < _FRUITLESS_INSTANTS:
            next_us = self._next_us()
            if next_us is None:
                return Halt.NOTHING_LEFT
            if next_us > until_us:
                return Halt.TIME
            if stop is not None and stop():
                return Halt.STOPPED
            before = self.tally.events - self.tally.progress
            self.now_us = max(self.now_us, next_us)
            while (happening := self.queue.pop_due(self.now_us)) is not None:
                if isinstance(happening, Timer):
                    self.world.on_timer(happening, self.now_us)
                else:
                    happening(self.now_us)
            self.settle()
            changed = self.tally.events - self.tally.progress != before
            fruitless = 0 if changed or len(self.queue) > self.world.reports_due else fruitless + 1
        return Halt.NOTHING_LEFT

    def settle(self) -> None:
        """Fold what came in, decide, send commands, until this instant has nothing more to say."""
        for _ in range(_ROUNDS_PER_INSTANT):
            batch, self.inbox = self.inbox, []
            for event in batch:
                self.feed(event)
            if self._is_due():
                self.cycle()
            commands, self.outbox = self.outbox, []
            for command in commands:
                self.send(command)
            if not self.inbox and not self.outbox:
                return

    def cycle(self) -> None:
        """One cycle of the engine: its events are folded at once."""
        began = time.perf_counter()
        decision = self.engine.decide(self.clock_us())
        self.tally.cycles += 1
        self.tally.cycle_s.append(time.perf_counter() - began)
        if decision.plan.gap is not None:
            self.tally.gaps.append(decision.plan.gap)
        self._next_cycle_us = self.now_us + self._overheads.cycle_us
        for event in decision.events:
            self.feed(event)
        self._changed = self._vacated = False

    def send(self, command: Command) -> None:
        """Hand the command to the world."""
        if isinstance(command, Start):
            self.world.start(command, self.now_us)
        else:
            self.world.stop(command, self.now_us)

    def wake_us(self) -> int | None:
        """When a cycle is due by itself, in the world's time."""
        due = [self._next_cycle_us] if self._changed else []
        alarm_us = self.state.alarms.first_us  # not the plan's `wake_us`: folding its events has set further alarms
        if alarm_us is not None:
            due.append(max(alarm_us - self.offset_us, self._next_cycle_us))
        earliest, round_us = min(due, default=None), self._overheads.round_us
        if earliest is None or round_us <= 0 or self._vacated:
            return earliest
        return -(-max(earliest, self.now_us) // round_us) * round_us

    def restart(self, state: State) -> None:
        """Go on with another state: a scheduler that came back. What was on its way to or from the old one is gone."""
        self.engine = Engine(state)
        self.inbox.clear()
        self.outbox.clear()
        self._changed = True

    def _next_us(self) -> int | None:
        queued_us = self.queue.next_us()
        if queued_us is None and not self.state.active and not self._changed:
            return None  # what is left are dates of rules and deliveries, with nobody to be decided about
        times = [t for t in (queued_us, self.wake_us()) if t is not None]
        return max(self.now_us, min(times)) if times else None

    def _is_due(self) -> bool:
        wake_us = self.wake_us()
        return wake_us is not None and wake_us <= self.now_us

    def _was_told(self, event: AttemptEnded) -> bool:
        """Whether the attempt that ended had been told to leave."""
        attempts = self.state.jobs[event.job].attempts if event.job < len(self.state.jobs) else []
        return event.attempt <= len(attempts) and attempts[event.attempt - 1].stop is not None

    def _new_id(self) -> str:
        self._named += 1
        return f"sim-{self._named}"

    def _forecast_rate(self, command: Start) -> float:
        held = self.state.jobs[command.job].attempts[command.attempt - 1].allocation
        return held.modelled or held.rate


def seen(state: State, commands: Iterable[Start]) -> Mapping[AttemptKey, int]:
    """The number of the last report that the state knows of each attempt that was started by `commands`."""
    return {(c.job_id, c.attempt): state.jobs[c.job].attempts[c.attempt - 1].seq for c in commands}
