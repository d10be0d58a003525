"""What the state remembers of a job and of each of its attempts. Only `engine.transitions` changes them.

Checkpoints leave out what is as at the beginning, which is most of most jobs. They carry the shape of the state,
defaults included, so that none is ever read with other defaults.
"""

from msgspec import Struct, field

from scheduler.model.allocations import Allocation
from scheduler.model.events import Actor, ArrayMember, ResolvedDependency
from scheduler.model.jobs import Job
from scheduler.model.lifecycle import TERMINAL, AttemptEnd, JobState, StopCause
from scheduler.model.reasons import Reason
from scheduler.profiles.answered import Answered

__all__ = ["Attempt", "JobRecord"]


class Attempt(Struct, kw_only=True, gc=False, omit_defaults=True):
    """One run of a job. `done` and `saved` count over all attempts, in the workload's unit."""

    n: int
    epoch: int
    cell: str
    allocation: Allocation
    allocated_us: int
    started_us: int | None = None
    ended_us: int | None = None
    seq: int = 0  # of the last report that had an effect
    done_at_start: float = 0.0
    done: float = 0.0
    saved: float = 0.0
    rate: float = 0.0
    first_loss: float | None = None
    loss: float | None = None
    overruns: int = 0
    last_progress_us: int = 0
    stop: StopCause | None = None
    stop_us: int = 0
    stop_deadline_us: int = 0
    stop_for: int = -1
    how: AttemptEnd | None = None
    exit_code: int = 0
    detail: str = ""
    endpoints: tuple[str, ...] = ()
    answered: Answered | None = None  # of a service that tells what comes


class JobRecord(Struct, kw_only=True, gc=False, omit_defaults=True):
    """`done` is what would survive the loss of the present attempt; `retries_used` counts against `retries.limit`."""

    number: int
    id: str
    spec: Job
    actor: Actor
    submitted_us: int
    key: str = ""
    digest: str = ""
    array: ArrayMember | None = None
    after: tuple[ResolvedDependency, ...] = ()
    state: JobState = JobState.WAITING
    priority: int = 0
    time_limit_us: int | None = None
    deadline_us: int | None = None
    attempts: list[Attempt] = field(default_factory=list)
    done: float = 0.0
    saved: float = 0.0
    retries_used: int = 0
    not_before_us: int = 0
    waiting_since_us: int = 0
    waited_us: int = 0
    ran_us: int = 0
    ended_us: int | None = None
    exit_code: int = 0
    detail: str = ""
    reason: Reason | None = None
    lost_work: float = 0.0

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that holds devices now, or None."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].ended_us is None else None
