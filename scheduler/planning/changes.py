"""What could be changed of a job so that it starts sooner: candidates, from the smallest change to the largest.

Sizes order the candidates and say how much a change costs its user: the order of one's own jobs costs least, then
patience and promises on time, fewer devices, another chip, and last another class, which changes what the job may lose.
They are a convention of this module, not measurements.
"""

import math
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from scheduler.engine.state import State
from scheduler.model.jobs import Job, Moves, Option
from scheduler.model.lifecycle import JobState
from scheduler.model.tenants import JobClass
from scheduler.model.units import US_PER_S
from scheduler.profiles.speeds import Speeds

__all__ = ["Change", "Edit", "Part", "changes_of", "run_time_us"]

HIGHEST_PRIORITY: Final = 1_000
MARGIN: Final = 1.1
"""A time limit that is proposed leaves so much of the run time at the slow end of the band's forecast."""

SIZES: Final = {"priority": 1.0, "after_wait": 1.0, "time_limit": 1.5, "count": 2.0, "accelerator": 3.5}
MOVES_SIZE: Final = 3.0
CLASS_SIZE: Final = 5.0


class Part(StrEnum):
    """What of a job is changed."""

    PRIORITY = "priority"
    AFTER_WAIT = "after_wait"
    TIME_LIMIT = "time_limit"
    COUNT = "count"
    ACCELERATOR = "accelerator"
    MOVES = "moves"
    CLASS = "class"


class Edit(Struct, frozen=True, kw_only=True):
    """One change. `before` and `after` are a priority, devices, microseconds (0: none), or a word; `accelerator` where
    it is about one option."""

    part: Part
    before: int | str
    after: int | str
    accelerator: str = ""


class Change(Struct, frozen=True, kw_only=True):
    """Edits made together, the job as it would then be, and how large the change is.

    `in_place`: an accepted job can be changed so; otherwise it has to be cancelled and submitted again.
    """

    edits: tuple[Edit, ...]
    job: Job
    size: float
    in_place: bool = False


def changes_of(state: State, job: Job, now_us: int, *, has_progress: bool = False) -> list[Change]:
    """Every candidate for `job`, smallest first; equal ones in a fixed order.

    `has_progress`: it has run, so that what would have to be submitted again is left out.
    """
    found = [*_priorities(state, job), *_limits(state, job, now_us), *_moves(job, has_progress)]
    if not has_progress and job.array is None:
        found += [*_classes(job)]
        if len(job.roles) == 1:
            found += [*_open_at_once(job), *_counts(state, job), *_others(state, job)]
    return sorted(found, key=lambda change: (change.size, msgspec.json.encode(change.edits)))


def run_time_us(state: State, job: Job, accelerator: str, count: int) -> tuple[int, int] | None:
    """How long the whole work takes on the devices: expected, and at the slow end of the band. None if unknown."""
    chip = state.config.catalog.get(accelerator)
    rate = Speeds(job, chip, (count,), state.config.catalog).rate(count) if chip else None
    if rate is None or not rate.absolute or job.work.amount is None or rate.low <= 0:
        return None
    return round(job.work.amount / rate.value * US_PER_S), round(job.work.amount / rate.low * US_PER_S)


def _priorities(state: State, job: Job) -> Iterator[Change]:
    """Just before every waiting job of its tenant, and before everybody."""
    waiting = [state.jobs[n] for n in state.columns.in_state(JobState.WAITING).tolist()]
    siblings = [other.priority for other in waiting if other.spec.tenant == job.tenant]
    first = min(HIGHEST_PRIORITY, max(siblings, default=job.priority) + 1)
    for place, priority in enumerate(dict.fromkeys((first, HIGHEST_PRIORITY))):
        if priority > job.priority:
            yield Change(
                edits=(Edit(part=Part.PRIORITY, before=job.priority, after=priority),),
                job=msgspec.structs.replace(job, priority=priority),
                size=SIZES["priority"] + place / 10,
                in_place=True,
            )


def _limits(state: State, job: Job, now_us: int) -> Iterator[Change]:
    """A time limit that ends before a window that is reserved, or one that promises no more than the job needs."""
    notice_us = state.config.policy.notice_min_us
    bounds = [r.from_us - now_us - notice_us for r in state.windows.reservations if r.from_us > now_us]
    slowest = _slowest_us(state, job)
    if slowest is not None:
        bounds = [bound for bound in bounds if bound >= slowest] + [round(MARGIN * slowest)]
    for limit_us in sorted({bound for bound in bounds if bound > 0}):
        if job.time_limit_us is None or limit_us < job.time_limit_us:
            yield Change(
                edits=(_limit_edit(job, limit_us),),
                job=msgspec.structs.replace(job, time_limit_us=limit_us),
                size=SIZES["time_limit"],
                in_place=True,
            )


def _limit_edit(job: Job, limit_us: int) -> Edit:
    return Edit(part=Part.TIME_LIMIT, before=job.time_limit_us or 0, after=limit_us)


def _slowest_us(state: State, job: Job) -> int | None:
    """Run time on the slowest of the options at the slow end of its band; None where one is unknown."""
    pairs = [(option.accelerator, count) for option in job.roles[0].resources.options for count in option.counts]
    times = [run_time_us(state, job, *pair) for pair in pairs if pair[0] in state.fleet.present]
    known = [time[1] for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None


def _moves(job: Job, has_progress: bool) -> Iterator[Change]:
    """For a job with progress, which may not go on elsewhere; to `any` only with a checkpoint that is portable."""
    portable = job.checkpoint is not None and job.checkpoint.portable
    for place, moves in enumerate(_FREEDOM[_FREEDOM.index(job.moves) + 1 :] if has_progress else ()):
        if moves is not Moves.ANY or portable:
            yield Change(
                edits=(Edit(part=Part.MOVES, before=str(job.moves), after=str(moves)),),
                job=msgspec.structs.replace(job, moves=moves),
                size=MOVES_SIZE + place / 10,
                in_place=True,
            )


_FREEDOM: Final = (Moves.NEVER, Moves.SAME_ACCELERATOR, Moves.SAME_FAMILY, Moves.ANY)


def _classes(job: Job) -> Iterator[Change]:
    """Down, where more may be borrowed; up, where nobody's reclaim is feared."""
    for place, other in enumerate((JobClass.STANDARD, JobClass.OPPORTUNISTIC, JobClass.PRODUCTION)):
        if other is not job.job_class:
            yield Change(
                edits=(Edit(part=Part.CLASS, before=str(job.job_class), after=str(other)),),
                job=msgspec.structs.replace(job, job_class=other),
                size=CLASS_SIZE + place / 10,
            )


def _open_at_once(job: Job) -> Iterator[Change]:
    for option in job.roles[0].resources.options:
        if option.after_wait_us:
            at_once = msgspec.structs.replace(option, after_wait_us=0)
            yield Change(
                edits=(
                    Edit(part=Part.AFTER_WAIT, before=option.after_wait_us, after=0, accelerator=option.accelerator),
                ),
                job=_with_option(job, option, at_once),
                size=SIZES["after_wait"],
            )


def _counts(state: State, job: Job) -> Iterator[Change]:
    """Fewer devices of an accelerator that the job names already, and more where the model asks for them."""
    for option in job.roles[0].resources.options:
        if option.accelerator not in state.fleet.present:
            continue
        least, most = option.counts[0], option.counts[-1]
        for count in (*_halves(least // 2), 2 * most, 4 * most):
            wider = msgspec.structs.replace(option, counts=tuple(sorted({*option.counts, count})), after_wait_us=0)
            size = SIZES["count"] + abs(math.log2(count / (least if count < least else most)))
            edit = Edit(part=Part.COUNT, before=least, after=count, accelerator=option.accelerator)
            yield _roomy(state, job, _with_option(job, option, wider), edit, size)


def _others(state: State, job: Job) -> Iterator[Change]:
    """Another accelerator of the fleet, with as many devices as were asked for or fewer."""
    options = job.roles[0].resources.options
    named = {option.accelerator for option in options}
    most = max((option.counts[0] for option in options), default=0)
    for name in sorted(state.fleet.present - named) if most else ():
        for count in _halves(most):
            size = SIZES["accelerator"] + math.log2(most / count)
            edit = Edit(part=Part.ACCELERATOR, before=0, after=count, accelerator=name)
            changed = _with_options(job, (*options, Option(accelerator=name, counts=(count,))))
            yield _roomy(state, job, changed, edit, size)


def _roomy(state: State, job: Job, changed: Job, edit: Edit, size: float) -> Change:
    """The change with a time limit that leaves room for the run, where the job's own would end it too early."""
    times = run_time_us(state, job, edit.accelerator, int(edit.after))
    limit_us = job.time_limit_us
    if times is None or limit_us is None or times[1] <= limit_us:
        return Change(edits=(edit,), job=changed, size=size)
    roomier = round(MARGIN * times[1])
    return Change(
        edits=(edit, _limit_edit(job, roomier)),
        job=msgspec.structs.replace(changed, time_limit_us=roomier),
        size=size + SIZES["time_limit"],
    )


def _halves(count: int) -> Iterator[int]:
    while count >= 1:
        yield count
        count //= 2


def _with_option(job: Job, old: Option, new: Option) -> Job:
    return _with_options(job, tuple(new if option is old else option for option in job.roles[0].resources.options))


def _with_options(job: Job, options: tuple[Option, ...]) -> Job:
    role = job.roles[0]
    resources = msgspec.structs.replace(role.resources, options=options)
    return msgspec.structs.replace(job, roles=(msgspec.structs.replace(role, resources=resources),))
