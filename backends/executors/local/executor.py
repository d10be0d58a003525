"""The executor of this machine: one detached supervisor per task, and a directory that any later process can adopt."""

import functools
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from backends.executors.local.record import AttemptRecord
from backends.runtime.launch import spawn, wait_until_up
from backends.runtime.output import read_all, read_from
from backends.runtime.places import write_atomically
from backends.runtime.ports import choose_ports
from backends.runtime.prepare import LaunchRequest, prepare
from backends.runtime.processes import identify, kill_session
from scheduler.errors import DeviceError, DualtrackError, ExecutorError, NotFoundError, StaleEpochError
from scheduler.model.commands import Release, Start, Stop
from scheduler.ports import AttemptKey, AttemptStatus, Report

__all__ = ["LocalExecutor"]

START_TIMEOUT_S = 60.0
POLL_S = 0.05
P = ParamSpec("P")
T = TypeVar("T")
KEPT_ATTEMPTS = 200  # released ones, whose logs may still be asked for


def _disk_errors_are_ours(method: Callable[P, T]) -> Callable[P, T]:
    """A disk that is full or gone is an executor's failure like any other."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except OSError as error:
            raise ExecutorError(f"the directory of attempts cannot be used: {error}") from None

    return guarded


class LocalExecutor:
    """Implements `scheduler.ports.Executor`. Several may be open on one root, in one process or in many."""

    def __init__(self, root: Path, *, memory_scale: float = 1.0, kept_attempts: int = KEPT_ATTEMPTS) -> None:
        self.root = root
        self._memory_scale = memory_scale
        self._kept_attempts = kept_attempts
        self._records: dict[AttemptKey, AttemptRecord] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        self._lock = threading.RLock()
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._active = root / ".active"  # one empty file per attempt that is not released, so that looking is cheap
        self._active.mkdir(exist_ok=True, mode=0o700)
        for record in self._unreleased():
            self._forget_half_started(record)

    def prepare(self, command: Start) -> LaunchRequest:
        """What `start` would send, printable. Pure."""
        return prepare(command, self._memory_scale)

    def start(self, command: Start) -> None:
        try:
            request = self.prepare(command)
        except DeviceError as error:
            raise ExecutorError(error.problem, error.remedy) from None
        self.send(request)

    @_disk_errors_are_ours
    def send(self, request: LaunchRequest) -> None:
        """Start every task or none. Older attempts of the job that still run here are killed first."""
        command = request.command
        record = self._record(command.job_id, command.attempt)
        with record.changing():
            before = record.pass_fence(command.epoch)
            if record.launched:
                return
            if before.stopped:
                raise StaleEpochError(f"attempt {command.attempt} of {command.job_id} was stopped before it started")
            self._fence_other_attempts(command)
            try:
                self._marker(record.key).touch(mode=0o600)
                write_atomically(record.place.command, msgspec.json.encode(command))
                self._launch(request, record)
                write_atomically(record.place.launched, b"")
            except (DualtrackError, OSError) as error:
                self._forget(record)
                raise ExecutorError(f"attempt {command.attempt} of {command.job_id} was not started: {error}") from None

    def _launch(self, request: LaunchRequest, record: AttemptRecord) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        places = record.tasks()
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for task in choose_ports(request.tasks):
                processes.append(spawn(places[task.index], task))
            for place, process in zip(places, processes, strict=True):
                wait_until_up(place, process, deadline)
        except (DualtrackError, OSError):
            for process in processes:
                kill_session(identify(process.pid))
            raise
        finally:
            with self._lock:
                self._children += processes

    def _fence_other_attempts(self, command: Start) -> None:
        """No two attempts of a job act at once: a newer one refuses this, an older one ends now."""
        for path in (self.root / command.job_id).iterdir():
            other = int(path.name) if path.name.isdecimal() else command.attempt
            if other > command.attempt:
                raise StaleEpochError(f"attempt {command.attempt} of {command.job_id} is older than attempt {other}")
            if other < command.attempt:
                record = self._look_up(command.job_id, other)
                if not record.released:
                    with record.changing():
                        record.kill()

    @_disk_errors_are_ours
    def stop(self, command: Stop | Release) -> None:
        record = self._record(command.job_id, command.attempt)
        with record.changing():
            record.pass_fence(command.epoch, stopped=True)
            if isinstance(command, Stop):
                record.order_stop(command.epoch, command.notice_us, command.cause)
            if isinstance(command, Stop) and record.command is not None:
                return
            record.kill()
            record.place.released.touch(mode=0o600)  # what was never started is told of no more, and may be dropped
            self._marker(record.key).unlink(missing_ok=True)
        with self._lock:
            self._records.pop(record.key, None)
        self._prune()

    @_disk_errors_are_ours
    def list(self) -> tuple[AttemptStatus, ...]:
        with self._lock:
            self._reap()
            statuses = []
            for record in self._unreleased():
                record.watch()
                command = record.command
                if command is not None and record.launched:
                    status = AttemptStatus(
                        job_id=command.job_id,
                        job=command.job,
                        attempt=command.attempt,
                        epoch=command.epoch,
                        ended=record.ended(),
                    )
                    statuses.append(status)
            return tuple(statuses)

    @_disk_errors_are_ours
    def reports(self, seen: Mapping[AttemptKey, int], wait_s: float) -> tuple[Report, ...]:
        deadline = time.monotonic() + wait_s
        while True:
            with self._lock:
                self._reap()
                found: list[Report] = []
                for record in self._unreleased():
                    record.watch()
                    found += record.reports(seen.get(record.key, 0))
            if found or time.monotonic() >= deadline:
                return tuple(found)
            time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))

    @_disk_errors_are_ours
    def logs(self, key: AttemptKey, rank: int | None = None, offset: int = 0) -> bytes:
        """As the port says; ranks of a job with several worlds are counted on from task to task."""
        record = self._look_up(*key)
        outputs = record.outputs()
        if not outputs:
            raise NotFoundError(f"attempt {key[1]} of {key[0]} has no output here")
        if rank is None:
            return read_all(record.place, outputs, offset)
        if not 0 <= rank < len(outputs):
            raise NotFoundError(f"attempt {key[1]} of {key[0]} has ranks 0 to {len(outputs) - 1}, not {rank}")
        return read_from(outputs[rank].path, offset)

    def close(self) -> None:
        """Nothing is held open. Supervisors are processes of their own and go on."""

    def _look_up(self, job_id: str, attempt: int) -> AttemptRecord:
        """The attempt's record, which is not kept when it is not in use already."""
        if not job_id or job_id.startswith(".") or os.sep in job_id:
            raise ExecutorError(f"{job_id!r} is no job id")
        with self._lock:
            return self._records.get((job_id, attempt)) or AttemptRecord(self.root, job_id, attempt)

    def _record(self, job_id: str, attempt: int) -> AttemptRecord:
        with self._lock:
            return self._records.setdefault((job_id, attempt), self._look_up(job_id, attempt))

    def _marker(self, key: AttemptKey) -> Path:
        return self._active / f"{key[0]}.{key[1]}"

    def _unreleased(self) -> Sequence[AttemptRecord]:
        """Attempts on disk that are not released, by job id and number."""
        names = [entry.name.rpartition(".") for entry in os.scandir(self._active)]
        return [
            self._record(job_id, int(n)) for job_id, _, n in sorted(names, key=lambda name: (name[0], int(name[2])))
        ]

    def _forget_half_started(self, record: AttemptRecord) -> None:
        """A start that its caller did not live to finish leaves nothing, so that sending it again starts it."""
        with record.changing():
            if not record.launched:
                self._forget(record)

    def _forget(self, record: AttemptRecord) -> None:
        """Under the attempt's lock: undo a start. Its fence stays."""
        record.kill()
        for task in record.tasks():
            shutil.rmtree(task.directory, ignore_errors=True)
        record.place.command.unlink(missing_ok=True)
        record.forget()
        self._marker(record.key).unlink(missing_ok=True)

    def _reap(self) -> None:
        """Supervisors that this process started and that have ended must not stay behind as zombies."""
        self._children = [process for process in self._children if process.poll() is None]

    def _prune(self) -> None:
        """Drop the oldest released attempts beyond the number that is kept."""
        markers = sorted(self.root.glob("*/*/released"), key=lambda path: path.stat().st_mtime_ns)
        for marker in markers[: max(0, len(markers) - self._kept_attempts)]:
            shutil.rmtree(marker.parent, ignore_errors=True)
            if not any(marker.parent.parent.iterdir()):
                marker.parent.parent.rmdir()
