"""A hypothesis on room and ledger: take and release as if, and go back. Preemption, choice and dry runs use it."""

from collections.abc import Callable, Sequence
from typing import Self

from scheduler.engine.asking import demands_now
from scheduler.engine.options import OptionRow
from scheduler.engine.records import JobRecord
from scheduler.engine.windows import place_outside
from scheduler.model.allocations import Allocation, Grant
from scheduler.placement.room import Room
from scheduler.placement.strategies import Strategy
from scheduler.quota.ledger import Ledger

__all__ = ["Statement"]

Shut = Callable[[JobRecord, OptionRow], Sequence[int]]


class Statement:
    """Copies of room and ledger with a log of what was done to them.

    `shut` names the nodes on which a job may not start on an option, whatever is free.
    `checkpoint` names a moment, `rollback` returns to it; dropping the statement drops the hypothesis.
    """

    def __init__(self, room: Room, ledger: Ledger, shut: Shut = lambda _job, _row: ()) -> None:
        self.room = room.fork()
        self.ledger = ledger.fork()
        self._shut = shut
        self._log: list[tuple[int, str, Allocation, int]] = []

    def fork(self) -> Self:
        """An independent hypothesis that begins as this one is now, without its log."""
        copy = type(self).__new__(type(self))
        copy.room, copy.ledger = self.room.fork(), self.ledger.fork()
        copy._shut = self._shut
        copy._log = []
        return copy

    def checkpoint(self) -> int:
        return len(self._log)

    def rollback(self, moment: int) -> None:
        while len(self._log) > moment:
            tenant, user, allocation, sign = self._log.pop()
            self._apply(tenant, user, allocation, -sign)

    def take(self, tenant: int, user: str, allocation: Allocation) -> None:
        self._apply(tenant, user, allocation, 1)
        self._log.append((tenant, user, allocation, 1))

    def release(self, tenant: int, user: str, allocation: Allocation) -> None:
        self._apply(tenant, user, allocation, -1)
        self._log.append((tenant, user, allocation, -1))

    def _apply(self, tenant: int, user: str, allocation: Allocation, sign: int) -> None:
        if sign > 0:
            self.room.take(allocation.grants)
        else:
            self.room.give(allocation.grants)
        self.ledger.add(tenant, user, allocation, sign)

    def fit(self, job: JobRecord, tenant: int, row: OptionRow, strategy: Strategy) -> Allocation | None:
        """An allocation of the option within quota and room as they are here, or None."""
        option = row.option
        job_class = job.spec.job_class
        if self.ledger.shortages(tenant, job.actor.user, option.chosen, option.charge, job_class):
            return None
        demands = demands_now(job, row.demands)
        grants: tuple[Grant, ...] | None = place_outside(self.room, row.cell, demands, self._shut(job, row), strategy)
        if grants is None:
            return None
        rate = option.rate
        return Allocation(
            chosen=option.chosen,
            grants=grants,
            rate=rate.value,
            charge=option.charge,
            job_class=job_class,
            modelled=rate.value / rate.learned if rate.absolute else 0.0,
            layout=option.layout,
            fen_per_hour=self.ledger.tree.fen_per_hour(option.chosen, job_class),  # at most, whatever its nodes
        )
