"""Step-by-step adoption: what of a decision is carried out in each mode."""

from collections.abc import Callable, Sequence
from enum import StrEnum

from scheduler.model.events import Allocated, Event, ReasonsChanged, StopOrdered
from scheduler.model.lifecycle import StopCause
from scheduler.model.reasons import Reason, ReasonCode

__all__ = ["OWN_DECISIONS", "RunMode", "permitted"]


class RunMode(StrEnum):
    OBSERVE = "observe"  # decide and explain, act on nothing
    ADVISE = "advise"  # the same, and show the plan as an offer
    ENFORCE = "enforce"


OWN_DECISIONS = frozenset({StopCause.PREEMPT, StopCause.RESIZE})
"""Stops that the scheduler chose. The others carry out what a person asked for or what a node did."""


def permitted(mode: RunMode, events: Sequence[Event], current: Callable[[int], Reason | None]) -> tuple[Event, ...]:
    """The events of a decision that this mode lets happen; a start held back becomes the reason OBSERVING, unless that
    is the job's `current` reason already."""
    if mode is RunMode.ENFORCE:
        return tuple(events)
    held = {event.job for event in events if isinstance(event, Allocated)}
    observing = Reason(code=ReasonCode.OBSERVING)
    kept: list[Event] = []
    for event in events:
        if isinstance(event, Allocated) or (isinstance(event, StopOrdered) and event.cause in OWN_DECISIONS):
            continue
        if isinstance(event, ReasonsChanged):
            others = tuple((job, reason) for job, reason in event.reasons if job not in held)
            kept += [ReasonsChanged(others)] if others else []
        else:
            kept.append(event)
    told = tuple((job, observing) for job in sorted(held) if current(job) != observing)
    if told:
        kept.append(ReasonsChanged(told))
    return tuple(kept)
