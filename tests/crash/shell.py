"""A scheduler without threads around the real engine and a real journal, which may be killed at any of its steps.

What it would tell a client goes into `acks`, one line per request, after the commit. What the state was goes into
`states` before the commit: one line per batch, the number of its last record and the digest of the state's image.
"""

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path

from scheduler.engine.engine import Engine
from scheduler.engine.image import encode
from scheduler.engine.intake import action, existing_for_key, node_state, submission
from scheduler.engine.reconcile import reconcile
from scheduler.engine.state import State
from scheduler.errors import DualtrackError
from scheduler.journal.replay import Replayed, checkpoint_image, replay
from scheduler.journal.store import SqlJournal, open_journal
from scheduler.model.commands import Command
from scheduler.model.events import EpochStarted, Event, JobSubmitted, Record
from scheduler.model.units import US_PER_S
from scheduler.ports import AttemptKey
from tests.crash.script import Ask, asks, configuration
from tests.crash.world import World

CHECKPOINT_EVERY = 150
MAX_BATCHES = 5_000


def nothing(stage: str) -> None:
    """No step is the last."""


class Shell:
    """`step` is told the stage of every step: `begin`, `before` and `after` a commit, `acted` after each command."""

    def __init__(self, folder: Path, seed: int, step: Callable[[str], None] = nothing) -> None:
        self.step = step
        self.journal: SqlJournal = open_journal(folder / "journal.db")
        self.world = World(folder / "world")
        self.asks = asks(seed)
        self.acks = answered(folder)
        self._log = {n: os.open(folder / n, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for n in ("acks", "states")}
        self.epoch = self.journal.lead()
        self._records: list[Record] = []
        self._recover(replay(self.journal))

    def close(self) -> None:
        self.journal.close()
        self.world.close()
        for fd in self._log.values():
            os.close(fd)

    def _recover(self, found: Replayed) -> None:
        self.seq = self.saved = found.seq
        self.now_us = max(found.time_us, self.world.last_us) + US_PER_S
        first: list[Event] = []
        if found.engine is None:
            config = configuration()
            self.engine = Engine(State.new(config))
            self._note(config)
        else:
            self.engine = found.engine
        commands = self._fold([EpochStarted(self.epoch), *first])
        if found.engine is not None:
            events, more = reconcile(self.engine.state, self.world.statuses(self.now_us), self.now_us)
            commands += [*self._fold(events), *more]
        self._batch(commands)

    def run(self) -> None:
        """Until every request is answered and every job has ended."""
        for _ in range(MAX_BATCHES):
            if len(self.acks) == len(self.asks) and all(job.terminal for job in self.engine.state.jobs):
                return
            self.now_us = max(self._next_us(), self.now_us + 1_000)
            self._batch([])
        raise AssertionError(f"not done after {MAX_BATCHES} batches")

    def _next_us(self) -> int:
        times = [self.world.next_us(self.now_us), self.wake_us, *self._due_us()]
        return min(time for time in times if time is not None)

    def _due_us(self) -> Iterable[int]:
        return (ask.at_us for n, ask in enumerate(self.asks) if n not in self.acks)

    def _batch(self, commands: list[Command]) -> None:
        commands += self._fold(self.world.reports(self._seen(), self.now_us))
        answers: dict[int, str] = {}
        for number, ask in enumerate(self.asks):
            if number not in self.acks and ask.at_us <= self.now_us and (ask.of < 0 or ask.of in self.acks):
                commands += self._take(number, ask, answers)
        decision = self.engine.decide(self.now_us)
        self.wake_us = decision.plan.wake_us
        commands += self._fold(decision.events)
        self._commit()
        for number, answer in answers.items():
            os.write(self._log["acks"], f"{json.dumps([number, answer])}\n".encode())
            self.acks[number] = answer
        for command in commands:
            self.world.deliver(command, self.now_us)
            self.step("acted")
        if self.seq - self.saved >= CHECKPOINT_EVERY:
            self.journal.save_checkpoint(self.seq, checkpoint_image(self.engine.state))
            self.saved = self.seq

    def _seen(self) -> dict[AttemptKey, int]:
        return {(job.id, attempt.n): attempt.seq for job in self.engine.state.jobs for attempt in job.attempts}

    def _take(self, number: int, ask: Ask, answers: dict[int, str]) -> list[Command]:
        """Fold what the request comes to. Its answer is the job's id, or why it was refused."""
        try:
            events, answers[number] = self._meaning(number, ask)
        except DualtrackError as refusal:
            answers[number] = f"refused: {refusal}"
            return []
        return self._fold(events)

    def _meaning(self, number: int, ask: Ask) -> tuple[tuple[Event, ...], str]:
        state = self.engine.state
        if ask.job is not None:
            ids = random.Random(f"{number}/{self.epoch}")
            key = f"key-{number}"
            entered = submission(
                state, ask.job, ask.actor, lambda: f"{ids.getrandbits(64):016x}", self.now_us, key, f"digest-{number}"
            )
            return entered, entered[0].id if entered else state.jobs[existing_for_key(state, ask.actor, key)[0]].id
        if ask.state is not None:
            return (node_state(state, ask.node, ask.state, ask.actor),), "done"
        if ask.action is None or self.acks[ask.of] not in state.by_id:
            return (), "nothing to act on"
        job = state.jobs[state.by_id[self.acks[ask.of]]]
        return (action(state, job, ask.action, ask.actor),), "done"

    def _fold(self, events: Iterable[Event]) -> list[Command]:
        commands: list[Command] = []
        for event in events:
            commands += self.engine.fold(event, self.now_us)
            self._note(event)
        return commands

    def _note(self, event: Event) -> None:
        self._records.append(Record(self.seq + len(self._records) + 1, self.epoch, self.now_us, event))

    def _commit(self) -> None:
        if self._records:
            last = self._records[-1].seq
            os.write(self._log["states"], f"{last} {digest(self.engine.state)}\n".encode())
            self.step("before")
            self.journal.append(self._records)
            self.step("after")
            self.seq, self._records = last, []


def digest(state: State) -> str:
    """Of the state's image: equal for equal states, and for no others."""
    return hashlib.sha256(encode(state)).hexdigest()


def answered(folder: Path) -> dict[int, str]:
    """What clients were told, by request."""
    file = folder / "acks"
    return dict(json.loads(line) for line in file.read_text().splitlines()) if file.exists() else {}


def states(folder: Path) -> dict[int, str]:
    """Digests of the live state by the record after which they hold."""
    file = folder / "states"
    lines = file.read_text().splitlines() if file.exists() else []
    return {int(seq): found for seq, found in (line.split() for line in lines)}


def jobs_of(records: Iterable[Record]) -> list[JobSubmitted]:
    return [record.event for record in records if isinstance(record.event, JobSubmitted)]
