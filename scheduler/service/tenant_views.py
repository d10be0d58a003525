"""The quota tree and the account of use as plain values."""

from collections.abc import Callable, Sequence
from typing import Any

from scheduler.engine.entitled import refresh_limits
from scheduler.engine.state import State
from scheduler.engine.usage import account
from scheduler.model.lifecycle import JobState
from scheduler.model.tenants import COMPUTE_UNITS, MONEY, JobClass, Quota
from scheduler.quota import UNLIMITED
from scheduler.quota.budgets import BudgetUse
from scheduler.quota.entitlement import proportional
from scheduler.quota.past_use import borrow_order
from scheduler.quota.tree import MOST_DEVICES, tier_of
from scheduler.service.feed import iso

__all__ = ["tenants_view", "usage_view"]

View = dict[str, Any]
PRODUCTION, STANDARD = tier_of(JobClass.PRODUCTION), tier_of(JobClass.STANDARD)


def tenants_view(state: State, visible: Callable[[str], bool], now_us: int) -> list[View]:
    """Every tenant with its quota, what it and its children hold, and its place among those who borrow."""
    refresh_limits(state, now_us)
    waiting: dict[str, int] = {}
    running: dict[str, int] = {}
    for number in state.active:
        job = state.jobs[number]
        counted = waiting if job.state is JobState.WAITING else running
        counted[job.spec.tenant] = counted.get(job.spec.tenant, 0) + 1
    faded = state.accounts.past.faded(now_us)
    turns = borrow_order(faded, state.tree.weight, state.tree.parent)
    budgets = state.accounts.budgets.used(now_us)
    return [
        {
            "name": tenant.name,
            "parent": tenant.parent,
            "weight": tenant.weight,
            "rank": tenant.rank,
            "default_class": str(tenant.default_class),
            "admins": list(tenant.admins),
            "waiting": waiting.get(tenant.name, 0),
            "running": running.get(tenant.name, 0),
            "past_use": round(float(faded[number]), 3),
            "turn": int(turns[number]),
            "quotas": [_quota(state, number, quota, budgets) for quota in tenant.quotas],
        }
        for number, tenant in enumerate(state.config.tenants.tenants, start=1)
        if visible(tenant.name)
    ]


def _quota(state: State, tenant: int, quota: Quota, budgets: dict[tuple[int, int], BudgetUse]) -> View:
    """Amounts in devices, compute units in thousandths, money in CNY per hour."""
    tree, ledger = state.tree, state.ledger
    column = tree.column_of(quota.resource)
    shown: View = {
        "resource": quota.resource,
        "nominal": quota.nominal,
        "borrowing_limit": quota.borrowing_limit,
        "lending_limit": quota.lending_limit,
        "ceiling": quota.ceiling,
        "entitled": 0,
        "limit": None,
        "used": 0,
        "production": 0,
        "opportunistic": 0,
        "borrowed": 0,
        "lent": 0,
        "budget": None,
    }
    if column is None:
        return shown
    at = tenant, column
    everybody, firm = int(ledger.held[-1][at]), int(ledger.held[STANDARD][at])
    limit, unit = int(tree.limit[at]), int(tree.unit[column])
    shown |= {
        "used": tree.shown(column, everybody),
        "production": tree.shown(column, int(ledger.held[PRODUCTION][at])),
        "opportunistic": tree.shown(column, everybody - firm),
        "limit": None if limit >= UNLIMITED else tree.shown(column, limit),
    }
    if quota.resource == MONEY and quota.ceiling is not None:
        shown["ceiling"] = tree.shown(column, quota.ceiling)
    if tree.claimed[at]:
        shown |= {
            "entitled": int(ledger.entitled[at]),
            "borrowed": tree.shown(column, max(0, firm - int(tree.nominal[at]) * unit)),
            "lent": _lent(state, tenant, column),
        }
    if at in budgets:
        shown["budget"] = _budget(quota.resource, budgets[at])
    return shown


def _lent(state: State, tenant: int, column: int) -> float:
    """What its siblings hold beyond what they are entitled to, as far as the tenant leaves its own entitlement idle.

    Siblings who leave more idle lend more: parts of what is borrowed, by the largest remainder.
    """
    tree, ledger, unit = state.tree, state.ledger, state.tree.unit[column]
    siblings = tree.children[tree.parent[tenant]]
    firm, entitled = ledger.held[STANDARD][:, column], ledger.entitled[:, column] * unit
    over = [max(0, int(firm[s] - entitled[s])) for s in siblings]
    lending = [min(int(tree.lending[s, column]), MOST_DEVICES) * int(unit) for s in siblings]
    idle = [max(0, min(int(entitled[s] - firm[s]), most)) for s, most in zip(siblings, lending, strict=True)]
    return tree.shown(column, proportional(idle, sum(over))[siblings.index(tenant)])


def _budget(resource: str, use: BudgetUse) -> View:
    """Hours, of devices or compute units; CNY for money."""
    scale = 100 if resource == MONEY else 1_000
    unit = "cny" if resource == MONEY else "unit_hours" if resource == COMPUTE_UNITS else "device_hours"
    return {
        "unit": unit,
        "amount": use.budget / scale,
        "used": use.used / scale,
        "spent": use.spent,
        "period_ends": iso(use.period_ends_us),
    }


def usage_view(
    state: State, by: Sequence[str], since_us: int, until_us: int, visible: Callable[[str], bool]
) -> list[View]:
    """Use between two times by the columns of `by`, of the tenants that the caller sees."""
    columns = [*by, "tenant"]
    found = account(state, columns, since_us, until_us)
    kept: dict[tuple[str, ...], Any] = {}
    for key, use in found.items():
        if visible(key[-1]):
            if key[:-1] in kept:
                kept[key[:-1]].add(use)
            else:
                kept[key[:-1]] = use
    return [{**dict(zip(by, key, strict=True)), **use.hours()} for key, use in sorted(kept.items())]
