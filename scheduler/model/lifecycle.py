"""The legal transitions of a job: one table. `engine.transitions` has one rule per kind of event and asks here.

waiting ──allocate──▶ starting ──started──▶ running
   ▲  │                  │  │                 │  │
   │  │                  │  └──stop──▶ stopping ◀┘
   │  └─suspend─▶ suspended             │
   │                 │  ▲               │
   └─────resume──────┘  └─ended_hold────┤
   └─────────ended_retry────────────────┤
                                        └─▶ succeeded · failed · cancelled
"""

from enum import StrEnum
from typing import Final

__all__ = ["AttemptEnd", "JobState", "StopCause", "TERMINAL", "TRANSITIONS", "Trigger"]


class JobState(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"  # holds its devices until the attempt has ended
    SUSPENDED = "suspended"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class StopCause(StrEnum):
    """Why an attempt was told to stop; decides what becomes of the job when it has ended."""

    PREEMPT = "preempt"  # a job that goes first needs the devices
    RESIZE = "resize"  # the same job continues with another count
    DRAIN = "drain"
    REQUEUE = "requeue"  # a user or operator asked
    SUSPEND = "suspend"
    CANCEL = "cancel"
    DEPENDENCY = "dependency"
    TIME_LIMIT = "time_limit"
    HUNG = "hung"
    START_TIMEOUT = "start_timeout"
    NODE_DOWN = "node_down"


class AttemptEnd(StrEnum):
    """What the executor saw at the end of an attempt."""

    EXITED = "exited"  # every rank exited; the exit code tells
    PREEMPTED = "preempted"  # the ranks left after a notice, in time
    KILLED = "killed"  # the notice ran out
    OUT_OF_MEMORY = "out_of_memory"
    START_FAILED = "start_failed"  # a rank could not be started at all
    LOST = "lost"  # its node, supervisor or executor is gone


class Trigger(StrEnum):
    ALLOCATE = "allocate"
    STARTED = "started"
    STOP = "stop"
    SUSPEND = "suspend"
    RESUME = "resume"
    CANCEL = "cancel"
    ABANDON = "abandon"  # a dependency can no longer be met
    ENDED_SUCCESS = "ended_success"
    ENDED_FAILURE = "ended_failure"
    ENDED_RETRY = "ended_retry"
    ENDED_HOLD = "ended_hold"
    ENDED_CANCEL = "ended_cancel"


_LIVE: Final = (JobState.STARTING, JobState.RUNNING, JobState.STOPPING)

TRANSITIONS: Final[dict[tuple[JobState, Trigger], JobState]] = {
    (JobState.WAITING, Trigger.ALLOCATE): JobState.STARTING,
    (JobState.WAITING, Trigger.SUSPEND): JobState.SUSPENDED,
    (JobState.WAITING, Trigger.CANCEL): JobState.CANCELLED,
    (JobState.WAITING, Trigger.ABANDON): JobState.CANCELLED,
    (JobState.STARTING, Trigger.STARTED): JobState.RUNNING,
    (JobState.STARTING, Trigger.STOP): JobState.STOPPING,
    (JobState.RUNNING, Trigger.STOP): JobState.STOPPING,
    (JobState.STOPPING, Trigger.STOP): JobState.STOPPING,  # a stronger cause replaces a weaker one
    (JobState.SUSPENDED, Trigger.RESUME): JobState.WAITING,
    (JobState.SUSPENDED, Trigger.CANCEL): JobState.CANCELLED,
    **{(state, Trigger.ENDED_SUCCESS): JobState.SUCCEEDED for state in _LIVE},
    **{(state, Trigger.ENDED_FAILURE): JobState.FAILED for state in _LIVE},
    **{(state, Trigger.ENDED_RETRY): JobState.WAITING for state in _LIVE},
    **{(state, Trigger.ENDED_HOLD): JobState.SUSPENDED for state in _LIVE},
    **{(state, Trigger.ENDED_CANCEL): JobState.CANCELLED for state in _LIVE},
}
