"""The journal in a database: one leader appends, each batch is one transaction, and what reads back is verified."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from scheduler.errors import (
    JournalCorruptError,
    JournalError,
    JournalLockedError,
    JournalWriteError,
)
from scheduler.journal.codec import CODEC, RESTORE, Codec, Row
from scheduler.journal.database import IMMEDIATE, connect, prepare, worded
from scheduler.journal.locks import Lock, leader_name
from scheduler.journal.tables import checkpoints, leadership, records
from scheduler.model.events import Record

__all__ = ["SqlJournal", "image_checksum", "open_journal"]

PAGE: Final = 2_000
"""Records fetched at a time: the longest history is read in bounded memory."""

KEPT_CHECKPOINTS: Final = 2

STOPPED: Final = "nothing more is accepted; free space or repair the disk, then start the scheduler again"


def image_checksum(seq: int, image: bytes) -> int:
    return zlib.crc32(image, zlib.crc32(f"{seq} ".encode()))


def _missing(seq: int) -> JournalCorruptError:
    return JournalCorruptError(f"record {seq} of the journal is missing", RESTORE)


class SqlJournal:
    """A JournalStore over SQLAlchemy. One thread writes; any thread may read."""

    def __init__(self, engine: Engine, lock: Lock, codec: Codec = CODEC) -> None:
        prepare(engine)
        self._engine = engine
        self._lock = lock
        self._codec = codec
        self._epoch = 0
        self._head = 0
        self._writer: Connection | None = None
        self._failed: JournalError | None = None
        # compiled once: building the statement anew for each row takes longer than writing it
        self._insert = insert(records).compile(dialect=engine.dialect)
        self._parameters = msgspec.structs.astuple if self._insert.positional else msgspec.structs.asdict
        ours = (leadership.c.epoch == bindparam("ours")) & (leadership.c.head == bindparam("at"))
        self._advance = update(leadership).where(ours).values(head=bindparam("to"))

    @property
    def head(self) -> int:
        """The number of the last record that is durable."""
        with self._reading() as reader:
            return int(reader.execute(select(leadership.c.head)).scalar_one())

    def lead(self) -> int:
        """Take the lead: from here on, writes under smaller epochs are refused, wherever their scheduler runs."""
        if self._writer is not None:
            raise JournalLockedError("this scheduler already leads on this journal")
        try:
            self._writer = self._take_lead()
        except SQLAlchemyError as error:
            raise worded("take the lead on the journal", error) from error
        return self._epoch

    def _take_lead(self) -> Connection:
        writer = self._engine.connect().execution_options(**IMMEDIATE)
        try:
            writer.detach()  # its own for as long as we lead: with PostgreSQL it carries the lock
            self._lock.acquire(writer)
            with writer.begin():
                raised = update(leadership).values(epoch=leadership.c.epoch + 1, leader=leader_name())
                self._epoch, self._head = writer.execute(raised.returning(leadership.c.epoch, leadership.c.head)).one()
        except (SQLAlchemyError, JournalError):
            self._lock.release()
            writer.close()
            raise
        return writer

    def append(self, records_: Sequence[Record]) -> None:
        """Write all the records in one transaction. Their numbers continue the history, their epoch is the leader's."""
        if not records_:
            return
        with self._writing("append to") as writer:
            rows = [self._parameters(row) for row in self._encode(records_)]
            first, last = records_[0].seq, records_[-1].seq
            with writer.begin():
                self._check_lead(writer, first - 1, last)
                writer.exec_driver_sql(self._insert.string, rows)
            self._head = last

    def read(self, after_seq: int = 0) -> Iterator[Record]:
        """Records above `after_seq` that are durable when reading starts. JournalCorruptError names the damage."""
        with self._reading() as reader:
            head, last = reader.execute(
                select(leadership.c.head, select(func.max(records.c.seq)).scalar_subquery())
            ).one()
        if (last or 0) != head:
            raise JournalCorruptError(f"the journal ends at record {last or 0}, but {head} were written", RESTORE)
        while after_seq < head:
            page = self._page(after_seq, head)
            if not page:
                raise _missing(after_seq + 1)
            for row in page:
                if row.seq != after_seq + 1:
                    raise _missing(after_seq + 1)
                yield self._codec.decode(row)
                after_seq = row.seq

    def save_checkpoint(self, seq: int, image: bytes) -> None:
        """Keep the image of the state after record `seq`, read it back, and drop all but the newest two."""
        with self._writing("save a checkpoint in") as writer:
            if seq > self._head:
                raise JournalWriteError(f"no checkpoint after record {seq}: the journal ends at {self._head}")
            with writer.begin():
                self._check_lead(writer, self._head, self._head)
                writer.execute(delete(checkpoints).where(checkpoints.c.seq == seq))
                writer.execute(insert(checkpoints).values(seq=seq, image=image, crc=image_checksum(seq, image)))
            with writer.begin():
                saved = select(checkpoints.c.image).where(checkpoints.c.seq == seq)
                if writer.execute(saved).scalar_one() != image:
                    raise JournalWriteError("the checkpoint does not read back as it was written")
                kept = select(checkpoints.c.seq).order_by(checkpoints.c.seq.desc()).limit(KEPT_CHECKPOINTS)
                oldest = min(writer.execute(kept).scalars())
                writer.execute(delete(checkpoints).where(checkpoints.c.seq < oldest))

    def load_checkpoint(self, below_seq: int | None = None) -> tuple[int, bytes] | None:
        """The newest checkpoint that verifies, among those below `below_seq` if given, or None."""
        with self._reading() as reader:
            head = reader.execute(select(leadership.c.head)).scalar_one()
            found = select(checkpoints).where(checkpoints.c.seq <= head).order_by(checkpoints.c.seq.desc())
            for seq, image, crc in reader.execute(found):
                if (below_seq is None or seq < below_seq) and image_checksum(seq, image) == crc:
                    return int(seq), bytes(image)
        return None

    def close(self) -> None:
        """Let go of the lead and of the database. What was appended stays."""
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except SQLAlchemyError:
                writer.invalidate()
        self._engine.dispose()
        self._lock.release()

    def _encode(self, given: Sequence[Record]) -> Iterator[Row]:
        for place, record in enumerate(given):
            expected = self._head + 1 + place
            if record.seq != expected:
                raise JournalWriteError(f"the next record is number {expected}, not {record.seq}")
            if record.epoch != self._epoch:
                raise JournalLockedError(f"record {record.seq} is of epoch {record.epoch}; we lead in {self._epoch}")
            yield self._codec.encode(record)

    def _check_lead(self, writer: Connection, head: int, new_head: int) -> None:
        if writer.execute(self._advance, {"ours": self._epoch, "at": head, "to": new_head}).rowcount != 1:
            epoch, found, leader = writer.execute(
                select(leadership.c.epoch, leadership.c.head, leadership.c.leader)
            ).one()
            if epoch != self._epoch:
                raise JournalLockedError(
                    f"another scheduler ({leader}) took the lead in epoch {epoch}; ours was {self._epoch}",
                    "this one has to stop",
                )
            raise JournalWriteError(
                f"the journal is at record {found}, not {head}: another program wrote to it", STOPPED
            )

    @contextmanager
    def _writing(self, what: str) -> Iterator[Connection]:
        """Every failure, an interruption included, closes the journal for good: its outcome may be unknown."""
        if self._failed is not None:
            raise type(self._failed)(self._failed.problem, self._failed.remedy)
        if self._writer is None:
            raise JournalLockedError("this journal is open for reading only", "take the lead first")
        self._failed = JournalWriteError("an earlier write to the journal was interrupted", STOPPED)
        try:
            yield self._writer
        except JournalError as error:
            self._failed = error
            raise
        except SQLAlchemyError as error:
            self._failed = JournalWriteError(worded(f"{what} the journal", error).problem, STOPPED)
            raise self._failed from error
        self._failed = None

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as reader:
                yield reader
        except (SQLAlchemyError, TypeError, ValueError) as error:
            raise worded("read the journal", error) from error

    def _page(self, after_seq: int, head: int) -> list[Row]:
        found = (
            select(records).where(records.c.seq > after_seq, records.c.seq <= head).order_by(records.c.seq).limit(PAGE)
        )
        with self._reading() as reader:
            return [Row(*row) for row in reader.execute(found)]


def open_journal(where: str | Path) -> SqlJournal:
    """The journal in a SQLite file (created if missing) or at a URL: `sqlite:///FILE`, `postgresql://USER@HOST/NAME`.

    It reads at once; writing needs `lead()`. Raises JournalError with the reason in words.
    """
    engine, lock = connect(where)
    return SqlJournal(engine, lock)
