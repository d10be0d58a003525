"""Reserved windows: which nodes are shut to a job because it would still run when a window begins.

How long a job runs is its time limit with the notice it gets; without a limit, its declared work at the slow end of the
rate's band; and else nobody knows, so that it counts as endless.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from scheduler.engine.options import OptionRow
from scheduler.engine.records import JobRecord
from scheduler.model.allocations import Allocation, Grant
from scheduler.model.events import Configured
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.reservations import Reservation
from scheduler.model.rules import within
from scheduler.model.units import FOREVER_US, US_PER_S
from scheduler.placement.feasibility import Demand
from scheduler.placement.gang import BEST_FIT, place
from scheduler.placement.room import Fleet, Room
from scheduler.placement.strategies import Strategy

__all__ = ["Windows", "place_outside"]

NOBODY: Final[tuple[int, ...]] = ()


class Windows:
    """The reservations over one fleet. Nodes that the fleet no longer has are passed over."""

    def __init__(self, config: Configured, fleet: Fleet, reservations: Iterable[Reservation] = ()) -> None:
        self._notice_us = config.policy.notice_min_us
        self._fleet = fleet
        self._by_id: dict[str, Reservation] = {}
        self._nodes: dict[str, frozenset[int]] = {}
        self._shut: dict[tuple[str, ...], tuple[int, ...]] = {}
        for reservation in reservations:
            self.add(reservation)

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        """In the order in which they were made."""
        return tuple(self._by_id.values())

    def get(self, id_: str) -> Reservation | None:
        return self._by_id.get(id_)

    def add(self, reservation: Reservation) -> None:
        found = (self._fleet.cluster.node_index(name) for name in reservation.nodes)
        self._by_id[reservation.id] = reservation
        self._nodes[reservation.id] = frozenset(node for node in found if node is not None)
        self._shut.clear()

    def remove(self, id_: str) -> None:
        self._by_id.pop(id_, None)
        self._nodes.pop(id_, None)
        self._shut.clear()

    def forget_past(self, now_us: int) -> None:
        for id_ in [r.id for r in self._by_id.values() if r.until_us <= now_us]:
            self.remove(id_)

    def next_end_us(self, now_us: int) -> int:
        """When the next window ends, so that somebody could start who could not before; FOREVER_US for never."""
        return min((r.until_us for r in self._by_id.values() if r.until_us > now_us), default=FOREVER_US)

    def nodes_of(self, reservation: Reservation) -> frozenset[int]:
        return self._nodes[reservation.id]

    def shut(self, job: JobRecord, row: OptionRow, now_us: int) -> tuple[int, ...]:
        """Nodes on which the job may not start now, ascending."""
        if not self._by_id:
            return NOBODY
        against = self._against(job, now_us + self.run_us(job, row))
        ids = tuple(reservation.id for reservation in against if now_us < reservation.until_us)
        found = self._shut.get(ids)
        if found is None:
            found = self._shut[ids] = tuple(sorted(frozenset[int]().union(*(self._nodes[id_] for id_ in ids))))
        return found

    def keep_off(self, job: JobRecord, rows: Sequence[OptionRow], allocation: Allocation, now_us: int) -> bool:
        """Whether the allocation takes a node on which the job may not start."""
        row = next((row for row in rows if row.option.chosen == allocation.chosen), None) if self._by_id else None
        shut = () if row is None else self.shut(job, row, now_us)
        return any(grant.node in shut for grant in allocation.grants)

    def _against(self, job: JobRecord, end_us: int) -> Iterable[Reservation]:
        """Windows that begin before the job has ended, and that are not its tenant's."""
        for reservation in self._by_id.values():
            own = bool(reservation.tenant) and within(job.spec.tenant, reservation.tenant)
            if not own and end_us > reservation.from_us:
                yield reservation

    def run_us(self, job: JobRecord, row: OptionRow) -> int:
        """For how long the job may hold the option from now on, or FOREVER_US."""
        if job.time_limit_us is not None:
            return max(0, job.time_limit_us - job.ran_us) + self._notice_us
        rate, amount = row.option.rate, job.spec.work.amount
        if amount is None or not rate.absolute or rate.low <= 0:
            return FOREVER_US // 2
        return round(max(0.0, amount - job.done) / rate.low * US_PER_S)

    def in_the_way(
        self, window: Reservation, holding: Iterable[JobRecord], held: Mapping[int, tuple[OptionRow, int]]
    ) -> list[int]:
        """Jobs that hold nodes of the window and may still run when it begins. `held` gives for each job the option
        that it holds and when it began; what it does not know counts as endless. The window need not be one of these.
        """
        nodes = {self._fleet.cluster.node_index(name) for name in window.nodes}
        found = []
        for job in holding:
            attempt = job.attempt
            if attempt is None or not any(grant.node in nodes for grant in attempt.allocation.grants):
                continue
            own = bool(window.tenant) and within(job.spec.tenant, window.tenant)
            known = held.get(job.number)
            end_us = FOREVER_US if known is None else known[1] + self.run_us(job, known[0])
            if not own and end_us > window.from_us:
                found.append(job.number)
        return found

    def reason(self, room: Room, job: JobRecord, rows: Sequence[OptionRow], now_us: int) -> Reason | None:
        """What keeps the job off all of `rows`, where for one of them nothing but windows does; else None."""
        kept: Reason | None = None
        for row in rows if self._by_id else ():
            shut = self.shut(job, row, now_us)
            grants = place_outside(room, row.cell, row.demands, shut)
            if grants is not None:
                return None
            grants = place(room, row.cell, row.demands) if shut and kept is None else None
            if grants is not None:
                kept = self._kept_off(job, row, grants, now_us)
        return kept

    def _kept_off(self, job: JobRecord, row: OptionRow, grants: Sequence[Grant], now_us: int) -> Reason:
        """The first window that stands against what the job would be granted."""
        held = {grant.node for grant in grants}
        against = self._against(job, now_us + self.run_us(job, row))
        mine = [r for r in against if now_us < r.until_us and held & self._nodes[r.id]]
        first = min(mine, key=lambda r: (r.from_us, r.id))
        chosen = row.option.chosen[0]
        return Reason(
            code=ReasonCode.RESERVED,
            accelerator=chosen.accelerator,
            need=chosen.count,
            who=first.id,
            until_us=first.until_us,
        )


def place_outside(
    room: Room, cell: int, demands: Sequence[Demand], shut: Sequence[int], strategy: Strategy = BEST_FIT
) -> tuple[Grant, ...] | None:
    """As `place`, on none of the nodes `shut`."""
    if not shut:
        return place(room, cell, demands, strategy)
    closed = frozenset(shut)
    # what is avoided is still taken where nothing else fits: the second try avoids what is shut alone
    for kept in (True, False) if any(demand.avoid for demand in demands) else (False,):
        wanted = [
            msgspec.structs.replace(
                demand, avoid=tuple(sorted(closed.union(demand.avoid))) if kept and demand.avoid else tuple(shut)
            )
            for demand in demands
        ]
        grants = place(room, cell, wanted, strategy)
        if grants is None or not any(grant.node in closed for grant in grants):
            return grants
    return None
