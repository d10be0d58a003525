"""Why a job waits, whole: for each of its options every reason with amounts, and whether it stands now, until a
delivery, or for ever. Codes, no sentences."""

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.engine.moves import move_reason
from scheduler.engine.options import OptionRow
from scheduler.engine.reasons import budget_reason, limited_resource
from scheduler.engine.records import JobRecord
from scheduler.engine.state import State
from scheduler.model.allocations import Chosen
from scheduler.model.lifecycle import JobState
from scheduler.model.reasons import FOR_EVER, Reason, ReasonCode
from scheduler.model.rules import TrancheState, Use
from scheduler.placement.feasibility import Demand
from scheduler.placement.room import Room
from scheduler.placement.verdict import now_reason
from scheduler.profiles.table import Rate
from scheduler.quota.ledger import Shortage

__all__ = ["Delivery", "OptionReport", "explain", "explain_spec"]

CURED_BY_DEVICES = frozenset({ReasonCode.UNKNOWN_ACCELERATOR, ReasonCode.EXCEEDS_FLEET, ReasonCode.EXCEEDS_CELL})
"""For ever as the fleet is, but not once more devices of the accelerator have come."""


class Delivery(Struct, frozen=True, kw_only=True):
    """The tranche with which there are enough devices, if all that come stand in the cell that lacks them."""

    lot: str
    count: int
    expected_us: int
    p90_us: int | None


class OptionReport(Struct, frozen=True, kw_only=True):
    """One choice of accelerators and counts. No reasons: it could start at this moment, but for who goes first."""

    chosen: tuple[Chosen, ...]
    rate: Rate | None
    charge: int
    reasons: tuple[Reason, ...]
    delivery: Delivery | None = None  # where more devices, and nothing else, would end what stands for ever

    @property
    def never(self) -> bool:
        """As the fleet and the quota are today; `delivery` may change it."""
        return any(reason.code in FOR_EVER for reason in self.reasons)


def explain(state: State, number: int, now_us: int) -> tuple[OptionReport, ...]:
    """Every option of a live job, in the order of the job's own preference; then what was never an option."""
    return explain_spec(state, state.jobs[number], now_us)


def explain_spec(state: State, job: JobRecord, now_us: int) -> tuple[OptionReport, ...]:
    """The same for any record, such as one that is only asked about."""
    tenant = state.tenant_of(job)
    job_rows = state.rows_of.get(job.number)
    if job_rows is None or job.number >= len(state.jobs) or state.jobs[job.number] is not job:
        job_rows = state.rows.of_job(job.spec, tenant, job.actor.user)
    by_choice: dict[tuple[Chosen, ...], list[OptionRow]] = {}
    for row in sorted(job_rows.rows, key=lambda r: r.option.rank):
        by_choice.setdefault(row.option.chosen, []).append(row)
    general = tuple(_general(job, now_us))
    room = _Totals(state.room)
    reports = [
        OptionReport(
            chosen=chosen,
            rate=rows[0].option.rate,
            charge=rows[0].option.charge,
            reasons=(*general, *_of_option(state, job, tenant, rows, room, now_us)),
        )
        for chosen, rows in by_choice.items()
    ]
    reports += [
        OptionReport(
            chosen=(chosen,),
            rate=None,
            charge=0,
            reasons=(reason,),
            delivery=_delivery(state, chosen.count, reason),
        )
        for chosen, reason in job_rows.excluded
    ]
    return tuple(reports)


def _delivery(state: State, count: int, reason: Reason) -> Delivery | None:
    """The first tranche of a lot in use after which at least `count` devices of the accelerator are there."""
    if reason.code not in CURED_BY_DEVICES:
        return None
    lots = [lot for lot in state.config.rules.lots if lot.accelerator == reason.accelerator and lot.use is Use.ALLOWED]
    due = ((lot.id, t) for lot in lots for t in lot.tranches if t.state is not TrancheState.IN_SERVICE)
    coming = [(tranche.expected_us, lot_id, tranche) for lot_id, tranche in due]
    have = reason.have
    for _, lot_id, tranche in sorted(coming, key=lambda entry: entry[:2]):
        have += tranche.count
        if have >= max(reason.need, count):
            return Delivery(lot=lot_id, count=tranche.count, expected_us=tranche.expected_us, p90_us=tranche.p90_us)
    return None


def _general(job: JobRecord, now_us: int) -> Iterator[Reason]:
    """What holds the job back whatever it could take."""
    if job.state is JobState.SUSPENDED:
        yield Reason(code=ReasonCode.SUSPENDED)
    if job.not_before_us > now_us:
        yield Reason(code=ReasonCode.BACKOFF, until_us=job.not_before_us)
    gates = (ReasonCode.DEPENDENCY, ReasonCode.ARRAY_LIMIT)
    if job.reason is not None and job.reason.code in gates:
        yield job.reason


def _of_option(
    state: State, job: JobRecord, tenant: int, rows: list[OptionRow], totals: "_Totals", now_us: int
) -> Iterator[Reason]:
    option = rows[0].option
    moved = move_reason(job, rows[0], state.fleet.catalog)
    if moved is not None:
        yield moved
    opens_us = job.submitted_us + option.after_wait_us
    if opens_us > now_us:
        yield Reason(code=ReasonCode.AFTER_WAIT, accelerator=option.chosen[0].accelerator, until_us=opens_us)
    yield from _ruled(state, job, rows, now_us)
    for shortage in state.ledger.shortages(tenant, job.actor.user, option.chosen, option.charge, job.spec.job_class):
        yield _limit_reason(shortage, option.chosen[0].accelerator)
    cells = [row.cell for row in rows]
    room = totals.too_few(cells, rows[0].demands) or now_reason(state.room, cells, rows[0].demands)
    if room is None:
        room = state.windows.reason(state.room, job, rows, now_us)
    if room is not None:
        yield room


def _ruled(state: State, job: JobRecord, rows: list[OptionRow], now_us: int) -> Iterator[Reason]:
    """What rules say against the option: its nodes are closed, or its start is held for the domestic share."""
    chosen = rows[0].option.chosen
    closed = state.book.why_closed(job.spec, chosen, [row.cell for row in rows], now_us)
    if closed is not None:
        yield closed
    held = job.reason
    if held is not None and held.code is ReasonCode.DOMESTIC_SHARE_HOLD and held.accelerator == chosen[0].accelerator:
        yield held


class _Totals:
    """Sums per shelf, taken once for all options: most options of a full fleet fail by them alone, and then no node is
    looked at. int64[shelves]: `free` are idle devices on usable nodes, `idle` those on any node."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.free: NDArray[np.int64] = room.free_on_shelves()
        counts = np.bitwise_count(room.free)
        totals = np.bincount(room.fleet.shelf, weights=counts, minlength=room.fleet.shelf_count)
        self.idle: NDArray[np.int64] = totals.astype(np.int64)

    def too_few(self, cells: Sequence[int], demands: Sequence[Demand]) -> Reason | None:
        """What `now_reason` would say, where even all idle devices of a shelf are fewer than asked; else None."""
        demand = max(demands, key=lambda d: d.count)
        if not demand.whole or demand.also or not any(self.room.reachable[cell] for cell in cells):
            return None
        shelves = [self.room.fleet.shelf_of(cell, demand.accelerator) for cell in cells]
        if max(self.idle[shelf] for shelf in shelves) >= demand.count:
            return None
        have = max(int(self.free[shelf]) for shelf in shelves)
        return Reason(code=ReasonCode.NO_ROOM, accelerator=demand.accelerator, need=demand.count, have=have)


def _limit_reason(shortage: Shortage, accelerator: str) -> Reason:
    resource = limited_resource(shortage.resource, accelerator)
    if shortage.budget is not None:
        return budget_reason(shortage.budget, accelerator, shortage.tenant, resource)
    if shortage.user:
        code = ReasonCode.USER_LIMIT_EXCEEDED if shortage.for_ever else ReasonCode.USER_LIMIT_IN_USE
    elif shortage.limit == 0:
        code = ReasonCode.QUOTA_ZERO
    else:
        code = ReasonCode.EXCEEDS_QUOTA if shortage.for_ever else ReasonCode.QUOTA_IN_USE
    return Reason(
        code=code,
        accelerator=accelerator,
        need=shortage.need,
        have=shortage.limit if shortage.for_ever else shortage.have,
        who=shortage.user or shortage.tenant,
        resource=resource,
        limit=shortage.limit,
        used=shortage.used,
        tenant=shortage.tenant if shortage.user else "",
    )
