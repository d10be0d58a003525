"""At the start: the lead, the state from the journal, and what the executors still run."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from msgspec import Struct

from scheduler.engine.reconcile import reconcile
from scheduler.engine.state import State
from scheduler.errors import DualtrackError, UnavailableError
from scheduler.journal.replay import replay
from scheduler.model.commands import Command
from scheduler.model.events import CellReachability, Configured, EpochStarted, Event, Record
from scheduler.ports import AttemptKey, AttemptStatus, JournalStore
from scheduler.service.links import CellLink
from scheduler.service.wallclock import WallClock

__all__ = ["Recovered", "adopted", "recover", "seen_of"]

log = logging.getLogger(__name__)

LIST_WITHIN_S: Final = 60.0


class Recovered(Struct, frozen=True):
    """The state as the journal tells it, before this term's first event; `seq` is the last record's number."""

    state: State
    seq: int
    epoch: int
    clock: WallClock
    events: tuple[Event, ...]  # to record first in this term


def recover(journal: JournalStore, wanted: Configured | None) -> Recovered:
    """Take the lead and replay. `wanted` is put in force where it differs; an empty journal needs one.

    Raises JournalError, and UnavailableError for an empty journal without a configuration.
    """
    epoch = journal.lead()
    found = replay(journal)
    clock = WallClock(found.time_us)
    if found.engine is None:
        if wanted is None:
            raise UnavailableError("this home holds no state yet", "name a cluster with --cluster")
        journal.append((Record(1, epoch, clock.now_us(), wanted),))
        return Recovered(State.new(wanted), 1, epoch, clock, (EpochStarted(epoch),))
    state = found.engine.state
    events: tuple[Event, ...] = (EpochStarted(epoch),)
    if wanted is not None and wanted != state.config:
        events = (*events, wanted)
    log.info("replayed %d records; %d jobs are live", found.records, len(state.active))
    return Recovered(state, found.seq, epoch, clock, events)


def adopted(state: State, links: Mapping[str, CellLink], now_us: int) -> tuple[tuple[Event, ...], tuple[Command, ...]]:
    """What follows from what the executors hold. A cell that does not answer is left for when it does."""
    statuses: dict[str, Sequence[AttemptStatus]] = {}
    silent: list[Event] = []
    with ThreadPoolExecutor(max_workers=max(1, len(links)), thread_name_prefix="list") as pool:
        asked = {cell: pool.submit(link.list) for cell, link in links.items()}
        for cell, answer in asked.items():
            try:
                statuses[cell] = answer.result(timeout=LIST_WITHIN_S)
            except (DualtrackError, TimeoutError) as error:
                log.warning("cell %s does not answer at the start: %s", cell, error)
                links[cell].relist()
                silent.append(CellReachability(cell, False))
    events, commands = reconcile(state, statuses, now_us)
    return (*silent, *_back(state, statuses), *events), commands


def _back(state: State, statuses: Mapping[str, Sequence[AttemptStatus]]) -> list[Event]:
    """Cells that were out of reach when the last term ended and answer now."""
    cells = state.fleet.cells
    return [
        CellReachability(cell, True) for i, cell in enumerate(cells) if cell in statuses and not state.room.reachable[i]
    ]


def seen_of(state: State, cell: str) -> dict[AttemptKey, int]:
    """The last report of each live attempt in a cell that is on record."""
    found: dict[AttemptKey, int] = {}
    for job in state.holding():
        attempt = job.attempt
        if attempt is not None and attempt.cell == cell:
            found[job.id, attempt.n] = attempt.seq
    return found
