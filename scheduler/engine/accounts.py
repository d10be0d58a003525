"""Accounts that follow from the attempts on record: what is left of budgets, and past use, by which borrowers go.

Both are sums over attempts. They are kept by each grant and release, and built anew from the records at a restart or
when quota changes; the two ways agree to the last digit.
"""

from collections.abc import Iterator
from typing import Self

from scheduler.engine.records import Attempt, JobRecord
from scheduler.model.allocations import Allocation, Chosen
from scheduler.model.events import Configured
from scheduler.model.jobs import Work
from scheduler.model.tenants import JobClass
from scheduler.quota.budgets import BudgetAccount
from scheduler.quota.past_use import PastUse
from scheduler.quota.tree import TenantTree
from scheduler.quota.worth import h20_equivalents

__all__ = ["Accounts"]

Key = tuple[int, int]

REMEMBERED = 8192
"""Worths that are kept, of work on devices: programs run again and again."""


class Accounts:
    """`tenant` is the number of the tenant that pays, in the tree in force."""

    def __init__(self, config: Configured, tree: TenantTree) -> None:
        self._config, self._tree = config, tree
        self.budgets = BudgetAccount(tree.budgets)
        self.past = PastUse(len(tree.names), config.policy.usage_half_life_us)
        self._worths: dict[tuple[Work, tuple[Chosen, ...]], float] = {}

    def fork(self, tree: TenantTree) -> Self:
        """An independent copy over a copy of the tree; what is remembered of worths is shared."""
        copy = type(self)(self._config, tree)
        copy.budgets, copy.past, copy._worths = self.budgets.fork(), self.past.fork(), self._worths
        return copy

    def hold(self, tenant: int, job: JobRecord, attempt: Attempt) -> None:
        self.past.change(self._tree.paths[tenant], self._worth(job, attempt.allocation), attempt.allocated_us)
        if self.budgets:
            self.budgets.hold(self._keys(tenant, attempt), attempt.allocated_us)

    def let_go(self, tenant: int, job: JobRecord, attempt: Attempt) -> None:
        """The attempt has ended, at its `ended_us`."""
        until_us = attempt.allocated_us if attempt.ended_us is None else attempt.ended_us
        self.past.change(self._tree.paths[tenant], -self._worth(job, attempt.allocation), until_us)
        if self.budgets:
            self.budgets.release(self._keys(tenant, attempt), attempt.allocated_us, until_us)

    def remember(self, tenant: int, job: JobRecord, attempt: Attempt) -> None:
        """An attempt that ended before these accounts were opened."""
        if attempt.ended_us is None:
            return
        self.past.add(
            self._tree.paths[tenant], self._worth(job, attempt.allocation), attempt.allocated_us, attempt.ended_us
        )
        if self.budgets:
            self.budgets.hold(self._keys(tenant, attempt), attempt.allocated_us)
            self.budgets.release(self._keys(tenant, attempt), attempt.allocated_us, attempt.ended_us)

    def _factor(self, allocation: Allocation) -> float:
        idle = allocation.job_class is JobClass.OPPORTUNISTIC
        return self._config.policy.opportunistic_charge if idle else 1.0

    def _worth(self, job: JobRecord, allocation: Allocation) -> int:
        """Thousandths of an H20-equivalent."""
        asked = job.spec.work, allocation.chosen
        known = self._worths.get(asked)
        if known is None:
            if len(self._worths) >= REMEMBERED:
                self._worths.clear()
            known = self._worths[asked] = h20_equivalents(*asked, self._config.catalog)
        return round(1000 * known * self._factor(allocation))

    def _keys(self, tenant: int, attempt: Attempt) -> list[tuple[Key, int]]:
        return list(self._counted(tenant, attempt))

    def _counted(self, tenant: int, attempt: Attempt) -> Iterator[tuple[Key, int]]:
        """What the attempt uses of each budget above it, per hour: thousandths, or fen."""
        allocation, tree = attempt.allocation, self._tree
        for column, amount in tree.uses(allocation.chosen, allocation.charge, allocation.fen_per_hour or 0):
            for level in tree.paths[tenant]:
                if (level, column) in tree.budgets:
                    yield (level, column), amount
