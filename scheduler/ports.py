"""What the scheduler asks of the outside world. Each port is small, has a fake that is product code, and a suite that
every implementation passes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from scheduler.model.commands import Release, Start, Stop
from scheduler.model.events import AttemptEnded, AttemptProgressed, AttemptStarted, Record

__all__ = ["AttemptKey", "AttemptStatus", "Clock", "Executor", "JournalStore", "Report"]

Report = AttemptStarted | AttemptProgressed | AttemptEnded

AttemptKey = tuple[str, int]
"""(job id, attempt number). The job's dense number alone is not unique among schedulers that share an executor."""


class AttemptStatus(Struct, frozen=True, kw_only=True):
    """What an executor holds for us: `ended` once every rank has gone and the end is on record."""

    job_id: str
    job: int
    attempt: int
    epoch: int
    ended: bool


class Executor(Protocol):
    """Runs attempts in one cell. Every method blocks, may be called from several threads, and raises ExecutorError.

    Commands are idempotent by (job id, attempt, epoch): the same start twice is one start, a stop of what has ended is
    no error. A command whose epoch is smaller than one already seen for the attempt raises StaleEpochError. A call that
    times out raises OutcomeUnknownError, and `list` tells later what became of it.
    """

    def start(self, command: Start) -> None:
        """Start every task of the attempt, or none of them."""

    def stop(self, command: Stop | Release) -> None:
        """Stop: give notice, and kill what is left after it. Release: reap an attempt whose end is on record."""

    def list(self) -> tuple[AttemptStatus, ...]:
        """Everything that carries our label, running or ended, until it is released."""

    def reports(self, seen: Mapping[AttemptKey, int], wait_s: float) -> tuple[Report, ...]:
        """Reports numbered above `seen` (missing: 0), in order per attempt; waits up to `wait_s` for the first."""

    def logs(self, key: AttemptKey, rank: int | None = None, offset: int = 0) -> bytes:
        """Output of one rank from byte `offset`, or of all ranks, each line prefixed `[role/rank] `; at most 1 MiB."""

    def close(self) -> None:
        """Let go of the connection. Attempts go on running."""


class Clock(Protocol):
    def now_us(self) -> int:
        """Microseconds since the Unix epoch; never runs backwards within a process."""


class JournalStore(Protocol):
    """An ordered, durable history. One leader writes; a smaller epoch's writes are refused."""

    def lead(self) -> int:
        """Take the lead and return the new epoch, larger than any before."""

    def append(self, records: Sequence[Record]) -> None:
        """Durable when it returns. Raises JournalWriteError, after which nothing more is accepted."""

    def read(self, after_seq: int = 0) -> Iterator[Record]:
        """Records with a larger sequence number, in order, verified."""

    def save_checkpoint(self, seq: int, image: bytes) -> None:
        """The state after record `seq`. The previous one is kept until this one is durable and verified."""

    def load_checkpoint(self, below_seq: int | None = None) -> tuple[int, bytes] | None:
        """The newest checkpoint that verifies, among those below `below_seq` if given, or None."""

    def close(self) -> None:
        """Let go of the lead."""
