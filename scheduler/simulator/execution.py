"""One attempt as the world sees it: when it makes progress, what it has saved, and what it has told."""

from collections.abc import Callable
from enum import IntEnum

from msgspec import Struct, field

from scheduler.model.commands import Start
from scheduler.model.units import US_PER_S
from scheduler.ports import Report

__all__ = ["Execution", "Happening", "Overheads", "Phase", "Timer", "TimerKind"]


class Overheads(Struct, frozen=True, kw_only=True):
    """What the way from a decision to running ranks costs, in microseconds; calibrated by who runs the simulation.

    `start_us`: from the command to all ranks up. `stop_us`: from the end of the last rank to its report, and from a
    notice to ranks that have nothing to save being gone. `restart_us`: before an attempt that is not its job's first
    makes progress, on top of what its checkpoint declares; with `load_first`, before first ones too. `report_us`:
    between two reports of progress; 0: only what the end needs. `cycle_us`: the least time between two cycles; 0: a
    cycle whenever something has changed. `round_us`: cycles only at its multiples, and when what was told to leave has
    left; 0: no rounds.
    """

    start_us: int = 0
    stop_us: int = 0
    restart_us: int = 0
    report_us: int = 0
    cycle_us: int = 0
    round_us: int = 0
    load_first: bool = False


class Phase(IntEnum):
    STARTING = 0
    RUNNING = 1
    LEAVING = 2  # has had its notice: saves, then goes
    ENDED = 3


class TimerKind(IntEnum):
    UP = 0
    REPORT = 1
    FINISH = 2
    LEAVE = 3
    KILL = 4


class Execution(Struct, kw_only=True):
    """Progress is linear: `rate` units per second from `moves_us` until `halted_us`, on top of `base`.

    `work` is the total in the same unit, or None for what never ends. A save of what was done by k times `every_us`
    after `moves_us` is safe `save_us` later; saving costs no progress. `generation` makes timers of the past void.
    """

    command: Start
    epoch: int
    nodes: tuple[int, ...]
    rate: float
    base: float
    work: float | None
    stop_at: float | None = None  # work at which the ranks fail
    every_us: int = 0
    save_us: int | None = None  # None: has no checkpoint
    report_us: int = 0
    phase: Phase = Phase.STARTING
    moves_us: int = 0
    halted_us: int | None = None
    hung: bool = False
    kill_us: int | None = None
    kept: float = 0.0  # safe in the checkpoint by earlier attempts or by the notice
    generation: int = 0
    seq: int = 0
    reports: list[Report] = field(default_factory=list)

    def done(self, now_us: int) -> float:
        """Work done at `now_us`, over all attempts."""
        until_us = now_us if self.halted_us is None else min(now_us, self.halted_us)
        if self.phase is Phase.STARTING or until_us <= self.moves_us:
            return self.base
        reached = self.base + self.rate * (until_us - self.moves_us) / US_PER_S
        return reached if self.work is None else min(reached, self.work)

    def saved(self, now_us: int) -> float:
        """Work that survives the end of the attempt at `now_us`."""
        if self.save_us is None or self.every_us <= 0 or self.phase in (Phase.STARTING, Phase.ENDED):
            return self.kept
        until_us = now_us if self.halted_us is None else min(now_us, self.halted_us)
        saves = (until_us - self.moves_us - self.save_us) // self.every_us
        if saves <= 0:
            return self.kept
        return max(self.kept, self.done(self.moves_us + saves * self.every_us))

    def reaches_us(self, amount: float) -> int:
        """When `amount` of work will be done, at the present rate; rounded up to a whole microsecond."""
        left = amount - self.base
        if left <= 0:
            return self.moves_us
        return self.moves_us + -int(-left * US_PER_S // self.rate)


class Timer(Struct, frozen=True):
    """Something that an execution will do by itself, unless it has moved on to another generation."""

    execution: Execution
    kind: TimerKind
    generation: int


Happening = Timer | Callable[[int], None]
"""What lies in the queue of the future: an execution's own doing, or a call with the time of the world."""
