"""One attempt of a fake world: its reports are a function of its script, its clock and its stop."""

import math

from msgspec import Struct

from backends.executors.fake.behaviour import Behaviour
from scheduler.model.commands import Start, Stop
from scheduler.model.events import AttemptEnded, AttemptProgressed, AttemptStarted
from scheduler.model.lifecycle import AttemptEnd
from scheduler.ports import Report

__all__ = ["End", "FakeAttempt"]

FIRST_PORT = 40_000  # of endpoints that nobody serves
NEVER = math.inf


class End(Struct, frozen=True):
    at_us: float
    how: AttemptEnd
    exit_code: int = 0
    detail: str = ""


class FakeAttempt:
    """Advanced to a time by its world; never looks at a clock."""

    def __init__(self, command: Start, behaviour: Behaviour, done: float, now_us: int) -> None:
        self.command = command
        self.behaviour = behaviour
        self.reports: list[Report] = []
        self.released = False
        self.done_at_start = done
        self.saved = done
        pace_s = command.tasks[0].pace_s
        self.rate = behaviour.rate if behaviour.rate is not None else (1 / pace_s if pace_s > 0 else 1.0)
        self.started_us = now_us + behaviour.start_us
        self._next_tick_us = self.started_us + behaviour.progress_every_us
        self._end = self._scripted_end(now_us)

    @property
    def ended(self) -> bool:
        return bool(self.reports) and isinstance(self.reports[-1], AttemptEnded)

    def done(self, at_us: float) -> float:
        """Work done by then, over all attempts."""
        done = self.done_at_start + max(0.0, at_us - self.started_us) / 1e6 * self.rate
        limits = (self._work(), self.behaviour.ends_at, self.behaviour.hangs_at)
        return max(self.done_at_start, min(done, *(NEVER if limit is None else limit for limit in limits)))

    def stop(self, command: Stop, now_us: int) -> None:
        """Bring the end forward: leave in time, or be killed when the notice has run out."""
        patience = self.behaviour.leaves_after_us
        if patience is not None and patience <= command.notice_us and command.notice_us > 0:
            self.end_at(End(now_us + patience, AttemptEnd.PREEMPTED))
        else:
            self.end_at(End(now_us + command.notice_us, AttemptEnd.KILLED, 137, "the notice ran out"))

    def end_at(self, end: End) -> None:
        if end.at_us < self._end.at_us:
            self._end = end

    def advance(self, now_us: int) -> None:
        """Write every report that is due by then."""
        if self.ended or now_us < min(self.started_us, self._end.at_us):
            return
        if not self.reports and self._end.at_us >= self.started_us and not self.behaviour.start_fails:
            self.reports.append(AttemptStarted(**self._names(), endpoints=self._endpoints()))
        while self.reports and self._next_tick_us <= min(now_us, self._end.at_us):
            self._progress(self._next_tick_us)
            self._next_tick_us += self.behaviour.progress_every_us
        if self._end.at_us <= now_us:
            self._finish()

    def _scripted_end(self, now_us: int) -> End:
        behaviour, work = self.behaviour, self._work()
        if behaviour.start_fails:
            return End(now_us, AttemptEnd.START_FAILED, 127, behaviour.start_fails)
        ends = [End(NEVER, AttemptEnd.EXITED)]
        if behaviour.ends_at is not None:
            ends.append(End(self._time_of(behaviour.ends_at), behaviour.how, behaviour.exit_code, "as the script says"))
        if work is not None:
            ends.append(End(self._time_of(work), AttemptEnd.EXITED))
        return min(ends, key=lambda end: end.at_us)

    def _time_of(self, done: float) -> float:
        if self.rate <= 0 or (self.behaviour.hangs_at is not None and done > self.behaviour.hangs_at):
            return NEVER
        return math.ceil(self.started_us + max(0.0, done - self.done_at_start) / self.rate * 1e6)

    def _work(self) -> float | None:
        return self.behaviour.work if self.behaviour.work is not None else self.command.work

    def _progress(self, at_us: float) -> None:
        done = self.done(at_us)
        every = self.behaviour.save_every_us
        if every:
            self.saved = max(self.saved, self.done(self.started_us + (at_us - self.started_us) // every * every))
        loss = 1 / (1 + done)
        self.reports.append(AttemptProgressed(**self._names(), done=done, saved=self.saved, rate=self.rate, loss=loss))

    def _finish(self) -> None:
        end = self._end
        if end.how is AttemptEnd.PREEMPTED or (end.how is AttemptEnd.EXITED and end.exit_code == 0):
            self.saved = self.done(end.at_us)
        if self.reports and self.saved > 0:
            self._progress(end.at_us)
        self.reports.append(AttemptEnded(**self._names(), how=end.how, exit_code=end.exit_code, detail=end.detail))

    def _names(self) -> dict[str, int]:
        command = self.command
        return {
            "job": command.job,
            "attempt": command.attempt,
            "epoch": command.epoch,
            "seq": len(self.reports) + 1,
        }

    def _endpoints(self) -> tuple[str, ...]:
        tasks = self.command.tasks if self.command.service else ()
        return tuple(f"127.0.0.1:{FIRST_PORT + task.replica}" for task in tasks if task.first_rank == 0)
