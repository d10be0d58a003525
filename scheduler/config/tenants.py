"""Tenant files: the tree with its quota, parents before children."""

from pathlib import Path

from scheduler.config.cursor import Cursor, Fields
from scheduler.config.document import from_values, open_one
from scheduler.config.limits import MAX_LIST, MAX_TENANTS
from scheduler.config.quotas import check_tree, quotas
from scheduler.config.tenant_tree import ordered
from scheduler.config.values import duration, user_name
from scheduler.model.accelerators import Catalog
from scheduler.model.tenants import JobClass, Shortfall, Tenant, Tenants, UserLimits

__all__ = ["decode_tenants", "load_tenants", "tenants_of"]

FIELDS = (
    "name", "parent", "weight", "rank", "quota", "per_user", "default_class", "time_limit", "expected_run", "admins",
    "users",
)  # fmt: skip


def load_tenants(path: str | Path, catalog: Catalog | None = None, *, part: bool = False) -> Tenants:
    """With a catalog, quotas on unknown accelerators and families are refused. A `part` of a tree may lie below tenants
    that it does not list, and borrow from them."""
    return tenants_of(open_one(path, "tenants"), catalog, part=part)


def decode_tenants(values: object, source: str, catalog: Catalog | None = None, *, part: bool = False) -> Tenants:
    return tenants_of(from_values(values, source, "tenants"), catalog, part=part)


def tenants_of(cursor: Cursor, catalog: Catalog | None, *, part: bool = False) -> Tenants:
    fields = cursor.fields("schema", "kind", "shortfall", "tenants")
    shortfall = fields.get("shortfall")
    entries = ordered([item.fields(*FIELDS) for item in fields["tenants"].items(MAX_TENANTS)], part=part)
    tenants = tuple(_tenant(path, entry, catalog) for path, entry in entries)
    check_tree(tenants, dict(entries), catalog, part=part)
    return Tenants(tenants=tenants, shortfall=shortfall.enum(Shortfall) if shortfall else Shortfall.PROPORTIONAL)


def _tenant(path: str, fields: Fields, catalog: Catalog | None) -> Tenant:
    weight, rank, quota, per_user = (fields.get(key) for key in ("weight", "rank", "quota", "per_user"))
    klass, limit, expected = (fields.get(key) for key in ("default_class", "time_limit", "expected_run"))
    return Tenant(
        name=path,
        weight=weight.number(0, 1e6, above=True) if weight else 1.0,
        rank=rank.integer(0, 1_000_000) if rank else 0,
        quotas=quotas(quota, catalog) if quota else (),
        per_user=_per_user(per_user) if per_user else UserLimits(),
        default_class=klass.enum(JobClass) if klass else JobClass.STANDARD,
        time_limit_us=duration(limit) if limit else None,
        expected_run_us=duration(expected) if expected else None,
        admins=_people(fields.get("admins")),
        users=_people(fields.get("users")),
    )


def _per_user(cursor: Cursor) -> UserLimits:
    fields = cursor.fields("max_devices", "max_waiting_jobs")
    devices, waiting = fields.get("max_devices"), fields.get("max_waiting_jobs")
    return UserLimits(
        max_devices=devices.integer() if devices else None,
        max_waiting_jobs=waiting.integer() if waiting else None,
    )


def _people(cursor: Cursor | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(user_name(item) for item in cursor.items(100 * MAX_LIST))) if cursor else ()
