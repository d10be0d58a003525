"""What one machine keeps of a cell's attempts: commands, fences, reports and logs, pulled from the nodes."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from backends.executors.local.record import AttemptRecord
from backends.runtime.output import MAX_BYTES
from backends.runtime.places import write_atomically
from backends.runtime.reports import Entry, ReportFile, append, mend
from scheduler.model.commands import Start
from scheduler.model.events import AttemptEnded
from scheduler.model.lifecycle import AttemptEnd
from scheduler.ports import AttemptKey, AttemptStatus, Report

__all__ = ["bad_end", "Mirror"]

KEPT_ATTEMPTS = 200  # released ones, whose logs may still be asked for


class Mirror:
    """Thread-safe. One process at a time writes it."""

    def __init__(self, root: Path, kept_attempts: int = KEPT_ATTEMPTS) -> None:
        self._root = root
        self._kept_attempts = kept_attempts
        self._records: dict[AttemptKey, AttemptRecord] = {}
        self._lock = threading.RLock()
        self._seen: dict[AttemptKey, int] = {}  # what `reports` was last asked beyond: looking on reads no more
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._active = root / ".active"  # one empty file per attempt that is not released, so that looking is cheap
        self._active.mkdir(exist_ok=True, mode=0o700)

    def record(self, job_id: str, attempt: int) -> AttemptRecord:
        with self._lock:
            return self._records.setdefault((job_id, attempt), AttemptRecord(self._root, job_id, attempt))

    def attempts_of(self, job_id: str) -> set[int]:
        folder = self._root / job_id
        return {int(path.name) for path in folder.iterdir() if path.name.isdecimal()} if folder.is_dir() else set()

    def begin(self, record: AttemptRecord, command: Start) -> None:
        """Note the command, before anything is started. The caller holds the record."""
        self._marker(record).touch(mode=0o600)
        write_atomically(record.place.command, msgspec.json.encode(command))
        for task in record.tasks():
            task.directory.mkdir(exist_ok=True, mode=0o700)

    def forget(self, record: AttemptRecord) -> None:
        """Undo `begin`. The fence stays."""
        for task in record.tasks():
            shutil.rmtree(task.directory, ignore_errors=True)
        record.place.command.unlink(missing_ok=True)
        with self._lock:
            record.forget()
        self._marker(record).unlink(missing_ok=True)

    def release(self, record: AttemptRecord) -> None:
        """The attempt is told of no more; its logs stay, until there are too many."""
        record.place.released.touch(mode=0o600)
        self._marker(record).unlink(missing_ok=True)
        with self._lock:
            self._records.pop(record.key, None)
            self._prune()

    def _marker(self, record: AttemptRecord) -> Path:
        return self._active / f"{record.key[0]}.{record.key[1]}"

    def unreleased(self) -> Sequence[AttemptRecord]:
        """By job id and number."""
        names = [entry.name.rpartition(".") for entry in os.scandir(self._active)]
        return [self.record(job_id, int(n)) for job_id, _, n in sorted(names, key=lambda name: (name[0], int(name[2])))]

    def statuses(self) -> tuple[AttemptStatus, ...]:
        with self._lock:
            return tuple(
                AttemptStatus(
                    job_id=command.job_id,
                    job=command.job,
                    attempt=command.attempt,
                    epoch=command.epoch,
                    ended=all(file.ended is not None for file in self._files(record)),
                )
                for record in self.unreleased()
                if (command := record.command) is not None and record.launched
            )

    def reports(self, seen: Mapping[AttemptKey, int]) -> tuple[Report, ...]:
        with self._lock:
            self._seen = {record.key: seen.get(record.key, 0) for record in self.unreleased()}
            return tuple(r for record in self.unreleased() for r in record.reports(self._seen[record.key]))

    def _files(self, record: AttemptRecord) -> Sequence[ReportFile]:
        return record.files(self._seen.get(record.key, 0))

    def open_tasks(self) -> dict[tuple[AttemptKey, int], int]:
        """Tasks whose end is not known, with the number of the last report that was pulled."""
        with self._lock:
            return {
                (record.key, index): file.last_seq
                for record in self.unreleased()
                if record.launched
                for index, file in enumerate(self._files(record))
                if file.ended is None
            }

    def failed(self, key: AttemptKey) -> bool:
        """Whether a task of the attempt has ended in a way that leaves the others nothing to wait for."""
        with self._lock:
            record = self.record(*key)
            return any(bad_end(file.ended) for file in self._files(record))

    def take(self, key: AttemptKey, index: int, entries: Sequence[Entry]) -> None:
        """Add what a task told."""
        with self._lock:
            record = self.record(*key)
            for entry in entries if self._marker(record).exists() else ():
                path = record.place.task(index).reports
                append(path, entry, durable=isinstance(entry.report, AttemptEnded))

    def lose(self, key: AttemptKey, index: int, detail: str) -> None:
        """Write the end of a task that can no longer write it."""
        with self._lock:
            record = self.record(*key)
            start = record.command
            if start is None or not self._marker(record).exists():
                return
            path = record.place.task(index).reports
            mend(path)
            file = self._files(record)[index]
            if file.ended is None:
                end = AttemptEnded(
                    job=start.job,
                    attempt=start.attempt,
                    epoch=start.epoch,
                    seq=file.last_seq + 1,
                    how=AttemptEnd.LOST,
                    detail=detail,
                )
                append(path, Entry(time.time_ns() // 1000, end), durable=True)

    def copy_log(self, path: Path, read: Callable[[int], bytes]) -> None:
        """Append what `read(offset)` has beyond our copy, which grows as the log does. `read` may take its time."""
        size = path.stat().st_size if path.exists() else 0
        while path.parent.is_dir() and (chunk := read(size)):
            with self._lock, path.open("ab") as copy:
                if copy.tell() == size:  # else another caller was here meanwhile
                    copy.write(chunk)
                size = copy.tell()
            if len(chunk) < MAX_BYTES:
                return

    def _prune(self) -> None:
        """Drop the oldest released attempts beyond the number that is kept."""
        markers = sorted(self._root.glob("*/*/released"), key=lambda path: path.stat().st_mtime_ns)
        for marker in markers[: max(0, len(markers) - self._kept_attempts)]:
            shutil.rmtree(marker.parent, ignore_errors=True)
            if not any(marker.parent.parent.iterdir()):
                marker.parent.parent.rmdir()


def bad_end(entry: Entry | None) -> bool:
    end = entry.report if entry is not None else None
    return isinstance(end, AttemptEnded) and (end.how is not AttemptEnd.EXITED or end.exit_code != 0)
