"""One attempt as it lies on disk: its command, its fence, its tasks, and what can be told and done about them."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from backends.runtime.output import RankOutput
from backends.runtime.places import AttemptPlace, TaskPlace, locked, write_atomically
from backends.runtime.prepare import lead_index
from backends.runtime.processes import is_alive, kill_session
from backends.runtime.reports import Entry, ReportFile, append, mend, merge
from backends.runtime.request import StopRequest
from backends.runtime.supervisor import read_state
from scheduler.errors import StaleEpochError
from scheduler.model.commands import Start
from scheduler.model.events import AttemptEnded
from scheduler.model.lifecycle import AttemptEnd
from scheduler.ports import Report

__all__ = ["AttemptRecord", "Fence"]

PEER_NOTICE_US = 3_000_000  # for the other tasks when one has ended badly


class Fence(Struct, frozen=True):
    """The largest epoch that spoke about the attempt, and whether it may still start."""

    epoch: int
    stopped: bool = False


class AttemptRecord:
    """Reads are free; whoever changes something holds the attempt's lock, which other processes respect."""

    def __init__(self, root: Path, job_id: str, attempt: int) -> None:
        self.key = (job_id, attempt)
        self.place = AttemptPlace(root, job_id, attempt)
        self._command: Start | None = None
        self._files: list[ReportFile] = []

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        self.place.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.place.lock):
            yield

    @property
    def command(self) -> Start | None:
        """The start command, or None when the attempt was never begun."""
        if self._command is None:
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                self._command = msgspec.json.decode(self.place.command.read_bytes(), type=Start)
        return self._command

    def forget(self) -> None:
        """Let go of what was read, because the files are gone."""
        self._command = None
        self._files = []

    @property
    def launched(self) -> bool:
        return self.place.launched.exists()

    @property
    def released(self) -> bool:
        return self.place.released.exists()

    def pass_fence(self, epoch: int, *, stopped: bool = False) -> Fence:
        """Note `epoch`, durably, and return what was noted before. Raises StaleEpochError for a smaller one."""
        try:
            before = msgspec.json.decode(self.place.fence.read_bytes(), type=Fence)
        except FileNotFoundError:
            before = Fence(0)
        if epoch < before.epoch:
            job_id, attempt = self.key
            raise StaleEpochError(f"attempt {attempt} of {job_id} obeys epoch {before.epoch}, not {epoch}")
        after = Fence(epoch, before.stopped or stopped)
        if after != before:
            write_atomically(self.place.fence, msgspec.json.encode(after))
        return before

    def tasks(self) -> list[TaskPlace]:
        return [self.place.task(index) for index in range(len(self.command.tasks))] if self.command else []

    def outputs(self) -> list[RankOutput]:
        """Every rank's log, in the order of tasks and their ranks."""
        return [
            RankOutput(f"{task.role}/{rank}", place.log(rank))
            for place, task in zip(self.tasks(), self.command.tasks if self.command else (), strict=True)
            for rank in range(task.first_rank, task.first_rank + task.local_ranks)
        ]

    def files(self, seen: int = 0) -> Sequence[ReportFile]:
        """The tasks' reports, read up to now."""
        self._files = self._files or [ReportFile(task.reports) for task in self.tasks()]
        for file in self._files:
            file.refresh(seen)
        return self._files

    def reports(self, seen: int) -> tuple[Report, ...]:
        if self.command is None or not self.launched:
            return ()
        return merge(self.files(seen), lead_index(self.command.tasks), seen)

    def ended(self) -> bool:
        return bool(self.command) and all(file.ended is not None for file in self.files(self._seen()))

    def _seen(self) -> int:
        return self._files[0].forgotten if self._files else 0

    def order_stop(self, epoch: int, notice_us: int, cause: str, *, only_first: bool = False) -> None:
        """Leave a stop file with every task. A second one counts when its deadline is sooner, or never."""
        deadline_us = time.time_ns() // 1000 + notice_us
        stop = StopRequest(epoch=epoch, notice_us=notice_us, deadline_us=deadline_us, cause=cause)
        for task in self.tasks():
            if task.directory.is_dir() and _counts(task, 0 if only_first else deadline_us):
                write_atomically(task.stop, msgspec.json.encode(stop))

    def kill(self) -> None:
        """Kill every process of every task at once, supervisors first, so that none starts anything more."""
        for task in self.tasks():
            if (state := read_state(task)) is not None:
                kill_session(state.identity)

    def watch(self) -> None:
        """Record as lost each task whose supervisor has gone without a word, and stop the peers of a bad end."""
        if self.command is None or not self.launched:
            return
        files = self.files(self._seen())
        silent = [i for i, file in enumerate(files) if file.ended is None]
        for index in silent:
            state = read_state(self.place.task(index))
            if state is None or not is_alive(state.identity):
                with self.changing():
                    self._record_loss(index)
        if len(silent) < len(files) and silent and any(_bad(file.ended) for file in files):
            why = "another task of the attempt has ended"
            self.order_stop(self.command.epoch, PEER_NOTICE_US, why, only_first=True)

    def _record_loss(self, index: int) -> None:
        """Under the lock: what is left of the task is killed, and its end written in its supervisor's place."""
        assert self.command is not None
        task, file = self.place.task(index), self._files[index]
        if (state := read_state(task)) is not None:
            kill_session(state.identity)
        mend(task.reports)
        file.refresh(file.forgotten)
        if file.ended is not None:  # it had written its end before it went
            return
        start = self.command
        end = AttemptEnded(
            job=start.job,
            attempt=start.attempt,
            epoch=start.epoch,
            seq=file.last_seq + 1,
            how=AttemptEnd.LOST,
            detail=f"the supervisor of task {index} is gone",
        )
        append(task.reports, Entry(time.time_ns() // 1000, end), durable=True)
        file.refresh(file.forgotten)


def _bad(entry: Entry | None) -> bool:
    end = entry.report if entry is not None else None
    return isinstance(end, AttemptEnded) and (end.how is not AttemptEnd.EXITED or end.exit_code != 0)


def _counts(task: TaskPlace, deadline_us: int) -> bool:
    try:
        return deadline_us < msgspec.json.decode(task.stop.read_bytes(), type=StopRequest).deadline_us
    except (FileNotFoundError, msgspec.DecodeError):
        return True
