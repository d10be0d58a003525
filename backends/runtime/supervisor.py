"""The supervisor of one task: starts its ranks, keeps their story on disk, and never lets one outlive it.

    python -m backends.runtime.supervisor DIRECTORY

One thread and one loop: output, reports, children and the stop file are looked at, nothing is waited for. Nothing that
a user wrote runs here, and torch is never loaded.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

import msgspec
from msgspec import Struct

from backends.runtime.environment import base_environment, rank_environment
from backends.runtime.places import TaskPlace, write_atomically
from backends.runtime.processes import Identity, become_subreaper, children, identify
from backends.runtime.ranks import Rank
from backends.runtime.request import StopRequest, TaskRequest
from backends.runtime.story import Story, how_it_ended
from scheduler.model.lifecycle import AttemptEnd

__all__ = ["Supervisor", "SupervisorState", "main", "read_state"]

TICK_S = 0.1
PATIENT_TICK_S = 1.0  # between looks at orphans and at a service's port
OWN_NOTICE_US = 10_000_000  # when the supervisor itself is asked to leave


class SupervisorState(Struct, frozen=True):
    """supervisor.json: who supervises, under which epoch, and the ranks that were started."""

    identity: Identity
    epoch: int
    ranks: tuple[Identity, ...] = ()


def read_state(place: TaskPlace) -> SupervisorState | None:
    """The supervisor on record, or None before it has written."""
    try:
        return msgspec.json.decode(place.supervisor.read_bytes(), type=SupervisorState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


class Supervisor:
    def __init__(self, place: TaskPlace, request: TaskRequest) -> None:
        self.place = place
        self.request = request
        self.story = Story(place, request)
        self.ranks: list[Rank] = []
        self._stop: StopRequest | None = None
        self._noticed = False
        self._kill_at: float | None = None
        self._expired = False  # the notice ran out
        self._failed: Rank | None = None
        self._asked_to_leave = False
        self._next_look = 0.0
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Run the task from its first rank to its recorded end."""
        become_subreaper()
        self._listen_to_signals()
        self._record()
        self._read_stop()
        if self._stop is not None:
            self.story.end(AttemptEnd.PREEMPTED, 0, "stopped before its ranks were started")
            return
        if not self._start_ranks():
            return
        self._record()
        running = True
        while running:
            for key, _ in self._selector.select(TICK_S):
                if isinstance(key.data, Rank):
                    key.data.pump()
                else:
                    self._wakeups.recv(4096)
            running = self._look()
        self._finish()

    def _listen_to_signals(self) -> None:
        self._wakeups, own_end = socket.socketpair()
        self._wakeups.setblocking(False)
        own_end.setblocking(False)
        self._wakeup_end = own_end
        signal.set_wakeup_fd(own_end.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._wakeups, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._leave)

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        self._asked_to_leave = True

    def _record(self) -> None:
        state = SupervisorState(
            identify(os.getpid()), self.request.start.epoch, tuple(identify(r.pid) for r in self.ranks)
        )
        write_atomically(self.place.supervisor, msgspec.json.encode(state))

    def _start_ranks(self) -> bool:
        base = base_environment(os.environ)
        task, workdir = self.request.task, self.request.start.workdir
        for local_rank, number in enumerate(self.request.ranks):
            env = rank_environment(self.request, self.place, local_rank, base)
            rank = Rank(number, task.entrypoint, workdir, env, self.request.log_limit_bytes)
            try:
                rank.start(self.place, self._selector)
            except OSError as error:
                self._kill_everything()
                self.story.end(AttemptEnd.START_FAILED, 127, _start_failure(task.entrypoint[0], workdir, error))
                return False
            self.ranks.append(rank)
        return True

    def _look(self) -> bool:
        """One look at everything; whether any rank still runs."""
        for rank in self.ranks:
            for line in rank.lines():
                self.story.hear(rank, line)
        alive = [rank.poll() for rank in self.ranks]
        now = time.monotonic()
        patient = now >= self._next_look
        if patient:
            self._next_look = now + PATIENT_TICK_S
            self._reap_orphans()
        self.story.tell(self.ranks, service_due=patient or not all(alive))
        if not any(alive):
            self._notice_failure()
            return False
        self._read_stop()
        self._notice_failure()
        self._enforce(now)
        return True

    def _read_stop(self) -> None:
        if self._asked_to_leave and self._stop is None:
            deadline_us = time.time_ns() // 1000 + OWN_NOTICE_US
            self._obey(
                StopRequest(epoch=0, notice_us=OWN_NOTICE_US, deadline_us=deadline_us, cause="supervisor told to leave")
            )
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            stop = msgspec.json.decode(self.place.stop.read_bytes(), type=StopRequest)
            if self._stop is None or stop.deadline_us < self._stop.deadline_us:
                self._obey(stop)

    def _obey(self, stop: StopRequest) -> None:
        """Give the notice once. The wall clock may have jumped, so a deadline is never further than its notice."""
        self._stop = stop
        left_us = min(stop.notice_us, stop.deadline_us - time.time_ns() // 1000)
        kill_at = time.monotonic() + max(0, left_us) / 1e6
        self._kill_at = kill_at if self._kill_at is None else min(kill_at, self._kill_at)
        if left_us > 0 and not self._noticed:
            self._noticed = True
            for rank in self.ranks:
                rank.signal(signal.SIGTERM)

    def _notice_failure(self) -> None:
        """A rank that fails takes its peers with it: they get the signal, and a short grace."""
        if self._failed is not None or self._stop is not None:
            return
        self._failed = next((rank for rank in self.ranks if rank.exit_code), None)
        if self._failed is not None:
            for rank in self.ranks:
                rank.signal(signal.SIGTERM)
            self._kill_at = time.monotonic() + self.request.grace_us / 1e6

    def _enforce(self, now: float) -> None:
        if self._kill_at is not None and now >= self._kill_at:
            for rank in self.ranks:
                if rank.exit_code is None:
                    self._expired = True
                rank.signal(signal.SIGKILL)

    def _reap_orphans(self) -> None:
        ours = {rank.pid for rank in self.ranks}
        for pid in children(os.getpid()):
            if pid not in ours:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _kill_everything(self) -> None:
        """Ranks, their groups and whatever they left behind, which is ours as a subreaper."""
        for rank in self.ranks:
            rank.signal(signal.SIGKILL)
        deadline = time.monotonic() + 5
        while (left := children(os.getpid())) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)

    def _finish(self) -> None:
        self._kill_everything()
        for rank in self.ranks:
            for line in rank.lines():
                self.story.hear(rank, line)
            rank.close()
        stopped = self._stop is not None
        how, code, detail = how_it_ended(
            self.request, self.ranks, self._failed, stopped=stopped, expired=stopped and self._expired
        )
        self.story.end(how, code, detail)


def _start_failure(program: str, workdir: str, error: OSError) -> str:
    if workdir and not Path(workdir).is_dir():
        return f"cannot start: the working directory {workdir} is not there"
    return f"cannot start {program!r}: {error.strerror}"


def main(directory: str) -> int:
    """Supervise the task in `directory`; 0 once its end is on record, 3 when it already has a supervisor."""
    place = TaskPlace(Path(directory))
    request = msgspec.json.decode(place.request.read_bytes(), type=TaskRequest)
    if read_state(place) is not None:  # a task is supervised once: another run of it is another attempt
        return 3
    if os.getsid(0) != os.getpid():
        os.setsid()
    Supervisor(place, request).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
