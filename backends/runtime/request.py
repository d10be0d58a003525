"""What a supervisor is asked to run: one task of an attempt, with everything that was decided before it starts."""

from collections.abc import Mapping

from msgspec import Struct, field

from scheduler.model.commands import Start, Task

__all__ = ["LOG_LIMIT_BYTES", "StopRequest", "TaskRequest"]

LOG_LIMIT_BYTES = 16 * 1024 * 1024
LOOPBACK = "127.0.0.1"


class TaskRequest(Struct, frozen=True, kw_only=True):
    """One task. Printable as JSON; the ports are 0 until the request is sent.

    `start` is the attempt's command with this task alone; `index` its place among all the attempt's tasks. Progress
    counts from the task that leads. Both environments come from the device adapter: `stack_env` holds defaults that
    the user's environment overrides, `device_env` says which devices are visible and overrides the user's.
    """

    start: Start
    index: int
    lead: bool
    group_rank: int  # of this task among the tasks of its world
    first_output: int = 0  # the number of this task's first rank among all ranks of the attempt
    host: str = LOOPBACK  # where others reach this node
    master_addr: str = LOOPBACK
    master_port: int = 0
    service_port: int = 0
    role_addresses: Mapping[str, str] = field(default_factory=dict)  # host:port by role, of jobs with several
    stack_env: Mapping[str, str] = field(default_factory=dict)
    device_env: Mapping[str, str] = field(default_factory=dict)
    dies: int = 1  # of one device
    memory_limit_mib: int = 0  # of one rank, emulated devices only; 0: none
    log_limit_bytes: int = LOG_LIMIT_BYTES
    grace_us: int = 3_000_000  # for the peers of a rank that failed

    @property
    def task(self) -> Task:
        return self.start.tasks[0]

    @property
    def ranks(self) -> range:
        """The ranks of the task, as numbered in their world."""
        return range(self.task.first_rank, self.task.first_rank + self.task.local_ranks)

    @property
    def serves(self) -> bool:
        """Whether this task holds the port of a replica."""
        return self.start.service and self.task.first_rank == 0


class StopRequest(Struct, frozen=True, kw_only=True):
    """`stop.json`: notice is given when it is read, and what is left is killed at `deadline_us` (Unix time)."""

    epoch: int
    notice_us: int
    deadline_us: int
    cause: str
