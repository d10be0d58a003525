"""A world that outlives its scheduler: it runs what it was told to, in virtual time, and reports until released.

All that a world knows follows from the commands it got, so it is kept as their list, in a file that a killed process
leaves behind whole: a new process reads it and has the same world.
"""

import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from scheduler.model.commands import Command, Release, Start, Stop
from scheduler.model.events import AttemptEnded, AttemptProgressed, AttemptStarted
from scheduler.model.lifecycle import AttemptEnd
from scheduler.model.units import US_PER_S
from scheduler.ports import AttemptKey, AttemptStatus, Report

WORK = 100.0

_DECODER = msgspec.json.Decoder(tuple[int, Command])


class Run(msgspec.Struct):
    """One attempt with all that it will report, unless it is stopped before."""

    command: Start
    began_us: int
    ends_us: int
    base: float
    reports: list[tuple[int, Report]]


class World:
    def __init__(self, file: Path) -> None:
        self.runs: dict[AttemptKey, Run] = {}
        self.saved: dict[str, float] = {}
        self.starts: dict[AttemptKey, int] = {}
        self.last_us = 0
        self._log = -1
        if file.exists():
            for line in file.read_bytes().splitlines():
                now_us, command = _DECODER.decode(line)
                self.deliver(command, now_us)
        self._log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def close(self) -> None:
        os.close(self._log)

    def deliver(self, command: Command, now_us: int) -> None:
        if self._log >= 0:
            os.write(self._log, msgspec.json.encode((now_us, command)) + b"\n")
        self.last_us = max(self.last_us, now_us)
        key = (command.job_id, command.attempt)
        if isinstance(command, Start):
            if key not in self.starts:
                others = [r for (job_id, _), r in self.runs.items() if job_id == command.job_id and r.ends_us > now_us]
                assert not others, f"attempt {command.attempt} of {command.job_id} starts while another still runs"
                self.starts[key] = now_us
                self.runs[key] = _run(command, now_us, self.saved.get(command.job_id, 0.0))
        elif isinstance(command, Release):
            self.runs.pop(key, None)
        elif key in self.runs:
            self._stop(self.runs[key], command, now_us)

    def _stop(self, run: Run, command: Stop, now_us: int) -> None:
        leaves_us = now_us + min(command.notice_us, US_PER_S)
        if leaves_us >= run.ends_us:
            return
        told = [(at, report) for at, report in run.reports if at <= now_us]
        done = max((r.done for _, r in told if isinstance(r, AttemptProgressed)), default=run.base)
        how = AttemptEnd.PREEMPTED if command.notice_us else AttemptEnd.KILLED
        if how is AttemptEnd.PREEMPTED:
            told.append((leaves_us, _progress(run.command, len(told) + 1, done)))
            self.saved[command.job_id] = done
        told.append((leaves_us, _ended(run.command, len(told) + 1, how, 0)))
        run.reports, run.ends_us = told, leaves_us

    def reports(self, seen: Mapping[AttemptKey, int], now_us: int) -> list[Report]:
        found = [
            (at, key, report.seq, report)
            for key, run in self.runs.items()
            for at, report in run.reports
            if at <= now_us and report.seq > seen.get(key, 0)
        ]
        return [report for *_, report in sorted(found, key=lambda entry: entry[:3])]

    def next_us(self, now_us: int) -> int | None:
        return min((at for run in self.runs.values() for at, _ in run.reports if at > now_us), default=None)

    def statuses(self, now_us: int) -> dict[str, list[AttemptStatus]]:
        found: dict[str, list[AttemptStatus]] = {"north": [], "south": []}
        for (job_id, attempt), run in self.runs.items():
            command = run.command
            found[command.cell].append(
                AttemptStatus(
                    job_id=job_id, job=command.job, attempt=attempt, epoch=command.epoch, ended=run.ends_us <= now_us
                )
            )
        return found


def _run(command: Start, now_us: int, base: float) -> Run:
    """How long it takes and how it ends depends on the attempt alone, not on when it runs."""
    chance = random.Random(f"{command.job_id}/{command.attempt}")
    run_us = chance.randint(5, 60) * US_PER_S
    how, code = chance.choices(
        [(AttemptEnd.EXITED, 0), (AttemptEnd.EXITED, 1), (AttemptEnd.LOST, 0), (AttemptEnd.OUT_OF_MEMORY, 1)],
        [88, 3, 7, 2],
    )[0]
    ends_us = now_us + US_PER_S + run_us
    return Run(command, now_us, ends_us, base, list(_reports(command, now_us + US_PER_S, run_us, base, how, code)))


def _reports(
    command: Start, up_us: int, run_us: int, base: float, how: AttemptEnd, code: int
) -> Iterator[tuple[int, Report]]:
    yield up_us, AttemptStarted(command.job, command.attempt, command.epoch, 1)
    for quarter in (1, 2, 3):
        done = base + (WORK - base) * quarter / 4
        yield up_us + run_us * quarter // 4, _progress(command, quarter + 1, done)
    yield up_us + run_us, _ended(command, 5, how, code)


def _progress(command: Start, seq: int, done: float) -> AttemptProgressed:
    return AttemptProgressed(command.job, command.attempt, command.epoch, seq, done, done, 1.5, 10.0 / (1.0 + done))


def _ended(command: Start, seq: int, how: AttemptEnd, code: int) -> AttemptEnded:
    return AttemptEnded(command.job, command.attempt, command.epoch, seq, how, code, how.value)
