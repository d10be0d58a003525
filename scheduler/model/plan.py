"""What a cycle proposes. A plan is a value: equal snapshots give equal plans, byte for byte."""

from msgspec import Struct

from scheduler.model.allocations import Allocation
from scheduler.model.lifecycle import StopCause
from scheduler.model.reasons import Reason

__all__ = ["Plan", "PlannedStart", "PlannedStop"]


class PlannedStart(Struct, frozen=True):
    job: int
    allocation: Allocation


class PlannedStop(Struct, frozen=True):
    job: int
    cause: StopCause
    deadline_us: int
    for_job: int = -1


class Plan(Struct, frozen=True, kw_only=True):
    """Stops come before starts: an attempt that must leave first is told first."""

    version: int  # of the snapshot it was made for
    now_us: int
    stops: tuple[PlannedStop, ...] = ()
    starts: tuple[PlannedStart, ...] = ()
    lost: tuple[int, ...] = ()  # jobs whose attempt nobody can stop or hear of any more
    broken: tuple[int, ...] = ()  # waiting jobs whose dependencies cannot be met any more
    reasons: tuple[tuple[int, Reason], ...] = ()  # that changed, by number; every waiting job has one
    prices: tuple[tuple[str, float], ...] = ()  # shadow price per row, carried over
    wake_us: int | None = None  # when time alone changes the answer: a back-off, a limit, an after_wait
    rounds: int = 0  # of choice and placement
    whole: bool = True  # False: only newcomers were decided about, at the prices of the last whole solution
    gap: float | None = None  # certified distance from the optimum, relative; None where the policy proves none
    choice_gap: float | None = None  # of what the policy chose for all, before the storm guard and the nodes had a say
