"""Changing quota: who may change what, and what would follow. Pure; the effects are tried on a copy of the state."""

from collections.abc import Iterator
from typing import Any

from scheduler.config import decode_tenants, encode_tenants
from scheduler.engine import intake
from scheduler.engine.engine import Engine
from scheduler.engine.entitled import refresh_limits
from scheduler.engine.image import decode
from scheduler.engine.options import OptionRow
from scheduler.engine.state import State
from scheduler.errors import ForbiddenError
from scheduler.model.accelerators import Catalog
from scheduler.model.events import Configured, StopOrdered
from scheduler.model.lifecycle import JobState
from scheduler.model.reasons import ReasonCode
from scheduler.model.tenants import Tenant, Tenants
from scheduler.service.identity import GRANTS, Identity, Permission, Role, sees

__all__ = ["divided", "effects", "may_divide"]

View = dict[str, Any]


def may_divide(identity: Identity, tenants: Tenants) -> tuple[str, ...]:
    """The tenants whose subtree the caller may divide: those that list the user as admin, and, with the role for it,
    the token's own."""
    named = [t.name for t in tenants.tenants if identity.user in t.admins and sees(identity, t.name)]
    own = [identity.tenant] if identity.role is Role.TENANT_ADMIN and identity.tenant else []
    return tuple(dict.fromkeys(own + named))


def divided(old: Tenants, wanted: Tenants, identity: Identity, catalog: Catalog) -> Tenants:
    """The tree that the caller's file means.

    Who may administer the service replaces the whole tree. Anybody else divides their own: tenants strictly below
    those that they administer are as the file has them, all others stay, and the file may not say otherwise of them;
    so nobody raises the quota of their own root. Raises ForbiddenError, and ConfigError for quotas that contradict
    each other.
    """
    if Permission.ADMINISTER in GRANTS[identity.role]:
        return _consistent(wanted, catalog)
    roots = may_divide(identity, old)
    if not roots:
        raise ForbiddenError("you administer no tenant", "ask an administrator to list you among its `admins`")
    for tenant in wanted.tenants:
        if not _below(tenant.name, roots) and tenant != old.get(tenant.name):
            raise ForbiddenError(
                f"you may not change `{tenant.name}`, only divide what lies below {', '.join(roots)}",
                "leave it as it is, or out of the file",
            )
    kept = [tenant for tenant in old.tenants if not _below(tenant.name, roots)]
    named = {tenant.name for tenant in kept}
    changed = [tenant for tenant in wanted.tenants if tenant.name not in named]
    for tenant in changed:
        _check_source(tenant, old, roots, catalog)
    whole = Tenants(tenants=tuple(_parents_first([*kept, *changed])), shortfall=old.shortfall)
    return _consistent(whole, catalog)


def _check_source(tenant: Tenant, old: Tenants, roots: tuple[str, ...], catalog: Catalog) -> None:
    """What is promised below a tenant comes from what it, or one above it, was promised of that or of its family."""
    root = next(root for root in roots if tenant.name.startswith(root + "/"))
    above = [old.get(root.rsplit("/", n)[0]) for n in range(root.count("/") + 1)]
    promised = {quota.resource for t in above if t for quota in t.quotas if quota.nominal}
    for quota in tenant.quotas:
        chip = catalog.get(quota.resource)
        if quota.nominal and not promised & {quota.resource, f"family:{chip.family}" if chip else ""}:
            raise ForbiddenError(
                f"`{root}` was promised no {quota.resource}, so none of it can be promised to `{tenant.name}`",
                f"give it a ceiling, or ask for quota of `{root}`",
            )


def _consistent(tenants: Tenants, catalog: Catalog) -> Tenants:
    """Read again as a file, with all its checks."""
    return decode_tenants(encode_tenants(tenants), "tenants", catalog)


def _below(name: str, roots: tuple[str, ...]) -> bool:
    return any(name.startswith(root + "/") for root in roots)


def _parents_first(tenants: list[Tenant]) -> list[Tenant]:
    return sorted(tenants, key=lambda tenant: tenant.name.count("/"))


def effects(image: bytes, wanted: Configured, now_us: int) -> View:
    """What the change would do at once: who would be reclaimed that would not be anyhow, and what would be stranded.

    Stranded are running jobs of which quota, rules and cluster would not admit the like any more, waiting jobs that
    could never start, and the jobs of tenants that are gone: they run on, and count at the nearest tenant above. Each
    says why: `tenant_gone`, or the code of a reason. Raises ConflictError where the change may not be made.
    """
    before, after = decode(image), decode(image)
    event = intake.configured(after, wanted)
    anyhow = {event.job for event in _stops(before, now_us)}
    Engine(after).fold(event, now_us)
    stranded = list(_stranded(decode(image), wanted, now_us))
    reclaimed = [
        {**_job(after, stop.job), "cause": str(stop.cause), "for": after.jobs[stop.for_job].id}
        for stop in _stops(after, now_us)
        if stop.job not in anyhow and stop.for_job >= 0
    ]
    return {
        "reclaimed": reclaimed,
        "stranded": stranded,
        "tenants": _differences(before.config.tenants, wanted.tenants),
    }


def _stops(state: State, now_us: int) -> list[StopOrdered]:
    return [event for event in Engine(state).decide(now_us).events if isinstance(event, StopOrdered)]


def _stranded(state: State, wanted: Configured, now_us: int) -> Iterator[View]:
    refresh_limits(state, now_us)
    could = {number: _could_start(state, number) for number in state.active}
    Engine(state).fold(wanted, now_us)
    refresh_limits(state, now_us)
    for number in state.active:
        job = state.jobs[number]
        if job.spec.tenant not in state.tree.index:
            yield {**_job(state, number), "why": "tenant_gone"}
        elif could[number] and not _could_start(state, number):
            yield {**_job(state, number), "why": _why(state, number)}


def _could_start(state: State, number: int) -> bool:
    """Whether all is admitted that the job holds, or, of a waiting one, any of its options, when nothing else runs."""
    return any(state.rows.admits_alone(row) for row in _options(state, number))


def _options(state: State, number: int) -> list[OptionRow]:
    held = state.jobs[number].attempt
    rows = state.rows_of[number].rows
    return [row for row in rows if held is None or row.option.chosen == held.allocation.chosen]


def _why(state: State, number: int) -> str:
    """The code of the reason that excludes what the job holds or could take; what no rule closes, quota does."""
    held = state.jobs[number].attempt
    wanted = [part.accelerator for part in held.allocation.chosen] if held else []
    excluded = [reason for part, reason in state.rows_of[number].excluded if not held or part.accelerator in wanted]
    return str(ReasonCode.EXCEEDS_QUOTA if _options(state, number) or not excluded else excluded[0].code)


def _job(state: State, number: int) -> View:
    job = state.jobs[number]
    running = job.state in (JobState.STARTING, JobState.RUNNING, JobState.STOPPING)
    return {"id": job.id, "name": job.spec.name, "tenant": job.spec.tenant, "state": str(job.state), "running": running}


def _differences(old: Tenants, new: Tenants) -> list[View]:
    """Tenants that appear, go, or change."""
    names = dict.fromkeys([*(t.name for t in old.tenants), *(t.name for t in new.tenants)])
    found = []
    for name in names:
        before, after = old.get(name), new.get(name)
        if before != after:
            change = "added" if before is None else "removed" if after is None else "changed"
            found.append({"name": name, "change": change})
    return found
