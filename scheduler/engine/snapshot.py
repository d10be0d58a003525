"""A read-only, versioned view of the state: what a cycle sees. Nothing is copied; nobody may change what it shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.columns import Columns
from scheduler.engine.entitled import refresh_limits
from scheduler.engine.options import JobRows, Rows
from scheduler.engine.records import JobRecord
from scheduler.engine.rulebook import RuleBook
from scheduler.engine.state import State
from scheduler.engine.windows import Windows
from scheduler.model.events import Configured
from scheduler.placement.room import Fleet, Room
from scheduler.quota.ledger import Ledger
from scheduler.quota.past_use import PastUse

__all__ = ["Snapshot", "take"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`due` are the jobs whose alarm has rung; `next_alarm_us` is the next one to ring, or None.

    `idle` is int64[shelves], `Room.free_on_shelves` when it was taken.
    """

    version: int
    epoch: int
    config: Configured
    fleet: Fleet
    room: Room
    ledger: Ledger
    rows: Rows
    book: RuleBook
    jobs: Sequence[JobRecord]
    rows_of: Mapping[int, JobRows]
    columns: Columns
    array_held: Mapping[int, int]
    due: tuple[int, ...]
    next_alarm_us: int | None
    prices: tuple[tuple[str, float], ...]
    tenant_of: Callable[[JobRecord], int]
    windows: Windows
    past_use: PastUse
    idle: NDArray[np.int64]


def take(state: State, now_us: int) -> Snapshot:
    state.room.closed = state.book.closed_nodes(now_us)  # a licence may have ended since
    refresh_limits(state, now_us)
    due, next_alarm_us = state.alarms.at(now_us)
    return Snapshot(
        version=state.version,
        epoch=state.epoch,
        config=state.config,
        fleet=state.fleet,
        room=state.room,
        ledger=state.ledger,
        rows=state.rows,
        book=state.book,
        jobs=state.jobs,
        rows_of=state.rows_of,
        columns=state.columns,
        array_held=state.array_held,
        due=due,
        next_alarm_us=next_alarm_us,
        prices=state.prices,
        tenant_of=state.tenant_of,
        windows=state.windows,
        past_use=state.accounts.past,
        idle=state.room.free_on_shelves(),
    )
