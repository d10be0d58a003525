"""One cell's executor as the daemon sees it: commands go out through a bounded pool, reports come in through a thread.

Commands of one attempt keep their order. A call whose outcome is unknown is never repeated blindly: the link lists what
the executor holds and sends again only what left no trace, which is harmless because commands are idempotent.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from msgspec import Struct

from scheduler.errors import DualtrackError, ExecutorError, OutcomeUnknownError, StaleEpochError
from scheduler.model.commands import Command, Release, Start, Stop
from scheduler.ports import AttemptKey, AttemptStatus, Executor, Report

__all__ = ["CellLink", "Listed", "Received", "StartFailed"]

log = logging.getLogger(__name__)

CALLS_AT_ONCE: Final = 8
POLL_S: Final = 1.0
FIRST_DELAY_S: Final = 0.2
LONGEST_DELAY_S: Final = 5.0


class Received(Struct, frozen=True):
    """Reports of one cell, in order per attempt."""

    cell: str
    reports: tuple[Report, ...]


class StartFailed(Struct, frozen=True):
    """The executor refused a start for good: nothing of the attempt runs."""

    command: Start
    problem: str


class Listed(Struct, frozen=True):
    """What a cell's executor holds, asked for after it had been out of reach."""

    cell: str
    statuses: tuple[AttemptStatus, ...]


News = Received | StartFailed | Listed


class CellLink:
    """`post` hands news to the engine's thread, `id_of` turns a job number into the id that executors know."""

    def __init__(
        self, cell: str, executor: Executor, post: Callable[[News], None], id_of: Callable[[int], str]
    ) -> None:
        self.cell = cell
        self._executor = executor
        self._post = post
        self._id_of = id_of
        self._lock = threading.Lock()
        self._chains: dict[AttemptKey, deque[Command]] = {}
        self._ready: deque[AttemptKey] = deque()  # chains that nobody works at
        self._workers = 0
        self._seen: dict[AttemptKey, int] = {}
        self._closing = threading.Event()
        self._relist = threading.Event()
        self._heard = time.monotonic()
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix=f"cell-{cell}")
        self._poller = threading.Thread(target=self._poll, name=f"reports-{cell}", daemon=True)

    def list(self) -> tuple[AttemptStatus, ...]:
        """Blocks. Raises ExecutorError."""
        return self._executor.list()

    def logs(self, key: AttemptKey, rank: int | None, offset: int) -> bytes:
        """Blocks. Raises ExecutorError."""
        return self._executor.logs(key, rank, offset)

    def open(self, seen: Mapping[AttemptKey, int]) -> None:
        """Begin to ask for reports above `seen`."""
        with self._lock:
            self._seen.update(seen)
        self._poller.start()

    def silent_s(self) -> float:
        """Seconds since the executor last answered."""
        return time.monotonic() - self._heard

    def relist(self) -> None:
        """List once, as soon as the executor answers, and post the result."""
        self._relist.set()

    def send(self, commands: Sequence[Command]) -> None:
        """Queue commands; returns at once."""
        with self._lock:
            for command in commands:
                key = (command.job_id, command.attempt)
                chain = self._chains.setdefault(key, deque())
                chain.append(command)
                if len(chain) == 1:
                    self._ready.append(key)
            wanted = min(len(self._ready), CALLS_AT_ONCE - self._workers)
            if wanted > 0 and not self._closing.is_set():
                self._workers += wanted
                for _ in range(wanted):
                    self._pool.submit(self._work)

    def close(self) -> None:
        """Stop asking and sending; attempts go on running."""
        self._closing.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._poller.is_alive():
            self._poller.join(timeout=POLL_S + 2)
        self._executor.close()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._ready or self._closing.is_set():
                    self._workers -= 1
                    return
                key = self._ready.popleft()
            self._drain(key)

    def _drain(self, key: AttemptKey) -> None:
        while True:
            with self._lock:
                chain = self._chains[key]
                command = chain[0]
            self._carry_out(command)
            with self._lock:
                chain.popleft()
                if isinstance(command, Release):
                    self._seen.pop(key, None)
                if not chain:
                    del self._chains[key]
                    return

    def _carry_out(self, command: Command) -> None:
        uncertain, delay = False, FIRST_DELAY_S
        while not self._closing.is_set():
            try:
                if not (uncertain and self._took_effect(command)):
                    self._perform(command)
                self._heard = time.monotonic()
                return
            except StaleEpochError as error:
                log.warning("cell %s refused a command of an older term: %s", self.cell, error)
                return
            except OutcomeUnknownError as error:
                log.warning("cell %s: outcome unknown, listing: %s", self.cell, error)
                uncertain = True
            except ExecutorError as error:
                if isinstance(command, Start) and not uncertain:
                    self._post(StartFailed(command, str(error)))
                    return
                log.warning("cell %s: %s", self.cell, error)
                uncertain = True
            # A defect in an executor or its library must not end the thread that carries the cell's commands.
            except Exception:
                log.exception("cell %s: unexpected failure of a command", self.cell)
                uncertain = True
            self._closing.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY_S)

    def _perform(self, command: Command) -> None:
        if isinstance(command, Start):
            self._executor.start(command)
        else:
            self._executor.stop(command)

    def _took_effect(self, command: Command) -> bool:
        key = (command.job_id, command.attempt)
        found = next((s for s in self._executor.list() if (s.job_id, s.attempt) == key), None)
        if isinstance(command, Start):
            return found is not None
        if isinstance(command, Stop):
            return found is None or found.ended
        return found is None

    def _poll(self) -> None:
        delay = FIRST_DELAY_S
        while not self._closing.is_set():
            try:
                if self._relist.is_set():
                    statuses = self._executor.list()
                    self._relist.clear()
                    self._post(Listed(self.cell, statuses))
                with self._lock:
                    seen = dict(self._seen)
                reports = self._executor.reports(seen, POLL_S)
                self._heard = time.monotonic()
                delay = FIRST_DELAY_S
                if reports:
                    self._note(reports)
                    self._post(Received(self.cell, tuple(reports)))
                continue
            except DualtrackError as error:
                log.warning("cell %s does not answer: %s", self.cell, error)
            # As above: an unforeseen failure is an executor that does not answer, not the end of listening.
            except Exception:
                log.exception("cell %s: unexpected failure while asking for reports", self.cell)
            self._closing.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY_S)

    def _note(self, reports: Sequence[Report]) -> None:
        with self._lock:
            for report in reports:
                key = (self._id_of(report.job), report.attempt)
                self._seen[key] = max(report.seq, self._seen.get(key, 0))
