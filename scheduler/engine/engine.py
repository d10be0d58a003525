"""The engine: owns the state, folds events, decides. No clock, no I/O; the caller brings the time and keeps records."""

import msgspec
from msgspec import Struct

from scheduler.engine.apply import decisions
from scheduler.engine.cycle import cycle
from scheduler.engine.rounds import next_turn_us
from scheduler.engine.snapshot import take
from scheduler.engine.state import State
from scheduler.engine.transitions import fold
from scheduler.model.commands import Command
from scheduler.model.events import Event
from scheduler.model.plan import Plan

__all__ = ["Decision", "Engine"]


class Decision(Struct, frozen=True):
    """A plan and the events that carry it out: to be recorded, then folded in order."""

    plan: Plan
    events: tuple[Event, ...]


class Engine:
    def __init__(self, state: State) -> None:
        self.state = state

    def fold(self, event: Event, time_us: int) -> tuple[Command, ...]:
        """The only way to change the state. Replay drops the commands."""
        return fold(self.state, event, time_us)

    def decide(self, now_us: int) -> Decision:
        """One cycle on the state as it is. Changes nothing but the alarms that have rung."""
        snapshot = take(self.state, now_us)
        plan = cycle(snapshot, now_us)
        for number in snapshot.due:
            self.state.touch(self.state.jobs[number], now_us)
        self.state.watch_windows(now_us)
        self.state.watch_round(next_turn_us(snapshot, plan, now_us))
        return Decision(msgspec.structs.replace(plan, wake_us=self.wake_us), decisions(self.state, plan))

    @property
    def wake_us(self) -> int | None:
        """When to decide again though nothing happened, or None. Ask after the events of a decision are folded."""
        return self.state.alarms.first_us
