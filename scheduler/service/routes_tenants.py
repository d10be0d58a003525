"""The API of tenants: the quota tree, its changes, and the account of use."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query

from scheduler.config import decode_tenants
from scheduler.engine import intake
from scheduler.engine.image import encode
from scheduler.engine.state import State
from scheduler.engine.usage import BY
from scheduler.errors import UsageError
from scheduler.model.units import US_PER_S
from scheduler.service.desk import Body, Desk, allow, decoded, desk_of
from scheduler.service.identity import Identity, Permission, sees
from scheduler.service.loop import Proposal
from scheduler.service.quota_changes import divided, effects
from scheduler.service.tenant_views import tenants_view, usage_view

__all__ = ["change_tenants", "router", "tenants", "usage"]

View = dict[str, Any]
router = APIRouter(prefix="/v1")
_JSON: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
}
Caller = Annotated[Identity, Depends(allow(Permission.READ))]
Doer = Annotated[Identity, Depends(allow(Permission.ACT))]
TheDesk = Annotated[Desk, Depends(desk_of)]


@router.get("/tenants")
def tenants(desk: TheDesk, identity: Caller) -> dict[str, list[View]]:
    """The tenants that the caller sees, with quota, use, and counts of jobs."""
    now_us = desk.clock.now_us()
    return {"items": desk.loop.ask(lambda state: tenants_view(state, lambda name: sees(identity, name), now_us))}


@router.post("/tenants", openapi_extra=_JSON)
def change_tenants(desk: TheDesk, identity: Doer, body: Annotated[bytes, Body], dry_run: bool = False) -> View:
    """Put another quota tree in force: the body is what a tenants file holds. An administrator replaces the tree, the
    admin of a tenant divides what lies below it. What runs goes on; with `dry_run` nothing changes.

    Answers who would be reclaimed at once, and what would be stranded.
    """
    values = decoded(body)
    now_us = desk.clock.now_us()
    catalog = desk.loop.ask(lambda state: state.config.catalog)
    wanted = decode_tenants(values, "tenants", catalog, part=True)
    image, old = desk.loop.ask(lambda state: (encode(state), state.config))
    merged = divided(old.tenants, wanted, identity, catalog)
    found = {**effects(image, msgspec.structs.replace(old, tenants=merged), now_us), "applied": not dry_run}
    for part in ("reclaimed", "stranded"):
        found[part] = [job for job in found[part] if sees(identity, job["tenant"])]
    if dry_run:
        return found

    def change(state: State, now_us: int) -> Proposal:
        whole = divided(state.config.tenants, wanted, identity, state.config.catalog)
        config = msgspec.structs.replace(state.config, tenants=whole)
        return Proposal((intake.configured(state, config),), lambda _: found)

    answer: View = desk.loop.change(change)
    return answer


@router.get("/usage")
def usage(
    desk: TheDesk, identity: Caller, by: str = "tenant", since: Annotated[str, Query(alias="from")] = "",
    until: Annotated[str, Query(alias="to")] = "",
) -> dict[str, Any]:  # fmt: skip
    """Device-, compute-unit- and H20-equivalent-hours and money between two ISO times (default: all, and now).

    What was lost to our own preemption stands apart and is not charged.
    """
    names = tuple(name for name in by.split(",") if name)
    if not names or any(name not in BY for name in names) or len(set(names)) != len(names):
        raise UsageError(f"cannot account by {by[:60]!r}", f"use some of {','.join(BY)}")
    now_us = desk.clock.now_us()
    span = (_time(since, 0), _time(until, now_us))
    visible: Callable[[str], bool] = lambda name: sees(identity, name)  # noqa: E731
    return {"by": list(names), "items": desk.loop.ask(lambda state: usage_view(state, names, *span, visible))}


def _time(text: str, default_us: int) -> int:
    if not text:
        return default_us
    try:
        # a plus sign in a query string arrives as a space
        return round(datetime.fromisoformat(text.replace(" ", "+")).timestamp() * US_PER_S)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text[:40]!r} is not an ISO time", "write it like 2026-05-01T00:00:00Z") from error
