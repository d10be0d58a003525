"""The engine on a table: submit, let time pass, answer its commands by hand, and look."""

from itertools import count

from scheduler.engine import Engine, JobRecord, State, intake, invariants
from scheduler.model.cluster import NodeState
from scheduler.model.commands import Command, Release, Start, Stop
from scheduler.model.events import (
    Actor,
    AttemptEnded,
    AttemptProgressed,
    AttemptStarted,
    Configured,
    EpochStarted,
    Event,
    JobAction,
)
from scheduler.model.jobs import Job
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.plan import Plan
from scheduler.model.units import US_PER_S

ANN = Actor("ann", "red", True)


class Table:
    """`events` is the history with times, so that a test can replay it. Invariants are checked after every event."""

    def __init__(self, config: Configured) -> None:
        self.engine = Engine(State.new(config))
        self.config = config
        self.now_us = 0
        self.events: list[tuple[Event, int]] = []
        self.commands: list[Command] = []
        self.plan: Plan | None = None
        self._ids = (f"id-{n:04d}" for n in count())
        self.tell(EpochStarted(1))

    @property
    def state(self) -> State:
        return self.engine.state

    def tell(self, *events: Event) -> list[Command]:
        """Fold events; returns the commands that follow."""
        commands: list[Command] = []
        for event in events:
            self.events.append((event, self.now_us))
            commands += self.engine.fold(event, self.now_us)
            invariants.check(self.state)
        self.commands += commands
        return commands

    def submit(self, spec: Job, actor: Actor = ANN, **more: str) -> JobRecord:
        events = intake.submission(self.state, spec, actor, lambda: next(self._ids), self.now_us, **more)
        self.tell(*events)
        return self.state.jobs[events[0].job]

    def decide(self) -> list[Command]:
        decision = self.engine.decide(self.now_us)
        self.plan = decision.plan
        return self.tell(*decision.events)

    def starts(self) -> list[str]:
        """Decide; names of the jobs that start, in order."""
        return [command.name for command in self.decide() if isinstance(command, Start)]

    def stops(self) -> list[tuple[str, str]]:
        """Decide; (name, cause) of the attempts that are told to stop."""
        commands = self.decide()
        return [(self.state.jobs[c.job].spec.name, c.cause) for c in commands if isinstance(c, Stop)]

    def later(self, seconds: float) -> None:
        self.now_us += round(seconds * US_PER_S)

    def up(self, *jobs: JobRecord) -> None:
        """All ranks of the jobs' attempts are up."""
        for job in jobs:
            attempt = job.attempts[-1]
            self.tell(AttemptStarted(job.number, attempt.n, attempt.epoch, attempt.seq + 1))

    def progress(self, job: JobRecord, done: float, saved: float = 0.0) -> None:
        attempt = job.attempts[-1]
        self.tell(AttemptProgressed(job.number, attempt.n, attempt.epoch, attempt.seq + 1, done, saved))

    def end(self, job: JobRecord, how: AttemptEnd = AttemptEnd.EXITED, exit_code: int = 0) -> list[Command]:
        attempt = job.attempts[-1]
        return self.tell(AttemptEnded(job.number, attempt.n, attempt.epoch, attempt.seq + 1, how, exit_code))

    def ask(self, job: JobRecord, action: JobAction) -> list[Command]:
        return self.tell(intake.action(self.state, job, action, ANN))

    def node(self, name: str, state: NodeState) -> None:
        self.tell(intake.node_state(self.state, name, state, ANN))

    def run_all(self, *jobs: JobRecord) -> None:
        """Decide, and bring every job that started up."""
        self.decide()
        self.up(*(j for j in jobs if j.state is JobState.STARTING))


def kinds(commands: list[Command]) -> list[str]:
    return ["start" if isinstance(c, Start) else "release" if isinstance(c, Release) else "stop" for c in commands]
