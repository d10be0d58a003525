"""Tenants as what their file would hold: reading it again gives the same tenants."""

from typing import Any

from scheduler.config.document import SCHEMA
from scheduler.config.quotas import UNLIMITED_BORROWING
from scheduler.config.values import format_duration
from scheduler.model.tenants import COMPUTE_UNITS, MONEY, JobClass, Quota, Tenant, Tenants
from scheduler.model.units import WHOLE_DEVICE

__all__ = ["encode_tenants"]

Form = dict[str, Any]


def encode_tenants(tenants: Tenants) -> Form:
    return {
        "schema": SCHEMA,
        "kind": "tenants",
        "shortfall": tenants.shortfall.value,
        "tenants": [_tenant(tenant) for tenant in tenants.tenants],
    }


def _tenant(tenant: Tenant) -> Form:
    form: Form = {"name": tenant.name, "weight": tenant.weight, "rank": tenant.rank}
    if tenant.quotas:
        form["quota"] = {quota.resource: _quota(quota) for quota in tenant.quotas}
    per_user = {"max_devices": tenant.per_user.max_devices, "max_waiting_jobs": tenant.per_user.max_waiting_jobs}
    if any(value is not None for value in per_user.values()):
        form["per_user"] = {key: value for key, value in per_user.items() if value is not None}
    if tenant.default_class is not JobClass.STANDARD:
        form["default_class"] = tenant.default_class.value
    for key, us in (("time_limit", tenant.time_limit_us), ("expected_run", tenant.expected_run_us)):
        if us is not None:
            form[key] = format_duration(us)
    for key, people in (("admins", tenant.admins), ("users", tenant.users)):
        if people:
            form[key] = list(people)
    return form


def _quota(quota: Quota) -> Form:
    if quota.resource == MONEY:
        return _money(quota)
    form: Form = {}
    if quota.nominal or (quota.ceiling is None and quota.budget is None):
        form["nominal"] = quota.nominal
    if quota.borrowing_limit is not None:
        whole = quota.borrowing_limit == UNLIMITED_BORROWING
        form["borrowing_limit"] = "unlimited" if whole else quota.borrowing_limit
    if quota.lending_limit is not None:
        form["lending_limit"] = quota.lending_limit
    if quota.ceiling is not None:
        form["ceiling"] = quota.ceiling
    if quota.budget is not None:
        form["budget_hours"] = quota.budget / (1 if quota.resource == COMPUTE_UNITS else WHOLE_DEVICE)
        form["per"] = format_duration(quota.budget_period_us)
    return form


def _money(quota: Quota) -> Form:
    form: Form = {}
    if quota.ceiling is not None:
        form["ceiling_cny_per_hour"] = quota.ceiling / 100
    if quota.budget is not None:
        form |= {"budget_cny": quota.budget / 100, "per": format_duration(quota.budget_period_us)}
    return form
