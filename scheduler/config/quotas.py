"""Quota within tenant files: what one entry may say, and what entries of the tree must not contradict."""

from collections.abc import Mapping, Sequence
from typing import Final

from scheduler.config.cursor import Cursor, Fields, nearest
from scheduler.config.limits import MAX_AMOUNT
from scheduler.config.values import duration, fen, name
from scheduler.model.accelerators import Catalog, Track
from scheduler.model.tenants import COMPUTE_UNITS, MONEY, Quota, Tenant
from scheduler.model.units import WHOLE_DEVICE

__all__ = ["UNLIMITED_BORROWING", "check_tree", "quotas"]

UNLIMITED_BORROWING: Final = MAX_AMOUNT
"""What `borrowing_limit: unlimited` means: as much as others lend."""

LIMITS: Final = ("nominal", "borrowing_limit", "lending_limit", "ceiling")
PROMISES: Final = ("nominal", "borrowing_limit", "lending_limit")
MAX_QUOTAS: Final = 256


def quotas(cursor: Cursor, catalog: Catalog | None) -> tuple[Quota, ...]:
    """A mapping from resource to a number (its nominal quota) or to limits by name."""
    return tuple(_quota(_resource(key, item, catalog), item) for key, item in cursor.pairs(MAX_QUOTAS))


def _resource(key: str, item: Cursor, catalog: Catalog | None) -> str:
    """`h200`, `family:h20`, `track:imported`, `compute_units` or `money`."""
    if key in (COMPUTE_UNITS, MONEY):
        return key
    prefix, colon, rest = key.partition(":")
    known: tuple[str, ...]
    if not colon:
        known = catalog.names if catalog else (name(item.key_as_value(key), "resource"),)
        forms = (*known, COMPUTE_UNITS, MONEY)
        if key not in known and catalog and key in catalog.families:
            raise item.wrong(f"`{key}` is a family", f"write `family:{key}`")
        if key not in known:
            raise item.wrong(f"unknown accelerator `{key[:80]}`", nearest(key, forms))
    elif prefix == "family":
        known = catalog.families if catalog else (name(item.key_as_value(rest), "family"),)
        if rest not in known:
            raise item.wrong(f"unknown family `{rest[:80]}`", nearest(rest, known))
    elif prefix == "track":
        known = tuple(track.value for track in Track)
        if rest not in known:
            raise item.wrong(f"unknown track `{rest[:80]}`", nearest(rest, known))
    else:
        raise item.wrong(
            f"`{key[:80]}` is not a resource", "an accelerator, family:..., track:..., compute_units, money"
        )
    return key


def _quota(resource: str, cursor: Cursor) -> Quota:
    if not cursor.is_mapping:
        if resource == MONEY:
            remedy = "write {budget_cny: 100000, per: 30d} or {ceiling_cny_per_hour: 500}"
            raise cursor.expected("a mapping", remedy)
        _no_promise(resource, cursor, f"write {{ceiling: {cursor.integer(0, MAX_AMOUNT)}}}")
        return Quota(resource=resource, nominal=cursor.integer(0, MAX_AMOUNT))
    if resource == MONEY:
        return _money(cursor)
    fields = cursor.fields(*LIMITS, "budget_hours", "per")
    limits = {key: _limit(key, item) for key in LIMITS if (item := fields.get(key))}
    for key in PROMISES:
        if key in limits:
            _no_promise(resource, fields[key], "give it a ceiling or a budget")
    hours = fields.get("budget_hours")
    _no_period_alone(fields, "budget_hours")
    scale = 1 if resource == COMPUTE_UNITS else WHOLE_DEVICE
    quota = Quota(
        resource=resource,
        budget=round(hours.number(0, MAX_AMOUNT / scale) * scale) if hours else None,
        budget_period_us=_period(fields) if hours else 0,
        **limits,
    )
    if quota.ceiling is not None and quota.ceiling < quota.nominal:
        raise fields["ceiling"].wrong(f"the ceiling {quota.ceiling} is below the nominal {quota.nominal}")
    if quota.lending_limit is not None and quota.lending_limit > quota.nominal:
        problem = f"{quota.lending_limit} could be lent of a nominal {quota.nominal}"
        raise fields["lending_limit"].wrong(problem, f"at most {quota.nominal}")
    return quota


def _money(cursor: Cursor) -> Quota:
    fields = cursor.fields("ceiling_cny_per_hour", "budget_cny", "per")
    ceiling, budget = fields.get("ceiling_cny_per_hour"), fields.get("budget_cny")
    _no_period_alone(fields, "budget_cny")
    if ceiling is None and budget is None:
        raise cursor.wrong("limits nothing", "give `budget_cny` with `per`, or `ceiling_cny_per_hour`")
    return Quota(
        resource=MONEY,
        ceiling=fen(ceiling) if ceiling else None,
        budget=fen(budget) if budget else None,
        budget_period_us=_period(fields) if budget else 0,
    )


def _no_period_alone(fields: Fields, budget: str) -> None:
    if fields.get("per") and fields.get(budget) is None:
        raise fields["per"].wrong("is a period without a budget", f"give `{budget}` too")


def _limit(key: str, item: Cursor) -> int:
    if key == "borrowing_limit" and item.node.value == "unlimited":
        return UNLIMITED_BORROWING
    return item.integer(0, MAX_AMOUNT)


def _no_promise(resource: str, place: Cursor, remedy: str) -> None:
    if resource == COMPUTE_UNITS or resource.startswith("track:"):
        raise place.wrong(f"`{resource}` is not promised in devices, and nobody borrows it", remedy)


def _period(fields: Fields) -> int:
    us = duration(fields["per"])
    if us == 0:
        raise fields["per"].wrong("must be longer than zero")
    return us


def check_tree(
    tenants: Sequence[Tenant], places: Mapping[str, Fields], catalog: Catalog | None = None, *, part: bool = False
) -> None:
    """What no tenant's entry can tell alone; each error stands at the entry that makes the contradiction."""
    ceilings: dict[tuple[str, str], tuple[int, str]] = {}
    left: dict[tuple[str, str], int] = {}
    for tenant in tenants:
        for quota in tenant.quotas:
            place = _place(places, tenant, quota.resource)
            if not part:
                _check_lender(tenant, quota, tenants, place)
            _check_ceiling(tenant, quota, ceilings, place)
            _check_promise(tenant, quota, left, place)
            if catalog is not None:
                _check_family(tenant, quota, catalog, place)


def _place(places: Mapping[str, Fields], tenant: Tenant, resource: str) -> Cursor:
    return next(item for key, item in places[tenant.name]["quota"].pairs(MAX_QUOTAS) if key == resource)


def _check_promise(tenant: Tenant, quota: Quota, left: dict[tuple[str, str], int], place: Cursor) -> None:
    """Children are promised parts of what the nearest tenant above them was; `left` is what of it is not yet given."""
    above = tenant.parent
    while above and (above, quota.resource) not in left:
        above = above.rpartition("/")[0]
    if above and quota.nominal > left[above, quota.resource]:
        rest = left[above, quota.resource]
        problem = f"the nominal {quota.nominal} is more than the {rest} that `{above}` has left to give"
        raise place.wrong(problem, f"lower it, or give `{above}` more")
    if above:
        left[above, quota.resource] -= quota.nominal
    if quota.nominal or (quota.ceiling is None and quota.budget is None):
        left[tenant.name, quota.resource] = quota.nominal


def _check_family(tenant: Tenant, quota: Quota, catalog: Catalog, place: Cursor) -> None:
    """A family holds a total above its members."""
    chip = catalog.get(quota.resource)
    whole = next((q for q in tenant.quotas if chip and q.resource == f"family:{chip.family}" and q.nominal), None)
    if whole is not None and quota.nominal > whole.nominal:
        problem = (
            f"the nominal {quota.nominal} is above the {whole.nominal} of `{whole.resource}`, which holds them all"
        )
        raise place.wrong(problem, "lower it, or raise that of the family")


def _check_lender(tenant: Tenant, quota: Quota, tenants: Sequence[Tenant], place: Cursor) -> None:
    if quota.borrowing_limit and not tenant.parent and sum(1 for other in tenants if not other.parent) == 1:
        problem = f"`{tenant.name}` has neither a parent nor a neighbour to borrow from"
        raise place.wrong(problem, "remove `borrowing_limit`, or list the other tenants")


def _check_ceiling(
    tenant: Tenant, quota: Quota, ceilings: dict[tuple[str, str], tuple[int, str]], place: Cursor
) -> None:
    """A nominal above an ancestor's ceiling could never be used. `ceilings` holds the nearest one above each tenant."""
    above = tenant.parent
    lowest: tuple[int, str] | None = None
    while above and lowest is None:
        lowest = ceilings.get((above, quota.resource))
        above = above.rpartition("/")[0]
    if lowest is not None and quota.nominal > lowest[0]:
        problem = f"the nominal {quota.nominal} is above the ceiling {lowest[0]} of `{lowest[1]}`"
        raise place.wrong(problem, "lower it, or raise the ceiling")
    if quota.ceiling is not None:
        ceilings[(tenant.name, quota.resource)] = (quota.ceiling, tenant.name)
