"""Reasons as small integers, so that a cycle says only what changed: amounts drift with every event, codes do not; and
what a limit in the way has to tell."""

from typing import Final

from scheduler.model.reasons import Reason, ReasonCode
from scheduler.quota.budgets import BudgetUse

__all__ = ["budget_reason", "key_of", "limited_resource"]

_CODES: Final = {code: number for number, code in enumerate(ReasonCode, start=1)}


def key_of(reason: Reason | None) -> int:
    """Equal for reasons that differ in amounts only; 0 for none. Stable between processes."""
    if reason is None:
        return 0
    name = 0
    for letter in reason.accelerator.encode():
        name = (name * 131 + letter) % 1_000_003
    return _CODES[reason.code] + 64 * name


def budget_reason(budget: BudgetUse, accelerator: str, tenant: str, resource: str) -> Reason:
    """A budget of the tenant that is spent until its period ends."""
    return Reason(
        code=ReasonCode.MONEY_BUDGET,
        accelerator=accelerator,
        need=budget.budget,
        have=budget.used,
        limit=budget.budget,
        used=budget.used,
        who=tenant,
        until_us=budget.period_ends_us,
        resource=resource,
    )


def limited_resource(resource: str, accelerator: str) -> str:
    """As a reason names it: only where it is not the accelerator itself."""
    return "" if resource in (accelerator, "devices") else resource
