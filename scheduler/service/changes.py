"""The smallest change to a job that would start it now. Each is tried on a copy of the state before it is told."""

import time
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct

from scheduler.engine import intake
from scheduler.engine.engine import Engine
from scheduler.engine.image import decode
from scheduler.engine.state import State
from scheduler.errors import DualtrackError
from scheduler.model.events import Actor, Allocated
from scheduler.model.jobs import Job, Option
from scheduler.service.reports import option_name

__all__ = ["Change", "candidates", "helpful_change"]

MOST_TRIED: Final = 32
WITHIN_S: Final = 3.0
HIGHEST_PRIORITY: Final = 1_000


class Change(Struct, frozen=True):
    """`text` says what to change, `starts_on` where the job would then start."""

    text: str
    starts_on: str


def helpful_change(image: bytes, job: Job, actor: Actor, now_us: int) -> Change | None:
    """The first of the candidates that starts the job at once, or None if none does."""
    deadline = time.monotonic() + WITHIN_S
    for tried, (text, changed) in enumerate(candidates(decode(image), job)):
        if tried >= MOST_TRIED or time.monotonic() > deadline:
            return None
        starts_on = _starts_on(decode(image), changed, actor, now_us)
        if starts_on:
            return Change(text, starts_on)
    return None


def candidates(state: State, job: Job) -> Iterator[tuple[str, Job]]:
    """Changes from the cheapest for the user to the dearest: order, patience, another chip, fewer devices."""
    if job.priority < HIGHEST_PRIORITY:
        yield f"priority {HIGHEST_PRIORITY}", msgspec.structs.replace(job, priority=HIGHEST_PRIORITY)
    if len(job.roles) != 1:
        return
    options = job.roles[0].resources.options
    for option in options:
        if option.after_wait_us:
            at_once = tuple(msgspec.structs.replace(o, after_wait_us=0) if o is option else o for o in options)
            yield f"no after_wait on {option.accelerator}", _with_options(job, at_once)
    named = {option.accelerator: option for option in options}
    most = max((option.counts[0] for option in options), default=1)
    for count in _halves(most):
        for name in (*named, *sorted(state.fleet.present - set(named))):
            stated = named.get(name)
            if stated is None:
                yield (
                    f"also accept {name}:{count}",
                    _with_options(job, (*options, Option(accelerator=name, counts=(count,)))),
                )
            elif count < stated.counts[0]:
                fewer = msgspec.structs.replace(stated, counts=(count, *stated.counts))
                changed = tuple(fewer if o is stated else o for o in options)
                yield f"also accept {name}:{count}", _with_options(job, changed)


def _halves(count: int) -> Iterator[int]:
    while count >= 1:
        yield count
        count //= 2


def _with_options(job: Job, options: tuple[Option, ...]) -> Job:
    role = job.roles[0]
    resources = msgspec.structs.replace(role.resources, options=options)
    return msgspec.structs.replace(job, roles=(msgspec.structs.replace(role, resources=resources),))


def _starts_on(state: State, job: Job, actor: Actor, now_us: int) -> str:
    """The option on which the job would start at once; empty if it would not."""
    number = len(state.jobs)
    engine = Engine(state)
    try:
        for submitted in intake.submission(state, job, actor, lambda: f"changed-{number}", now_us):
            engine.fold(submitted, now_us)
    except DualtrackError:
        return ""
    for event in engine.decide(now_us).events:
        if isinstance(event, Allocated) and event.job == number:
            return option_name(event.allocation.chosen)
    return ""
