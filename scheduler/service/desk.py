"""What every route of the API works with, and how a request finds its caller and its job."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from fastapi import Depends, Request
from msgspec import Struct

from scheduler.engine.records import JobRecord
from scheduler.engine.state import State
from scheduler.errors import AuthError, NotFoundError, TooLargeError, UsageError
from scheduler.ports import Clock, JournalStore
from scheduler.service.feed import Feed
from scheduler.service.forecasts import Forecaster
from scheduler.service.identity import Identity, Permission, TokenStore, require, sees
from scheduler.service.loop import EngineLoop
from scheduler.service.metrics import Metrics

__all__ = ["allow", "BODY_LIMIT", "body_of", "decoded", "Desk", "desk_of", "find_job", "identify"]

BODY_LIMIT: Final = 256 * 1024
AMBIGUOUS_SHOWN: Final = 5


class Desk(Struct, frozen=True, kw_only=True):
    """`info` is what `/v1/info` tells; `stop` asks the process to end."""

    loop: EngineLoop
    feed: Feed
    tokens: TokenStore
    metrics: Metrics
    clock: Clock
    forecaster: Forecaster
    journal: JournalStore
    new_id: Callable[[], str]
    stop: Callable[[], None]
    info: dict[str, Any]


def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def allow(permission: Permission) -> Callable[[Request], Identity]:
    """A dependency: the caller, once the token is known and its role grants `permission`."""

    def caller(request: Request) -> Identity:
        identity = identify(request)
        require(identity, permission)
        return identity

    caller.permission = permission  # type: ignore[attr-defined]  # the table of routes is checked by it
    return caller


def identify(request: Request) -> Identity:
    """Raises AuthError without a valid bearer token."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AuthError("a token is needed", "send `Authorization: Bearer TOKEN`; the service's home holds one")
    desk = desk_of(request)
    return desk.tokens.identify(token.strip(), desk.clock.now_us())


async def body_of(request: Request, limit: int = BODY_LIMIT) -> bytes:
    """The whole body. Raises TooLargeError as soon as it is clear that it is too large."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLargeError(f"the body is larger than {limit // 1024} KiB", "send less at once")
        parts.append(part)
    return b"".join(parts)


async def _body(request: Request) -> bytes:
    return await body_of(request)


Body = Depends(_body)


def decoded(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises UsageError for anything else."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UsageError(f"the body is not JSON: {error}", "send one JSON object") from error
    if not isinstance(value, dict):
        raise UsageError("the body is not a JSON object", "send one JSON object")
    return value


def find_job(state: State, reference: str, identity: Identity) -> JobRecord:
    """By id, unambiguous prefix of an id, or name; of several jobs with the name the one that lives, of an array the
    first member.

    Raises NotFoundError alike for what is absent and what the caller may not see, UsageError for what is ambiguous.
    """
    exact = state.by_id.get(reference)
    if exact is not None and sees(identity, state.jobs[exact].spec.tenant):
        return state.jobs[exact]
    visible = [job for job in state.jobs if sees(identity, job.spec.tenant)]
    named = [job for job in visible if job.spec.name == reference]
    live = [job for job in named if not job.terminal]
    for found in (live or named, [job for job in visible if job.id.startswith(reference)]):
        if len(found) == 1 or (found and reference == found[0].spec.name and len({_head(job) for job in found}) == 1):
            return found[0]
        if found and reference:
            ids = ", ".join(job.id for job in found[:AMBIGUOUS_SHOWN])
            more = f" and {len(found) - AMBIGUOUS_SHOWN} more" if len(found) > AMBIGUOUS_SHOWN else ""
            raise UsageError(f"{reference!r} may mean {ids}{more}", "name one of them by its id")
    raise NotFoundError(f"no job {reference[:80]!r}", "`dualtrack list` shows those that you may see")


def _head(job: JobRecord) -> int:
    return job.number if job.array is None else job.array.head
