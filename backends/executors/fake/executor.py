"""The port's face of a fake world."""

import time
from collections.abc import Callable, Mapping

from backends.executors.fake.attempt import FakeAttempt
from backends.executors.fake.world import FakeWorld
from scheduler.errors import NotFoundError
from scheduler.model.commands import Release, Start, Stop
from scheduler.model.events import AttemptProgressed
from scheduler.ports import AttemptKey, AttemptStatus, Report

__all__ = ["FakeExecutor"]

POLL_S = 0.05
MAX_LOG_BYTES = 1024 * 1024


class FakeExecutor:
    """Implements `scheduler.ports.Executor`. `sleep` is how `reports` waits; None: it never does."""

    def __init__(self, world: FakeWorld, sleep: Callable[[float], None] | None = None) -> None:
        self.world = world
        self._sleep = sleep

    def start(self, command: Start) -> None:
        self.world.start(command)

    def stop(self, command: Stop | Release) -> None:
        self.world.stop(command)

    def list(self) -> tuple[AttemptStatus, ...]:
        with self.world.lock:
            self.world.advance()
            return tuple(
                AttemptStatus(
                    job_id=job_id,
                    job=attempt.command.job,
                    attempt=n,
                    epoch=attempt.command.epoch,
                    ended=attempt.ended,
                )
                for (job_id, n), attempt in sorted(self.world.attempts.items())
                if not attempt.released
            )

    def reports(self, seen: Mapping[AttemptKey, int], wait_s: float) -> tuple[Report, ...]:
        deadline = time.monotonic() + wait_s
        while True:
            found = self._due(seen)
            if found or self._sleep is None or time.monotonic() >= deadline:
                return found
            self._sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))

    def logs(self, key: AttemptKey, rank: int | None = None, offset: int = 0) -> bytes:
        with self.world.lock:
            self.world.advance()
            attempt = self.world.attempts.get(key)
            if attempt is None:
                raise NotFoundError(f"attempt {key[1]} of {key[0]} was never here")
            role = attempt.command.tasks[0].role
            prefix = f"[{role}/0] " if rank is None else ""
            text = "".join(f"{prefix}{_line(report)}\n" for report in attempt.reports)
        return text.encode()[offset : offset + MAX_LOG_BYTES]

    def close(self) -> None:
        """The world goes on without us."""

    def _due(self, seen: Mapping[AttemptKey, int]) -> tuple[Report, ...]:
        """What is numbered above `seen`, after the script's faults have had their way with it."""
        world, faults = self.world, self.world.faults
        with world.lock:
            world.advance()
            found = [
                report
                for key, attempt in sorted(world.attempts.items())
                if not attempt.released
                for report in self._unseen(attempt, seen.get(key, 0))
            ]
            found += [report for report in found if faults.repeat and world.random.random() < faults.repeat]
            if faults.reorder and world.random.random() < faults.reorder:
                world.random.shuffle(found)
        return tuple(found)

    def _unseen(self, attempt: FakeAttempt, seen: int) -> tuple[Report, ...]:
        faults, draw = self.world.faults, self.world.random.random
        return tuple(
            report
            for report in attempt.reports[seen:]
            if not (faults.lose and isinstance(report, AttemptProgressed) and draw() < faults.lose)
        )


def _line(report: Report) -> str:
    if isinstance(report, AttemptProgressed):
        return f"pretending: {report.done:g} units done"
    return f"pretending: {type(report).__name__}"
