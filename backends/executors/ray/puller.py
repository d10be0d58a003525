"""Pulls the tasks' reports into the mirror: one waiting call per task, so that news and deaths are seen at once."""

import contextlib
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from backends.executors.ray.actor import TaskReport
from backends.executors.ray.link import ActorGoneError, RayLink
from backends.executors.ray.mirror import Mirror
from backends.executors.ray.request import actor_name
from scheduler.errors import ExecutorError
from scheduler.ports import AttemptKey

__all__ = ["Puller"]

ASK_S = 10.0  # how long an actor may keep a call waiting
LOOK_S = 0.1  # between looks for new attempts
RETRY_S = 1.0  # after a call that failed though its actor may live
PEER_NOTICE_US = 3_000_000  # for the other tasks when one has ended badly

_Task = tuple[AttemptKey, int]


class Puller:
    """A thread of the gateway. Calls `tell` whenever the mirror has news."""

    def __init__(
        self, link: RayLink, mirror: Mirror, find: Callable[[str], Any | None], tell: Callable[[], None]
    ) -> None:
        self._link = link
        self._mirror = mirror
        self._find = find
        self._tell = tell
        self._asked: dict[Any, _Task] = {}
        self._not_before: dict[_Task, float] = {}
        self._noticed: set[AttemptKey] = set()
        self._closed = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="puller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._woken.set()
        self._thread.join(2 * LOOK_S + 1)

    def wake(self) -> None:
        """There is a new attempt."""
        self._woken.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._look()
            except Exception:  # noqa: BLE001 - the boundary of a thread that nothing may end: Ray or the disk, try again
                traceback.print_exc()  # into the gateway's log
                self._closed.wait(RETRY_S)

    def _look(self) -> None:
        self._ask()
        if not self._asked:
            self._woken.wait(LOOK_S)
            self._woken.clear()
            return
        for reference in self._link.first_ready(list(self._asked), LOOK_S):
            self._hear(reference)

    def _ask(self) -> None:
        """One call to each task whose end is not known."""
        waiting = set(self._asked.values())
        now = time.monotonic()
        for task, last_seq in self._mirror.open_tasks().items():
            if task in waiting or now < self._not_before.get(task, 0.0):
                continue
            key, index = task
            handle = self._find(actor_name(*key, index))
            if handle is None:
                self._lose(task)
            else:
                self._asked[handle.reports.remote(last_seq, ASK_S)] = task

    def _hear(self, reference: Any) -> None:
        task = self._asked.pop(reference)
        key, index = task
        try:
            (body,) = self._link.answers([reference], RETRY_S, "pulling reports")
        except ActorGoneError:
            self._lose(task)
            return
        except ExecutorError:
            self._not_before[task] = time.monotonic() + RETRY_S
            return
        report = msgspec.json.decode(body, type=TaskReport)
        self._not_before.pop(task, None)
        if report.entries:
            self._mirror.take(key, index, report.entries)
            if report.ended:
                self._stop_peers(key)
            self._tell()

    def _lose(self, task: _Task) -> None:
        key, index = task
        self._mirror.lose(key, index, f"the actor of task {index} is gone")
        self._stop_peers(key)
        self._tell()

    def _stop_peers(self, key: AttemptKey) -> None:
        """The other tasks get a short notice, once, when one has ended badly."""
        peers = [index for other, index in self._mirror.open_tasks() if other == key]
        command = self._mirror.record(*key).command
        if not peers or command is None or key in self._noticed or not self._mirror.failed(key):
            return
        self._noticed.add(key)
        for index in peers:
            handle = self._find(actor_name(*key, index))
            if handle is not None:
                why = "another task of the attempt has ended"
                with contextlib.suppress(ExecutorError):
                    handle.stop.remote(command.epoch, PEER_NOTICE_US, why, True)
