"""The API of reserved windows: look at them, make one, cancel one."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends

from scheduler.engine import reserving
from scheduler.engine.reserving import Wish
from scheduler.engine.state import State
from scheduler.errors import ConfigError, UsageError
from scheduler.model.events import Actor
from scheduler.model.reservations import Reservation
from scheduler.model.units import US_PER_S
from scheduler.service.desk import Body, Desk, allow, decoded, desk_of
from scheduler.service.feed import iso
from scheduler.service.identity import Identity, Permission, sees
from scheduler.service.loop import Proposal
from scheduler.service.views import View

__all__ = ["cancel_reservation", "list_reservations", "reserve", "router", "Wanted"]

router = APIRouter(prefix="/v1")

MAX_NODES: Final = 10_000
_JSON: Final = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}

Caller = Annotated[Identity, Depends(allow(Permission.READ))]
Operator = Annotated[Identity, Depends(allow(Permission.OPERATE))]
TheDesk = Annotated[Desk, Depends(desk_of)]
Bytes = Annotated[bytes, Body]


class Wanted(msgspec.Struct, forbid_unknown_fields=True, rename={"from_": "from"}):
    """The body of a reservation; times are ISO 8601, `from` is now where it is left out."""

    to: str
    from_: str = ""
    nodes: Annotated[list[str], msgspec.Meta(max_length=MAX_NODES)] = []
    accelerator: Annotated[str, msgspec.Meta(max_length=100)] = ""
    count: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0
    tenant: Annotated[str, msgspec.Meta(max_length=300)] = ""
    why: Annotated[str, msgspec.Meta(max_length=300)] = ""


@router.get("/reservations")
def list_reservations(desk: TheDesk, identity: Caller) -> dict[str, list[View]]:
    """Windows that have not ended, in the order in which they were made."""
    now_us = desk.clock.now_us()

    def question(state: State) -> list[View]:
        return [_view(state, r, identity) for r in state.windows.reservations if r.until_us > now_us]

    return {"items": desk.loop.ask(question)}


@router.post("/reservations", status_code=201, openapi_extra=_JSON)
def reserve(desk: TheDesk, identity: Operator, body: Bytes, dry_run: bool = False) -> View:
    """Keep nodes free in a window; `in_the_way` are jobs that run there now and may still run when it begins."""
    try:
        wanted = msgspec.convert(decoded(body), Wanted)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error), "see docs/api.md for what a reservation holds") from error
    wish = Wish(
        until_us=_time(wanted.to),
        from_us=_time(wanted.from_) if wanted.from_ else None,
        nodes=tuple(wanted.nodes),
        accelerator=wanted.accelerator,
        count=wanted.count,
        tenant=wanted.tenant,
        why=wanted.why,
    )
    actor = Actor(identity.user, identity.tenant, True)
    if dry_run:
        now_us = desk.clock.now_us()
        return desk.loop.ask(
            lambda state: _view(state, reserving.reserved(state, wish, actor, lambda: "", now_us).reservation, identity)
        )

    def change(state: State, now_us: int) -> Proposal:
        event = reserving.reserved(state, wish, actor, desk.new_id, now_us)
        return Proposal((event,), lambda s: _view(s, event.reservation, identity))

    view: View = desk.loop.change(change)
    return view


@router.delete("/reservations/{reservation}")
def cancel_reservation(desk: TheDesk, identity: Operator, reservation: str) -> View:
    """Let everybody start there again."""
    actor = Actor(identity.user, identity.tenant, True)

    def change(state: State, now_us: int) -> Proposal:
        event = reserving.cancelled(state, reservation, actor)
        found = state.windows.get(reservation)
        view = {} if found is None else _view(state, found, identity)
        return Proposal((event,), lambda s: view)

    gone: View = desk.loop.change(change)
    return gone


def _view(state: State, window: Reservation, identity: Identity) -> dict[str, Any]:
    jobs = [state.jobs[number] for number in reserving.in_the_way(state, window)]
    shown = sees(identity, window.tenant) if window.tenant else True
    return {
        "id": window.id,
        "nodes": list(window.nodes),
        "devices": sum(
            int(state.fleet.devices[node]).bit_count()
            for name in window.nodes
            if (node := state.fleet.cluster.node_index(name)) is not None
        ),
        "from": iso(window.from_us),
        "to": iso(window.until_us),
        "tenant": window.tenant if shown else "another tenant",
        "why": window.why if shown else "",
        "in_the_way": [
            {"id": job.id, "name": job.spec.name, "tenant": job.spec.tenant, "user": job.actor.user}
            for job in jobs
            if sees(identity, job.spec.tenant)
        ],
    }


def _time(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text[:40]!r} is not an ISO time", "write it like 2026-05-01T00:00:00Z") from error
    if moment.tzinfo is None:
        raise UsageError(f"{text[:40]!r} has no zone", "write it like 2026-05-01T00:00:00Z")
    return round(moment.timestamp() * US_PER_S)
