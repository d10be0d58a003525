"""The script of a fake world: how attempts behave, and what goes wrong on the way to whoever asks."""

from enum import StrEnum

from msgspec import Struct

from scheduler.model.lifecycle import AttemptEnd

__all__ = ["Behaviour", "Faults", "Unknown"]


class Behaviour(Struct, frozen=True, kw_only=True):
    """How the attempts of one job go. Work is in the workload's unit, over all attempts; times in microseconds.

    By default an attempt starts at once, works at the rate that the command's pace implies (1 unit per second without
    a pace), saves when it gets a notice, and ends with success when the declared work is done. Without declared work
    it runs until it is stopped.
    """

    start_us: int = 0
    rate: float | None = None  # units per second; None: as the pace implies
    work: float | None = None  # None: as declared
    ends_at: float | None = None  # this much work is done when it ends as `how` and `exit_code` say
    how: AttemptEnd = AttemptEnd.EXITED
    exit_code: int = 0
    hangs_at: float | None = None  # no more progress from here on
    leaves_after_us: int | None = 0  # after a notice; None: ignores it and is killed
    save_every_us: int = 0  # 0: only on a notice
    progress_every_us: int = 1_000_000
    start_fails: str = ""  # the attempt ends at once, with this as its detail


class Unknown(StrEnum):
    """A call that times out: whether it had its effect."""

    DONE = "done"
    NOT_DONE = "not_done"


class Faults(Struct, frozen=True, kw_only=True):
    """What goes wrong with reports and calls. Chances are per report, drawn from `seed` in the order of delivery.

    Only progress is ever lost for good: starts and ends stay on record and come again until they are seen.
    """

    seed: int = 0
    lose: float = 0.0
    repeat: float = 0.0
    reorder: float = 0.0  # per reply
    starts: tuple[Unknown | None, ...] = ()  # by the number of the start call; None: goes well
    stops: tuple[Unknown | None, ...] = ()
