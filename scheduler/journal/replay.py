"""The live state again, after a restart: the newest checkpoint that verifies and the records after it, or all records.

A history begins with the configuration in force; each later event is folded as it was when it happened. Commands that
folding yields are dropped: what runs is found by asking the executors, not by starting it again.
"""

from functools import cache

import msgspec
from msgspec import Struct

from scheduler.engine.engine import Engine
from scheduler.engine.image import decode, encode
from scheduler.engine.state import State, StateImage
from scheduler.errors import JournalCorruptError
from scheduler.journal.codec import RESTORE
from scheduler.journal.shapes import shape_of
from scheduler.model.events import Configured, Record
from scheduler.ports import JournalStore

__all__ = ["Replayed", "checkpoint_image", "replay"]


class Replayed(Struct, frozen=True, kw_only=True):
    """`engine` is None for an empty journal. `seq`, `epoch` and `time_us` are the last record's.

    `records` were folded on top of the checkpoint after record `checkpoint_seq`, which is 0 when there was none.
    """

    engine: Engine | None
    seq: int
    epoch: int
    time_us: int
    checkpoint_seq: int
    records: int


def replay(store: JournalStore) -> Replayed:
    """Fold the history of `store`. Raises JournalError where a record is damaged, missing or too new."""
    engine, checkpoint_seq = _newest_checkpoint(store)
    last, count = None, 0
    for last in store.read(max(0, checkpoint_seq - 1)):
        if last.seq <= checkpoint_seq:
            continue  # the checkpoint's own record tells epoch and time when nothing follows it
        if engine is None:
            engine = _begin(last)
        else:
            engine.fold(last.event, last.time_us)
        count += 1
    return Replayed(
        engine=engine,
        seq=last.seq if last else 0,
        epoch=last.epoch if last else 0,
        time_us=last.time_us if last else 0,
        checkpoint_seq=checkpoint_seq,
        records=count,
    )


def checkpoint_image(state: State) -> bytes:
    """What `save_checkpoint` is given: the state, marked with the shape of state that this code has."""
    return _mark() + encode(state)


def _newest_checkpoint(store: JournalStore) -> tuple[Engine | None, int]:
    """A checkpoint only saves time: one that another dualtrack wrote is passed over, and its records are folded."""
    found = store.load_checkpoint()
    while found is not None:
        seq, image = found
        if image.startswith(_mark()):
            try:
                return Engine(decode(image[len(_mark()) :])), seq
            except msgspec.MsgspecError:
                pass  # the one before, or all records, give the same state
        found = store.load_checkpoint(below_seq=seq)
    return None, 0


@cache
def _mark() -> bytes:
    return f"{shape_of(StateImage)} ".encode()


def _begin(first: Record) -> Engine:
    if not isinstance(first.event, Configured):
        raise JournalCorruptError(f"the history begins with {type(first.event).__name__}, not with Configured", RESTORE)
    return Engine(State.new(first.event))
