"""The detached actor of one task: starts the supervisor on its node and answers for it. No user code runs in here.

Several calls run at once, in threads of the actor's process. Every value that crosses is bytes, text or a number, so
that a scheduler and a node of neighbouring versions understand each other.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from backends.runtime.environment import base_environment
from backends.runtime.launch import wait_until_up
from backends.runtime.output import read_from
from backends.runtime.places import AttemptPlace, write_atomically
from backends.runtime.ports import free_ports
from backends.runtime.processes import identify, is_alive, kill_session
from backends.runtime.reports import Entry, ReportFile, append, mend
from backends.runtime.request import StopRequest, TaskRequest
from backends.runtime.supervisor import read_state
from scheduler.errors import DualtrackError
from scheduler.model.events import AttemptEnded
from scheduler.model.lifecycle import AttemptEnd

__all__ = ["PORTS", "TaskActor", "TaskReport"]

PORTS = 3  # of a task: master, service, role
POLL_S = 0.05
UP_TIMEOUT_S = 30.0


class TaskReport(Struct, frozen=True):
    """What a task has told since it was last asked."""

    entries: tuple[Entry, ...]
    ended: bool


class TaskActor:
    """One task of one attempt. `root` is a directory of this node, `job_id` and `attempt` say where in it."""

    def __init__(self, root: str, job_id: str, attempt: int, index: int) -> None:
        self._place = AttemptPlace(Path(root), job_id, attempt).task(index)
        self._process: subprocess.Popen[bytes] | None = None
        self._file = ReportFile(self._place.reports)
        self._request: TaskRequest | None = None
        self._epoch = 0
        self._lock = threading.RLock()

    def reserve_ports(self, host: str) -> tuple[int, ...]:
        """Ports of this node on which nothing listens; the supervisor's ranks bind them soon after."""
        return free_ports(PORTS, host)

    def start(self, request: bytes) -> str:
        """Run the supervisor; empty when it is up, else what is wrong. The same start twice is one."""
        with self._lock:
            if self._request is not None:
                return ""
            task = msgspec.json.decode(request, type=TaskRequest)
            try:
                self._launch(task, request)
            except (DualtrackError, OSError) as error:
                self._kill()
                return str(error)
            self._request, self._epoch = task, task.start.epoch
            return ""

    def _launch(self, task: TaskRequest, request: bytes) -> None:
        place = self._place
        shutil.rmtree(place.directory, ignore_errors=True)  # of a start that was undone
        place.directory.mkdir(parents=True, mode=0o700)
        write_atomically(place.request, request)
        with place.supervisor_log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "backends.executors.ray.guard", str(place.directory)],
                cwd=place.directory,
                env=base_environment(os.environ),  # an allow-list: neither Ray's address nor its token is on it
                stdin=subprocess.PIPE,  # never written to: it tells the guard that this process is gone
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until_up(place, self._process, time.monotonic() + UP_TIMEOUT_S)

    def describe(self) -> bytes:
        """The request that this actor runs, as JSON; empty before its start. A new scheduler adopts by it."""
        with self._lock:
            return msgspec.json.encode(self._request) if self._request is not None else b""

    def stop(self, epoch: int, notice_us: int, cause: str, only_first: bool = False) -> int:
        """Give notice, or kill at once without one. Returns the largest epoch seen; a smaller one has no effect."""
        with self._lock:
            if epoch < self._epoch or self._request is None:
                return self._epoch
            self._epoch = epoch
            deadline_us = time.time_ns() // 1000 + notice_us
            if self._counts(0 if only_first else deadline_us):
                stop = StopRequest(epoch=epoch, notice_us=notice_us, deadline_us=deadline_us, cause=cause)
                write_atomically(self._place.stop, msgspec.json.encode(stop))
            return epoch

    def _counts(self, deadline_us: int) -> bool:
        try:
            return deadline_us < msgspec.json.decode(self._place.stop.read_bytes(), type=StopRequest).deadline_us
        except (FileNotFoundError, msgspec.DecodeError):
            return True

    def reports(self, after: int, wait_s: float) -> bytes:
        """A TaskReport as JSON: what is numbered above `after`, waiting up to `wait_s` for the first."""
        deadline = time.monotonic() + wait_s
        while True:
            with self._lock:
                self._watch()
                self._file.refresh(after)
                entries = self._entries(after)
                ended = self._file.ended is not None
            if entries or ended or time.monotonic() >= deadline:
                return msgspec.json.encode(TaskReport(entries, ended))
            time.sleep(POLL_S)

    def _entries(self, after: int) -> tuple[Entry, ...]:
        file = self._file
        found = [file.started, *file.entries, file.ended]
        return tuple(entry for entry in found if entry is not None and entry.report.seq > after)

    def _watch(self) -> None:
        """Record the loss of a supervisor that has gone without a word, and kill what it left."""
        if self._request is None or self._process is None or self._process.poll() is None:
            return
        state = read_state(self._place)
        if state is not None and is_alive(state.identity):
            return
        self._file.refresh(self._file.forgotten)
        if self._file.ended is not None:
            return
        self._kill()
        mend(self._place.reports)
        start = self._request.start
        end = AttemptEnded(
            job=start.job,
            attempt=start.attempt,
            epoch=start.epoch,
            seq=self._file.last_seq + 1,
            how=AttemptEnd.LOST,
            detail=f"the supervisor of task {self._request.index} is gone",
        )
        append(self._place.reports, Entry(time.time_ns() // 1000, end), durable=True)

    def log(self, rank: int, offset: int) -> bytes:
        """At most 1 MiB of one rank's output from byte `offset`."""
        return read_from(self._place.log(rank), offset)

    def status(self) -> tuple[int, int, int]:
        """The pid of this process, of the supervisor (0: none), and the largest epoch seen."""
        process = self._process
        return os.getpid(), process.pid if process is not None else 0, self._epoch

    def release(self) -> None:
        """Kill what is left of the task and forget its files on this node."""
        with self._lock:
            self._kill()
            shutil.rmtree(self._place.directory, ignore_errors=True)
            for folder in (self._place.directory.parent, self._place.directory.parent.parent):
                with contextlib.suppress(OSError):  # other tasks or attempts are there
                    folder.rmdir()

    def _kill(self) -> None:
        if self._process is None:
            return
        state = read_state(self._place)
        kill_session(state.identity if state is not None else identify(self._process.pid))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
