"""The API of everything but jobs and tenants: plans, the fleet, rules, events and the service itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from scheduler.engine import intake
from scheduler.engine.image import encode
from scheduler.engine.state import State
from scheduler.model.cluster import NodeState
from scheduler.model.events import Actor
from scheduler.service.desk import Body, Desk, allow, decoded, desk_of, find_job, identify
from scheduler.service.feed import Entry, Listener
from scheduler.service.fleet_views import fleet_view
from scheduler.service.identity import Identity, Permission, require, sees
from scheduler.service.loop import Proposal
from scheduler.service.rate_views import rates_view
from scheduler.service.rule_views import rules_view
from scheduler.service.submissions import in_its_tenant, submission_of
from scheduler.service.views import View

__all__ = [
    "cordon",
    "drain",
    "events",
    "fleet",
    "healthz",
    "info",
    "metrics",
    "open_router",
    "plan",
    "rates",
    "readyz",
    "router",
    "rules",
    "shutdown",
    "uncordon",
]

router = APIRouter(prefix="/v1")
open_router = APIRouter()

KEEPALIVE_S: Final = 15.0
_JSON: Final = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}

Caller = Annotated[Identity, Depends(allow(Permission.READ))]
Submitter = Annotated[Identity, Depends(allow(Permission.SUBMIT))]
Operator = Annotated[Identity, Depends(allow(Permission.OPERATE))]
Admin = Annotated[Identity, Depends(allow(Permission.ADMINISTER))]
TheDesk = Annotated[Desk, Depends(desk_of)]


@router.post("/plans", openapi_extra=_JSON)
def plan(desk: TheDesk, identity: Submitter, body: Annotated[bytes, Body]) -> View:
    """What would happen to a job if it were submitted now. Nothing is entered."""
    sent = submission_of(decoded(body), identity, desk.loop.catalog)
    image, planned = desk.loop.ask(lambda state: (encode(state), in_its_tenant(state, sent)))
    return desk.forecaster.plan(image, planned, sent.actor, desk.clock.now_us())


@router.get("/fleet")
def fleet(desk: TheDesk, identity: Caller) -> View:
    """Cells, pools and nodes, with their devices by use. Ids of jobs that the caller may not see are left out."""

    def question(state: State) -> View:
        view = fleet_view(state)
        for node in view["nodes"]:
            node["jobs"] = [j for j in node["jobs"] if sees(identity, state.jobs[state.by_id[j]].spec.tenant)]
        return view

    return desk.loop.ask(question)


def _set_node(desk: Desk, identity: Identity, node: str, state_: NodeState) -> View:
    actor = Actor(identity.user, identity.tenant, True)

    def change(state: State, now_us: int) -> Proposal:
        event = intake.node_state(state, node, state_, actor)
        return Proposal((event,), lambda s: next(n for n in _nodes(s) if n["name"] == node))

    view: View = desk.loop.change(change)
    return view


def _nodes(state: State) -> list[View]:
    nodes: list[View] = fleet_view(state)["nodes"]
    return nodes


@router.post("/nodes/{node}/cordon")
def cordon(desk: TheDesk, identity: Operator, node: str) -> View:
    """Let it take nothing new."""
    return _set_node(desk, identity, node, NodeState.CORDONED)


@router.post("/nodes/{node}/uncordon")
def uncordon(desk: TheDesk, identity: Operator, node: str) -> View:
    """Put it back into use."""
    return _set_node(desk, identity, node, NodeState.READY)


@router.post("/nodes/{node}/drain")
def drain(desk: TheDesk, identity: Operator, node: str) -> View:
    """Let it take nothing new, and preempt with notice what runs there."""
    return _set_node(desk, identity, node, NodeState.DRAINING)


@router.get("/rules")
def rules(desk: TheDesk, identity: Caller) -> View:
    """Lots, shares, eligibility and prices, each with how it stands, and every alarm."""
    now_us = desk.clock.now_us()
    return desk.loop.ask(lambda state: rules_view(state, now_us))


@router.get("/rates")
def rates(desk: TheDesk, identity: Caller) -> View:
    """What running jobs have shown about rates: observed over modelled, by class of work, model and accelerator."""
    return desk.loop.ask(lambda state: rates_view(state, lambda tenant: sees(identity, tenant)))


@router.get("/events", response_class=StreamingResponse)
async def events(
    request: Request, desk: TheDesk, identity: Caller, job: str = "",
    after: Annotated[int, Query(ge=0, le=2**62)] = 0, follow: bool = True,
) -> StreamingResponse:  # fmt: skip
    """What happened and happens, as server-sent events, oldest first; without `follow` it ends with the newest."""
    job_id = ""
    if job:
        job_id = await asyncio.to_thread(desk.loop.ask, lambda state: find_job(state, job, identity).id)
    last = request.headers.get("last-event-id", "")
    after = int(last) if last.isascii() and last.isdecimal() and len(last) < 19 else after

    def wanted(entry: Entry) -> bool:
        return (not job_id or entry.get("job") == job_id) and ("tenant" not in entry or sees(identity, entry["tenant"]))

    listener = desk.feed.listen(asyncio.get_running_loop()) if follow else None
    return StreamingResponse(_stream(desk, listener, wanted, after), media_type="text/event-stream")


async def _stream(
    desk: Desk, listener: Listener | None, wanted: Callable[[Entry], bool], after: int
) -> AsyncIterator[str]:
    newest = after
    try:
        for entry in desk.feed.history(after):
            newest = max(newest, entry["seq"])
            if wanted(entry):
                yield _message(entry)
        while listener is not None:
            try:
                fresh = await listener.next(KEEPALIVE_S)
            except TimeoutError:
                yield ": alive\n\n"
                continue
            if fresh is None:
                break
            if fresh["seq"] > newest and wanted(fresh):
                yield _message(fresh)
    finally:
        if listener is not None:
            desk.feed.leave(listener)


def _message(entry: Entry) -> str:
    return f"id: {entry['seq']}\nevent: {entry['kind']}\ndata: {json.dumps(entry)}\n\n"


@router.get("/info")
def info(desk: TheDesk, identity: Caller) -> View:
    """Version, mode and cluster of the service, and who the caller is."""
    caller = {"user": identity.user, "tenant": identity.tenant, "role": str(identity.role)}
    return {**desk.info, "mode": str(desk.loop.mode), "caller": caller}


@router.post("/shutdown", status_code=202)
def shutdown(desk: TheDesk, identity: Admin) -> View:
    """End the service; attempts go on running and are adopted at the next start."""
    desk.stop()
    return {"stopping": True}


@open_router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@open_router.get("/readyz")
def readyz(desk: TheDesk) -> dict[str, str]:
    """The engine accepts work."""
    desk.loop.ask(lambda state: state.version)
    return {"status": "ready"}


@open_router.get("/metrics", response_class=Response)
def metrics(request: Request, desk: TheDesk) -> Response:
    """Prometheus' exposition format. From another machine a token is needed; on this one it is not."""
    peer = request.client.host if request.client else ""
    if peer not in ("127.0.0.1", "::1"):
        require(identify(request), Permission.READ)
    return Response(desk.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
