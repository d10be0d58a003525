"""Jobs come in: one at a time or many at once, each acknowledged once it is durable.

These two requests are what a busy service answers most, so they skip FastAPI's router and its solver of dependencies,
which would take longer than all the rest of them together: see `Shortcut`. They are routes like all others to whoever
reads /openapi.json, and would be answered alike without the shortcut.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Struct
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from scheduler.config import decode_job
from scheduler.engine import intake
from scheduler.engine.state import State
from scheduler.errors import DualtrackError, ForbiddenError, UsageError
from scheduler.model.accelerators import Catalog
from scheduler.model.events import Actor
from scheduler.model.jobs import Job
from scheduler.service.configuration import DEFAULT_TENANT
from scheduler.service.desk import Desk, body_of, decoded, desk_of, identify
from scheduler.service.faults import error_body
from scheduler.service.identity import Identity, Permission, Role, actor_of, require
from scheduler.service.loop import Change, Proposal
from scheduler.service.views import job_view

__all__ = ["in_its_tenant", "router", "Shortcut", "SHORTCUTS", "Submission", "submission_of", "submit", "submit_many"]

MAX_KEY: Final = 128
MAX_JOBS: Final = 1_000
MANY_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a body with many jobs."""

_JOB: Final = {"schema": {"type": "object"}}
_ONE: Final = {
    "requestBody": {"required": True, "content": {"application/json": _JOB}},
    "parameters": [
        {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": MAX_KEY, "default": ""}}
    ],
}
_ITEM: Final = {
    "type": "object",
    "required": ["job"],
    "properties": {"job": {"type": "object"}, "key": {"type": "string", "maxLength": MAX_KEY, "default": ""}},
}
_MANY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["items"],
                    "properties": {"items": {"type": "array", "minItems": 1, "maxItems": MAX_JOBS, "items": _ITEM}},
                }
            }
        },
    }
}
_encode: Final = msgspec.json.Encoder().encode
_REMEDY: Final = 'send `{"items": [{"job": {...}, "key": "..."}, ...]}`'

router = APIRouter(prefix="/v1")


class Submission(Struct, frozen=True):
    """A job that was sent in, and by whom. `digest` tells one body from another; it is empty where no key was given.

    `classless`: it leaves the class to its tenant. `anywhere`: whoever sent it may enter jobs in any tenant.
    """

    job: Job
    actor: Actor
    classless: bool
    anywhere: bool
    key: str = ""
    digest: str = ""


def submission_of(values: Mapping[str, Any], identity: Identity, catalog: Catalog, key: str = "") -> Submission:
    """`catalog` says what a named model and its accelerators are.

    Raises ConfigError for what is no job, UsageError for a key that is none, NotFoundError for another's tenant."""
    if len(key) > MAX_KEY or not key.isascii():
        raise UsageError(f"an Idempotency-Key is at most {MAX_KEY} ASCII characters", "draw a shorter one")
    job = decode_job(values, catalog=catalog)
    actor = actor_of(identity, job.tenant)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest() if key else ""
    job = msgspec.structs.replace(job, tenant=actor.tenant)
    return Submission(job, actor, "class" not in values, identity.role is Role.ADMIN, key, digest)


def in_its_tenant(state: State, sent: Submission) -> Job:
    """The job, in the default tenant if it names none, and in its tenant's class if it states none.

    Raises UsageError where there is no default tenant, ForbiddenError where it lists its users and this is none.
    """
    job = _tenanted(state, sent.job)
    tenant = state.config.tenants.get(job.tenant)
    if tenant is None:
        return job
    if tenant.users and sent.actor.user not in (*tenant.users, *tenant.admins) and not sent.anywhere:
        problem = f"`{sent.actor.user}` is not among the users of `{tenant.name}`"
        raise ForbiddenError(problem, "ask its administrator to add you, or name another tenant")
    return msgspec.structs.replace(job, job_class=tenant.default_class) if sent.classless else job


def _tenanted(state: State, job: Job) -> Job:
    if job.tenant:
        return job
    if DEFAULT_TENANT not in state.tree.index:
        names = ", ".join(tenant.name for tenant in state.config.tenants.tenants)
        raise UsageError("the job names no tenant, and neither does the token", f"name one of {names} with `tenant:`")
    return msgspec.structs.replace(job, tenant=DEFAULT_TENANT)


def _entering(desk: Desk, sent: Submission) -> Change:
    def change(state: State, now_us: int) -> Proposal:
        spec = in_its_tenant(state, sent)
        events = intake.submission(state, spec, sent.actor, desk.new_id, now_us, sent.key, sent.digest)
        numbers = [e.job for e in events] or list(intake.existing_for_key(state, sent.actor, sent.key))
        return Proposal(events, lambda s: [job_view(s, s.jobs[n], desk.clock.now_us()) for n in numbers])

    return change


def _caller(request: Request) -> tuple[Desk, Identity]:
    identity = identify(request)
    require(identity, Permission.SUBMIT)
    return desk_of(request), identity


def _answer(value: object, status: int) -> Response:
    return Response(_encode(value), status, media_type="application/json")


@router.post("/jobs", status_code=201, openapi_extra=_ONE)
async def submit(request: Request) -> Response:
    """Enter a job, as a job file has it. The same key with the same body again enters nothing and answers alike."""
    desk, identity = _caller(request)
    values = decoded(await body_of(request))
    sent = submission_of(values, identity, desk.loop.catalog, request.headers.get("idempotency-key", ""))
    return _answer({"items": await desk.loop.change_soon(_entering(desk, sent))}, 201)


@router.post("/jobs/batch", openapi_extra=_MANY)
async def submit_many(request: Request) -> Response:
    """Enter up to 1,000 jobs in their order, with one commit. Each stands alone: for each there is an item with its
    `jobs`, or with the `error` that refused it. A `key` makes one safe to send again."""
    desk, identity = _caller(request)
    body = await body_of(request, MANY_LIMIT)
    found = await run_in_threadpool(_read_many, body, identity, desk.loop.catalog)
    sent = [item for item in found if isinstance(item, Submission)]
    answers = iter(await desk.loop.change_all_soon([_entering(desk, item) for item in sent]))
    told = [next(answers) if isinstance(item, Submission) else item for item in found]
    return _answer({"items": [error_body(x) if isinstance(x, DualtrackError) else {"jobs": x} for x in told]}, 200)


class _Item(Struct, frozen=True, forbid_unknown_fields=True):
    job: dict[str, Any]
    key: str = ""


def _read_many(body: bytes, identity: Identity, catalog: Catalog) -> list[Submission | DualtrackError]:
    items = decoded(body).get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_JOBS:
        raise UsageError(f"`items` is to be a list of 1 to {MAX_JOBS:,} jobs", _REMEDY)
    return [_read(item, identity, catalog) for item in items]


def _read(item: object, identity: Identity, catalog: Catalog) -> Submission | DualtrackError:
    try:
        found = msgspec.convert(item, _Item)
        return submission_of(found.job, identity, catalog, found.key)
    except msgspec.ValidationError as error:
        return UsageError(f"an item holds a `job`, perhaps a `key`, and nothing else: {error}", _REMEDY)
    except DualtrackError as error:
        return error


Handler = Callable[[Request], Awaitable[Response]]

SHORTCUTS: Final[Mapping[str, Handler]] = {"/v1/jobs": submit, "/v1/jobs/batch": submit_many}
"""By the path that is posted to."""


class Shortcut:
    """Leads requests of `SHORTCUTS` to their handlers past the router. `refused` words an error."""

    def __init__(self, app: ASGIApp, refused: Callable[[DualtrackError], Response]) -> None:
        self._app = app
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = SHORTCUTS.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        try:
            response = await handler(Request(scope, receive))
        except DualtrackError as error:
            response = self._refused(error)
        await response(scope, receive, send)
