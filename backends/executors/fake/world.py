"""The world behind fake executors: what several of them see, and what outlives each of them."""

import random
import threading
from collections.abc import Mapping

from backends.executors.fake.attempt import End, FakeAttempt
from backends.executors.fake.behaviour import Behaviour, Faults, Unknown
from scheduler.errors import OutcomeUnknownError, StaleEpochError
from scheduler.model.commands import Release, Start, Stop
from scheduler.model.lifecycle import AttemptEnd
from scheduler.ports import AttemptKey, Clock

__all__ = ["FakeWorld"]


class FakeWorld:
    """`behaviours` are by job name; other jobs behave as `Behaviour()` says. Times come from `clock` alone."""

    def __init__(
        self, clock: Clock, behaviours: Mapping[str, Behaviour] | None = None, faults: Faults | None = None
    ) -> None:
        self.clock = clock
        self.behaviours = dict(behaviours or {})
        self.faults = faults or Faults()
        self.random = random.Random(self.faults.seed)  # noqa: S311 - faults, not secrets
        self.lock = threading.RLock()
        self.attempts: dict[AttemptKey, FakeAttempt] = {}
        self._fences: dict[AttemptKey, int] = {}
        self._stopped: set[AttemptKey] = set()
        self._saved: dict[str, float] = {}
        self._starts = 0
        self._stops = 0

    def start(self, command: Start) -> None:
        with self.lock:
            fault = _nth(self.faults.starts, self._starts)
            self._starts += 1
            if fault is not Unknown.NOT_DONE:
                self._start(command)
            if fault is not None:
                raise OutcomeUnknownError(f"the start of attempt {command.attempt} of {command.job_id} timed out")

    def stop(self, command: Stop | Release) -> None:
        with self.lock:
            fault = _nth(self.faults.stops, self._stops)
            self._stops += 1
            if fault is not Unknown.NOT_DONE:
                self._stop(command)
            if fault is not None:
                raise OutcomeUnknownError(f"the stop of attempt {command.attempt} of {command.job_id} timed out")

    def advance(self) -> None:
        """Bring every attempt up to now."""
        now_us = self.clock.now_us()
        with self.lock:
            for attempt in self.attempts.values():
                attempt.advance(now_us)
                if attempt.ended:
                    job_id = attempt.command.job_id
                    self._saved[job_id] = max(self._saved.get(job_id, 0.0), attempt.saved)

    def end(self, key: AttemptKey, how: AttemptEnd, exit_code: int = 0, detail: str = "") -> None:
        """Strike an attempt from outside, as a lost node or a failing rank would."""
        with self.lock:
            self.attempts[key].end_at(End(self.clock.now_us(), how, exit_code, detail))

    def _start(self, command: Start) -> None:
        key = (command.job_id, command.attempt)
        self._fence(key, command.epoch)
        if key in self.attempts:
            return
        if key in self._stopped or any(j == key[0] and n > key[1] for j, n in self.attempts):
            raise StaleEpochError(f"attempt {key[1]} of {key[0]} may no longer start")
        self.advance()
        now_us = self.clock.now_us()
        for (job_id, n), older in self.attempts.items():
            if job_id == key[0] and n < key[1]:
                older.end_at(End(now_us, AttemptEnd.LOST, 0, "a newer attempt has started"))
                older.advance(now_us)
        behaviour = self.behaviours.get(command.name, Behaviour())
        self.attempts[key] = FakeAttempt(command, behaviour, self._saved.get(command.job_id, 0.0), now_us)

    def _stop(self, command: Stop | Release) -> None:
        key = (command.job_id, command.attempt)
        self._fence(key, command.epoch)
        self._stopped.add(key)
        attempt = self.attempts.get(key)
        if attempt is None:
            return
        self.advance()
        if isinstance(command, Stop):
            attempt.stop(command, self.clock.now_us())
        else:
            attempt.end_at(End(self.clock.now_us(), AttemptEnd.KILLED, 137, "released while it ran"))
            attempt.released = True
        self.advance()

    def _fence(self, key: AttemptKey, epoch: int) -> None:
        if epoch < self._fences.get(key, 0):
            raise StaleEpochError(f"attempt {key[1]} of {key[0]} obeys epoch {self._fences[key]}, not {epoch}")
        self._fences[key] = epoch


def _nth(faults: tuple[Unknown | None, ...], index: int) -> Unknown | None:
    return faults[index] if index < len(faults) else None
