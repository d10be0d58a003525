"""Reports on disk, one numbered sequence per task, and how those of all tasks become the attempt's one sequence.

The attempt speaks with the numbers of its leading task. `started` has number 1 there and is told once every task has
started; progress keeps its number; the end has the leading task's last number and is told once every task has ended.
So the merged sequence is a function of the files alone, and the same for every process that reads them.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from scheduler.model.events import AttemptEnded, AttemptProgressed, AttemptStarted
from scheduler.model.lifecycle import AttemptEnd
from scheduler.ports import Report

__all__ = ["Entry", "ReportFile", "append", "mend", "merge", "worst"]


class Entry(Struct, frozen=True):
    """One line of reports.jsonl; `time_us` is Unix time."""

    time_us: int
    report: Report


_DECODER = msgspec.json.Decoder(Entry)

# What explains the end of the whole attempt best: a cause stands above what it brings about in the other tasks.
_SEVERITY = {
    AttemptEnd.LOST: 6,
    AttemptEnd.OUT_OF_MEMORY: 5,
    AttemptEnd.START_FAILED: 4,
    AttemptEnd.EXITED: 3,  # with a code other than 0
    AttemptEnd.KILLED: 2,
    AttemptEnd.PREEMPTED: 1,
}


def append(path: Path, entry: Entry, *, durable: bool = False) -> None:
    """Add one line; `durable` when it must survive a power cut, as the end must."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, msgspec.json.encode(entry) + b"\n")
        if durable:
            os.fsync(handle)
    finally:
        os.close(handle)


def mend(path: Path) -> None:
    """Cut a last line that its writer could not finish."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


class ReportFile:
    """Reads one task's reports as they grow; keeps those above the number that it was last asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reset()

    def _reset(self) -> None:
        self._offset = 0
        self.forgotten = 0  # reports up to this number are no longer kept
        self.last_seq = 0
        self.entries: list[Entry] = []
        self.started: Entry | None = None
        self.ended: Entry | None = None

    def refresh(self, seen: int = 0) -> None:
        """Read what was added. Progress numbered up to `seen` is forgotten, and read again when asked for later."""
        if seen < self.forgotten:
            self._reset()
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self._offset)
            while (line := file.readline()).endswith(b"\n"):
                self._offset += len(line)
                self._take(line)
        if self.entries and self.entries[0].report.seq <= seen:
            self.entries = [entry for entry in self.entries if entry.report.seq > seen]
        self.forgotten = seen

    def _take(self, line: bytes) -> None:
        try:
            entry = _DECODER.decode(line)
        except msgspec.DecodeError:
            return
        if entry.report.seq <= self.last_seq or self.ended is not None:
            return
        self.last_seq = entry.report.seq
        if isinstance(entry.report, AttemptStarted):
            self.started = entry
        elif isinstance(entry.report, AttemptEnded):
            self.ended = entry
        else:
            self.entries.append(entry)


def worst(ends: Sequence[Entry]) -> AttemptEnded:
    """The end that explains the attempt's: the most severe, and of equals the earliest."""

    def rank(entry: Entry) -> tuple[int, int]:
        end = entry.report
        assert isinstance(end, AttemptEnded)
        clean = end.how is AttemptEnd.EXITED and end.exit_code == 0
        return (0 if clean else -_SEVERITY[end.how], entry.time_us)

    report = min(ends, key=rank).report
    assert isinstance(report, AttemptEnded)
    return report


def merge(tasks: Sequence[ReportFile], lead: int, seen: int) -> tuple[Report, ...]:
    """The attempt's reports numbered above `seen`, from the files of all its tasks (refreshed by the caller)."""
    first = tasks[lead]
    merged: list[Report] = []
    if all(task.started is not None for task in tasks):
        merged.append(_started(tasks, lead))
        merged += [e.report for e in first.entries if isinstance(e.report, AttemptProgressed)]
    ends = [task.ended for task in tasks if task.ended is not None]
    if len(ends) == len(tasks):
        merged.append(msgspec.structs.replace(worst(ends), seq=first.last_seq))
    return tuple(report for report in merged if report.seq > seen)


def _started(tasks: Sequence[ReportFile], lead: int) -> AttemptStarted:
    reports = [task.started.report for task in tasks if task.started is not None]
    endpoints = [e for report in reports if isinstance(report, AttemptStarted) for e in report.endpoints]
    own = reports[lead]
    assert isinstance(own, AttemptStarted)
    return msgspec.structs.replace(own, endpoints=tuple(endpoints))
