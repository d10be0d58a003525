"""Numbers what happened and makes it durable, batch by batch: the one way in which a scheduler writes its journal."""

from collections.abc import Callable, Sequence
from typing import Final

from scheduler.model.events import Event, Record
from scheduler.ports import JournalStore

__all__ = ["CHECKPOINT_EVERY", "JournalWriter"]

CHECKPOINT_EVERY: Final = 10_000
"""Records between two checkpoints: a restart folds at most this many."""


class JournalWriter:
    """Continues the history of `store` after record `seq`, in the lead of `epoch`."""

    def __init__(self, store: JournalStore, epoch: int, seq: int, checkpoint_every: int = CHECKPOINT_EVERY) -> None:
        self.epoch = epoch
        self.seq = seq
        self._store = store
        self._every = checkpoint_every
        self._checkpoint_seq = seq

    def commit(self, events: Sequence[Event], time_us: int) -> int:
        """Write the events as one batch; durable on return. The number of the last record. Raises JournalError."""
        self._store.append([Record(self.seq + n, self.epoch, time_us, event) for n, event in enumerate(events, 1)])
        self.seq += len(events)
        return self.seq

    def checkpoint_if_due(self, image: Callable[[], bytes]) -> bool:
        """Save the state's image after the last commit when enough was written since the one before."""
        if self.seq - self._checkpoint_seq < self._every:
            return False
        self._store.save_checkpoint(self.seq, image())
        self._checkpoint_seq = self.seq
        return True
