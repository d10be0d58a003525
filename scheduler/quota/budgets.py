"""What was used of each budget in its present period: exact integers, kept by each grant and release.

Periods follow each other from the beginning of 1970 in UTC. Amounts are thousandths of devices or of compute units, or
fen per hour; the account holds them times microseconds. What is held across the end of a period counts in both.
"""

from collections.abc import Iterable
from typing import Self

from msgspec import Struct, structs

from scheduler.model.units import US_PER_S

__all__ = ["BudgetAccount", "BudgetUse"]

US_PER_HOUR = 3_600 * US_PER_S

Key = tuple[int, int]
"""Tenant and column, as TenantTree.budgets has them."""


class BudgetUse(Struct, frozen=True):
    """Of one budget in its period: device-, unit-hours in thousandths, or fen."""

    budget: int
    used: int
    period_ends_us: int

    @property
    def spent(self) -> bool:
        return self.used >= self.budget


class _Row(Struct):
    period_us: int
    begins_us: int = 0
    closed: int = 0  # amount x us of what has ended, in the period
    rate: int = 0  # amount that is held
    since: int = 0  # sum of amount x begin of what is held, no begin before the period's


class BudgetAccount:
    """Budgets by (tenant, column) with (amount, period in us)."""

    def __init__(self, budgets: dict[Key, tuple[int, int]]) -> None:
        self._budgets = budgets
        self._rows = {key: _Row(period_us) for key, (_, period_us) in budgets.items()}

    def fork(self) -> Self:
        """An independent copy."""
        copy = type(self)(self._budgets)
        copy._rows = {key: structs.replace(row) for key, row in self._rows.items()}
        return copy

    def __bool__(self) -> bool:
        return bool(self._rows)

    def hold(self, keys: Iterable[tuple[Key, int]], from_us: int) -> None:
        """So much of each key is held from then on."""
        for key, amount in keys:
            row = self._at(key, from_us)
            row.rate += amount
            row.since += amount * max(from_us, row.begins_us)

    def release(self, keys: Iterable[tuple[Key, int]], from_us: int, until_us: int) -> None:
        """What was held from then on no longer is; what it used stays booked."""
        for key, amount in keys:
            row = self._at(key, until_us)
            begin_us = max(from_us, row.begins_us)
            row.rate -= amount
            row.since -= amount * begin_us
            row.closed += amount * max(0, until_us - begin_us)

    def used(self, now_us: int) -> dict[Key, BudgetUse]:
        found = {}
        for key in self._rows:
            row = self._at(key, now_us)
            used = row.closed + max(0, row.rate * max(now_us, row.begins_us) - row.since)
            found[key] = BudgetUse(self._budgets[key][0], used // US_PER_HOUR, row.begins_us + row.period_us)
        return found

    def _at(self, key: Key, time_us: int) -> _Row:
        """The key's row, in the period of that time or a later one."""
        row = self._rows[key]
        begins_us = time_us - time_us % row.period_us
        if begins_us > row.begins_us:
            row.begins_us, row.closed, row.since = begins_us, 0, row.rate * begins_us
        return row
