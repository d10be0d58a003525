"""What happened. Events are facts: folding them in order gives the state, and nothing else changes it.

Inputs come from people (submitted, cancelled, ...) and executors (started, progressed, ended); decisions come from
the engine (allocated, stop ordered, reasons). Every event of a person carries user, tenant and whether the user was
authenticated. `job` is the dense number of acceptance, an attempt is (job, n).
"""

from enum import StrEnum

from msgspec import Struct

from scheduler.model.accelerators import Catalog
from scheduler.model.allocations import Allocation
from scheduler.model.cluster import Cluster, Foreign, NodeState
from scheduler.model.jobs import DependsOn, Job, Moves
from scheduler.model.lifecycle import AttemptEnd, StopCause
from scheduler.model.policy import Policy
from scheduler.model.reasons import Reason
from scheduler.model.reservations import Reservation
from scheduler.model.rules import Rules
from scheduler.model.tenants import Tenants

__all__ = [
    "ActionRequested",
    "Actor",
    "Allocated",
    "ArrayMember",
    "AttemptEnded",
    "AttemptProgressed",
    "AttemptStarted",
    "CarriedOver",
    "CellReachability",
    "Configured",
    "DependencyBroken",
    "EpochStarted",
    "Event",
    "ForeignChanged",
    "JobAction",
    "JobSubmitted",
    "JobUpdated",
    "NodeStateChanged",
    "ReasonsChanged",
    "Record",
    "ReservationCancelled",
    "ReservationMade",
    "ResolvedDependency",
    "StopOrdered",
]


class Actor(Struct, frozen=True, gc=False):
    user: str
    tenant: str
    authenticated: bool


class ArrayMember(Struct, frozen=True, gc=False):
    head: int  # number of the array's first job
    index: int


class ResolvedDependency(Struct, frozen=True, gc=False):
    job: int
    on: DependsOn


class JobAction(StrEnum):
    CANCEL = "cancel"
    SUSPEND = "suspend"
    RESUME = "resume"
    REQUEUE = "requeue"


class EpochStarted(Struct, frozen=True, tag="epoch_started", gc=False):
    """A scheduler took the lead; effects of smaller epochs are refused from here on."""

    epoch: int


class Configured(Struct, frozen=True, tag="configured", gc=False):
    """The whole configuration in force. Running jobs keep what they hold."""

    catalog: Catalog
    cluster: Cluster
    tenants: Tenants
    rules: Rules
    policy: Policy


class JobSubmitted(Struct, frozen=True, tag="job_submitted", gc=False):
    job: int
    id: str  # random, drawn by the shell; what people see
    spec: Job
    actor: Actor
    key: str = ""  # the submission key that makes retries safe
    digest: str = ""  # of the submitted body: the same key with another body is a conflict
    array: ArrayMember | None = None
    after: tuple[ResolvedDependency, ...] = ()


class JobUpdated(Struct, frozen=True, tag="job_updated", gc=False):
    """What may change after submission; None leaves it."""

    job: int
    actor: Actor
    priority: int | None = None
    time_limit_us: int | None = None
    deadline_us: int | None = None
    moves: Moves | None = None


class ActionRequested(Struct, frozen=True, tag="action_requested", gc=False):
    job: int
    action: JobAction
    actor: Actor


class NodeStateChanged(Struct, frozen=True, tag="node_state_changed", gc=False):
    node: int
    state: NodeState
    actor: Actor | None = None
    why: str = ""


class ForeignChanged(Struct, frozen=True, tag="foreign_changed", gc=False):
    """What others hold on the node now; devices that dualtrack has granted are never counted."""

    foreign: tuple[Foreign, ...]


class CellReachability(Struct, frozen=True, tag="cell_reachability", gc=False):
    cell: str
    reachable: bool


class ReservationMade(Struct, frozen=True, tag="reservation_made", gc=False):
    """Nodes are kept free in a window; the same id again replaces it."""

    reservation: Reservation
    actor: Actor


class ReservationCancelled(Struct, frozen=True, tag="reservation_cancelled", gc=False):
    id: str
    actor: Actor


class AttemptStarted(Struct, frozen=True, tag="attempt_started", gc=False):
    """All ranks are up. `seq` numbers the reports of an attempt from 1; repeats are ignored.

    `endpoints` are `host:port` of each replica of a service, by replica.
    """

    job: int
    attempt: int
    epoch: int
    seq: int
    endpoints: tuple[str, ...] = ()


class AttemptProgressed(Struct, frozen=True, tag="attempt_progressed", gc=False):
    """`done` and `saved` in the workload's unit, over all attempts; `loss` is whatever figure the job minimises.

    `came`: of a service whose `done` counts requests, how many have come, answered or not; 0: it does not tell.
    """

    job: int
    attempt: int
    epoch: int
    seq: int
    done: float
    saved: float = 0.0
    rate: float = 0.0
    loss: float | None = None
    overruns: int = 0  # steps that took longer than the emulated pace
    came: float = 0.0


class AttemptEnded(Struct, frozen=True, tag="attempt_ended", gc=False):
    job: int
    attempt: int
    epoch: int
    seq: int
    how: AttemptEnd
    exit_code: int = 0
    detail: str = ""


class Allocated(Struct, frozen=True, tag="allocated", gc=False):
    """A decision: the attempt may start on this allocation. The durable record of intent before any start."""

    job: int
    attempt: int
    epoch: int
    allocation: Allocation


class StopOrdered(Struct, frozen=True, tag="stop_ordered", gc=False):
    """A decision: the attempt gets a notice now and is killed at `deadline_us`."""

    job: int
    attempt: int
    epoch: int
    cause: StopCause
    deadline_us: int
    for_job: int = -1  # who needs the devices


class DependencyBroken(Struct, frozen=True, tag="dependency_broken", gc=False):
    """A decision: a dependency of the waiting job can no longer be met."""

    job: int


class ReasonsChanged(Struct, frozen=True, tag="reasons_changed", gc=False):
    """The reason of each waiting job whose reason is not what it was."""

    reasons: tuple[tuple[int, Reason], ...]


class CarriedOver(Struct, frozen=True, tag="carried_over", gc=False):
    """What the next cycle needs from this one: prices and budgets per row, so that warm starts replay.

    Where it `adds`, only what changed is told, and `gone` are the names that are no more.
    """

    prices: tuple[tuple[str, float], ...] = ()
    adds: bool = False
    gone: tuple[str, ...] = ()


Event = (
    EpochStarted
    | Configured
    | JobSubmitted
    | JobUpdated
    | ActionRequested
    | NodeStateChanged
    | ForeignChanged
    | CellReachability
    | ReservationMade
    | ReservationCancelled
    | AttemptStarted
    | AttemptProgressed
    | AttemptEnded
    | Allocated
    | StopOrdered
    | DependencyBroken
    | ReasonsChanged
    | CarriedOver
)


class Record(Struct, frozen=True, gc=False):
    """An event with its place in the history: `seq` is dense from 1, `epoch` the leader's that wrote it."""

    seq: int
    epoch: int
    time_us: int
    event: Event
