"""The API of jobs: list, look at, act on. Entering them is in `submissions`."""

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query, Response

from scheduler.engine import intake
from scheduler.engine.explain import explain
from scheduler.engine.image import encode
from scheduler.engine.records import Attempt, JobRecord
from scheduler.engine.state import State
from scheduler.errors import ConfigError, NotFoundError, UnavailableError, UsageError
from scheduler.model.events import Actor, JobAction, JobUpdated
from scheduler.model.jobs import Moves
from scheduler.model.lifecycle import JobState
from scheduler.model.units import US_PER_S
from scheduler.service.decisions import find_allocation, history_until
from scheduler.service.desk import Body, Desk, allow, decoded, desk_of, find_job
from scheduler.service.identity import Identity, Permission, require, sees
from scheduler.service.loop import Proposal
from scheduler.service.modes import RunMode
from scheduler.service.reports import option_name, options_view
from scheduler.service.views import View, job_view, matches, nodes_of, summary_view

__all__ = [
    "cancel",
    "Changes",
    "get_decisions",
    "get_job",
    "get_reasons",
    "list_jobs",
    "logs",
    "requeue",
    "resume",
    "router",
    "suspend",
    "update",
]

router = APIRouter(prefix="/v1")

MAX_PAGE: Final = 500
_JSON: Final = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}

Caller = Annotated[Identity, Depends(allow(Permission.READ))]
Doer = Annotated[Identity, Depends(allow(Permission.ACT))]
TheDesk = Annotated[Desk, Depends(desk_of)]
Bytes = Annotated[bytes, Body]


@router.get("/jobs")
def list_jobs(
    desk: TheDesk, identity: Caller, state: str = "", tenant: str = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100, after: str = "",
    label: Annotated[list[str], Query()] = [],  # noqa: B006  never changed; FastAPI takes defaults from here
) -> dict[str, Any]:  # fmt: skip
    """Jobs in the order of their acceptance. `state` takes several, joined by commas, and `live` for all not ended."""
    wanted = _states(state)

    def question(found: State) -> dict[str, Any]:
        first = found.by_id[after] + 1 if after in found.by_id else 0
        if after and not first:
            raise NotFoundError(f"no job {after[:80]!r} to list after", "begin without `after`")
        now_us = desk.clock.now_us()
        items: list[View] = []
        for job in found.jobs[first:]:
            visible = sees(identity, job.spec.tenant) and _within(job.spec.tenant, tenant)
            if not visible or (wanted and job.state not in wanted):
                continue
            view = summary_view(found, job, now_us, desk.forecaster.expected(job.number))
            if matches(view, label):
                items.append(view)
            if len(items) > limit:
                break
        more = len(items) > limit
        return {"items": items[:limit], "next": items[limit - 1]["id"] if more else None}

    return desk.loop.ask(question)


def _states(text: str) -> frozenset[JobState]:
    names = [name for name in text.split(",") if name]
    found: set[JobState] = set()
    for name in names:
        if name == "live":
            found |= {s for s in JobState if s not in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)}
        elif name in {s.value for s in JobState}:
            found.add(JobState(name))
        else:
            raise UsageError(f"{name[:40]!r} is not a state", f"use live or some of {', '.join(JobState)}")
    return frozenset(found)


def _within(tenant: str, wanted: str) -> bool:
    return not wanted or tenant == wanted or tenant.startswith(wanted + "/")


@router.get("/jobs/{job}")
def get_job(desk: TheDesk, identity: Caller, job: str) -> View:
    """One job by id, unambiguous prefix or unambiguous name."""

    def question(state: State) -> View:
        found = find_job(state, job, identity)
        expected = desk.forecaster.expected(found.number)
        return {**job_view(state, found, desk.clock.now_us(), expected), "offer": _offer(desk, state, found)}

    return desk.loop.ask(question)


@router.get("/jobs/{job}/reasons")
def get_reasons(desk: TheDesk, identity: Caller, job: str, changes: bool = False) -> View:
    """Why it waits, for each of its options: everything that blocks it, by how much, now, until a delivery or for ever.

    With `changes` also its place in the queue, its expected start with a band, and what would start it sooner.
    """

    def question(state: State) -> tuple[View, int, bytes]:
        found = find_job(state, job, identity)
        now_us = desk.clock.now_us()
        waiting = found.state is JobState.WAITING
        view = {
            **summary_view(state, found, now_us, desk.forecaster.expected(found.number)),
            "offer": _offer(desk, state, found),
            "options": options_view(explain(state, found.number, now_us)) if waiting else [],
        }
        return view, found.number, encode(state) if waiting and changes else b""

    view, number, image = desk.loop.ask(question)
    return {**view, **desk.forecaster.why(image, number, desk.clock.now_us())} if image else view


@router.get("/jobs/{job}/decisions")
def get_decisions(desk: TheDesk, identity: Caller, job: str, attempt: int | None = None) -> dict[str, list[View]]:
    """Each allocation that it got, made again from the journal: what the cycle saw, and whether it is the same.

    All attempts, oldest first, or the one that is asked for.
    """

    def question(state: State) -> tuple[int, list[Attempt]]:
        found = find_job(state, job, identity)
        return found.number, [a for a in found.attempts if attempt is None or a.n == attempt]

    number, attempts = desk.loop.ask(question)
    if not attempts:
        raise NotFoundError("the job has no such attempt yet", "`dualtrack why` tells why it waits")
    seqs = [find_allocation(desk.journal, number, a) for a in attempts]
    views = desk.forecaster.decisions(history_until(desk.journal, max(seqs)), frozenset(seqs))
    return {"items": [{**view, "victims": [desk.loop.id_of(n) for n in view["victims"]]} for view in views]}


def _offer(desk: Desk, state: State, job: JobRecord) -> View | None:
    """In mode advise: what the last cycle would have started."""
    event = desk.loop.offers.get(job.number)
    if desk.loop.mode is not RunMode.ADVISE or event is None or job.state is not JobState.WAITING:
        return None
    nodes = sorted({node["node"] for node in nodes_of(state, event.allocation)})
    return {"option": option_name(event.allocation.chosen), "nodes": nodes}


def _act(desk: Desk, identity: Identity, reference: str, action: JobAction) -> View:
    def change(state: State, now_us: int) -> Proposal:
        job = _own(state, reference, identity)
        actor = Actor(identity.user, identity.tenant or job.spec.tenant, True)
        events = tuple(intake.action(state, member, action, actor) for member in _members(state, job, reference))
        return Proposal(events, lambda s: summary_view(s, s.jobs[job.number], desk.clock.now_us()))

    view: View = desk.loop.change(change)
    return view


def _members(state: State, job: JobRecord, reference: str) -> list[JobRecord]:
    """The job itself; the name of an array means all its members that have not ended."""
    if job.array is None or reference != job.spec.name or job.spec.array is None:
        return [job]
    first, size = job.array.head, job.spec.array.last - job.spec.array.first + 1
    return [member for member in state.jobs[first : first + size] if not member.terminal]


def _own(state: State, reference: str, identity: Identity) -> JobRecord:
    """A job that the caller may act on: their own, or any that they see where the role allows."""
    job = find_job(state, reference, identity)
    if job.actor.user != identity.user:
        require(identity, Permission.ACT_ANY)
    return job


@router.post("/jobs/{job}/cancel")
def cancel(desk: TheDesk, identity: Doer, job: str) -> View:
    """End it for good; what runs gets notice."""
    return _act(desk, identity, job, JobAction.CANCEL)


@router.post("/jobs/{job}/suspend")
def suspend(desk: TheDesk, identity: Doer, job: str) -> View:
    """Hold it back until it is resumed; what runs gets notice and keeps its checkpoint."""
    return _act(desk, identity, job, JobAction.SUSPEND)


@router.post("/jobs/{job}/resume")
def resume(desk: TheDesk, identity: Doer, job: str) -> View:
    """Let a suspended job wait for its turn again."""
    return _act(desk, identity, job, JobAction.RESUME)


@router.post("/jobs/{job}/requeue")
def requeue(desk: TheDesk, identity: Doer, job: str) -> View:
    """Stop the running attempt and wait for another."""
    return _act(desk, identity, job, JobAction.REQUEUE)


class Changes(msgspec.Struct, forbid_unknown_fields=True):
    """What may be changed of a live job; times in seconds, the deadline in microseconds since the Unix epoch."""

    priority: Annotated[int, msgspec.Meta(ge=0, le=1_000)] | None = None
    time_limit_s: Annotated[float, msgspec.Meta(gt=0, le=3.2e9)] | None = None
    deadline_us: Annotated[int, msgspec.Meta(gt=0, le=2**61)] | None = None
    moves: Moves | None = None


@router.patch("/jobs/{job}", openapi_extra=_JSON)
def update(desk: TheDesk, identity: Doer, job: str, body: Bytes) -> View:
    """Change priority, time limit, deadline or permitted moves of a live job."""
    try:
        changes = msgspec.convert(decoded(body), Changes)
    except msgspec.ValidationError as error:
        remedy = "priority is 0 to 1000, time_limit_s a positive number, moves a word of job files"
        raise ConfigError(str(error), remedy) from error
    if changes == Changes():
        raise UsageError("nothing to change", "give priority, time_limit_s, deadline_us or moves")

    def change(state: State, now_us: int) -> Proposal:
        found = _own(state, job, identity)
        actor = Actor(identity.user, identity.tenant or found.spec.tenant, True)
        limit_us = None if changes.time_limit_s is None else round(changes.time_limit_s * US_PER_S)
        wanted = JobUpdated(found.number, actor, changes.priority, limit_us, changes.deadline_us, changes.moves)
        event = intake.updated(state, found, wanted, now_us)
        return Proposal((event,), lambda s: summary_view(s, s.jobs[found.number], desk.clock.now_us()))

    view: View = desk.loop.change(change)
    return view


@router.get("/jobs/{job}/logs", response_class=Response)
def logs(
    desk: TheDesk, identity: Caller, job: str, attempt: int | None = None, rank: int | None = None,
    offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
) -> Response:  # fmt: skip
    """Output from byte `offset`, at most 1 MiB; the header X-Dualtrack-Ended is 1 once no more will come."""

    def question(state: State) -> tuple[str, str, int, bool]:
        found = find_job(state, job, identity)
        runs = [a for a in found.attempts if attempt is None or a.n == attempt]
        if not runs:
            raise NotFoundError(f"job {found.id} has no such attempt yet", "`dualtrack why` tells why it waits")
        return found.id, runs[-1].cell, runs[-1].n, runs[-1].ended_us is not None

    job_id, cell, number, ended = desk.loop.ask(question)
    link = desk.loop.link(cell)
    if link is None:
        raise UnavailableError(f"the cell {cell} is not part of this service any more", "look on its nodes")
    data = link.logs((job_id, number), rank, offset)
    headers = {"X-Dualtrack-Ended": "1" if ended else "0", "X-Dualtrack-Attempt": str(number)}
    return Response(data, media_type="application/octet-stream", headers=headers)
