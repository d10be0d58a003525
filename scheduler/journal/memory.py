"""A journal that ends with its process: for dry runs, simulations and tests. Same checks, same bytes, no disk."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from scheduler.errors import JournalCorruptError, JournalError, JournalLockedError, JournalWriteError
from scheduler.journal.codec import CODEC, RESTORE, Codec, Row
from scheduler.journal.store import KEPT_CHECKPOINTS, image_checksum
from scheduler.model.events import Record

__all__ = ["MemoryDisk", "MemoryJournal"]


class MemoryDisk(Struct):
    """What outlives one MemoryJournal: hand it to the next one to play a restart."""

    rows: list[Row] = []
    checkpoints: dict[int, tuple[bytes, int]] = {}
    epoch: int = 0
    head: int = 0
    led: bool = False


class MemoryJournal:
    """A JournalStore over a list of encoded rows."""

    def __init__(self, disk: MemoryDisk | None = None, codec: Codec = CODEC) -> None:
        self.disk = MemoryDisk() if disk is None else disk
        self._codec = codec
        self._epoch = 0
        self._failed: JournalError | None = None

    @property
    def head(self) -> int:
        """The number of the last record."""
        return self.disk.head

    def lead(self) -> int:
        if self.disk.led:
            raise JournalLockedError("another scheduler leads on this journal", "close it first")
        self.disk.led = True
        self.disk.epoch += 1
        self._epoch = self.disk.epoch
        return self._epoch

    def append(self, records: Sequence[Record]) -> None:
        self._may_write()
        try:
            rows = [self._encode(record, self.head + 1 + place) for place, record in enumerate(records)]
        except JournalError as error:
            self._failed = error
            raise
        self.disk.rows.extend(rows)
        self.disk.head += len(rows)

    def read(self, after_seq: int = 0) -> Iterator[Record]:
        for expected in range(after_seq + 1, self.head + 1):
            row = self.disk.rows[expected - 1] if expected <= len(self.disk.rows) else None
            if row is None or row.seq != expected:
                raise JournalCorruptError(f"record {expected} of the journal is missing", RESTORE)
            yield self._codec.decode(row)

    def save_checkpoint(self, seq: int, image: bytes) -> None:
        self._may_write()
        if seq > self.head:
            self._failed = JournalWriteError(f"no checkpoint after record {seq}: the journal ends at {self.head}")
            raise self._failed
        self.disk.checkpoints[seq] = (image, image_checksum(seq, image))
        for old in sorted(self.disk.checkpoints)[:-KEPT_CHECKPOINTS]:
            del self.disk.checkpoints[old]

    def load_checkpoint(self, below_seq: int | None = None) -> tuple[int, bytes] | None:
        for seq, (image, crc) in sorted(self.disk.checkpoints.items(), reverse=True):
            if seq <= self.head and (below_seq is None or seq < below_seq) and image_checksum(seq, image) == crc:
                return seq, image
        return None

    def close(self) -> None:
        if self._epoch and self._epoch == self.disk.epoch:
            self.disk.led = False
        self._epoch = 0

    def _may_write(self) -> None:
        if self._failed is not None:
            raise type(self._failed)(self._failed.problem, self._failed.remedy)
        if not self._epoch:
            raise JournalLockedError("this journal is open for reading only", "take the lead first")
        if self._epoch != self.disk.epoch:
            raise JournalLockedError(
                f"another scheduler took the lead in epoch {self.disk.epoch}; ours was {self._epoch}"
            )

    def _encode(self, record: Record, expected: int) -> Row:
        if record.seq != expected:
            raise JournalWriteError(f"the next record is number {expected}, not {record.seq}")
        if record.epoch != self._epoch:
            raise JournalLockedError(f"record {record.seq} is of epoch {record.epoch}; we lead in {self._epoch}")
        return self._codec.encode(record)
