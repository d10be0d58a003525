"""What a supervisor is asked to run: one task of an attempt, with everything that was decided before it starts."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import msgspec
from msgspec import Struct, field

from scheduler.model.commands import Start, Task

__all__ = ["LOG_LIMIT_BYTES", "StopRequest", "TaskRequest", "lead_index", "task_requests"]

LOG_LIMIT_BYTES = 16 * 1024 * 1024
OUT_OF_MEMORY_TEXTS = ("out of memory", "OutOfMemoryError", "Cannot allocate memory")
LOOPBACK = "127.0.0.1"


class TaskRequest(Struct, frozen=True, kw_only=True):
    """One task. Printable as JSON; the ports are 0 until the request is sent.

    `start` is the attempt's command with this task alone; `index` its place among all the attempt's tasks. Progress
    counts from the task that leads. `device_env` comes from the device adapter and wins over the user's environment.
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
    device_env: Mapping[str, str] = field(default_factory=dict)
    out_of_memory_texts: tuple[str, ...] = OUT_OF_MEMORY_TEXTS
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


def lead_index(tasks: Sequence[Task]) -> int:
    """The task whose rank 0 speaks for the attempt: the first rank of the first world."""
    return min(range(len(tasks)), key=lambda i: (tasks[i].world, tasks[i].first_rank, i))


def task_requests(
    start: Start, device_env: Sequence[Mapping[str, str]] = (), memory_scale: float = 1.0
) -> tuple[TaskRequest, ...]:
    """One request per task of `start`, without ports and hosts. Pure.

    `device_env` holds the visibility variables of each task; `memory_scale` shrinks the memory of emulated devices.
    """
    lead = lead_index(start.tasks)
    firsts = [0, *accumulate(task.local_ranks for task in start.tasks)]
    groups: dict[int, list[int]] = {}
    for index in sorted(range(len(start.tasks)), key=lambda i: start.tasks[i].first_rank):
        groups.setdefault(start.tasks[index].world, []).append(index)
    return tuple(
        TaskRequest(
            start=msgspec.structs.replace(start, tasks=(task,)),
            index=index,
            lead=index == lead,
            group_rank=groups[task.world].index(index),
            first_output=firsts[index],
            device_env=device_env[index] if device_env else {},
            memory_limit_mib=emulated_limit_mib(task, memory_scale),
        )
        for index, task in enumerate(start.tasks)
    )


def emulated_limit_mib(task: Task, memory_scale: float) -> int:
    """The memory of the devices that one rank drives, in MiB, scaled; 0 on real hardware, which has its own limit."""
    if not task.emulated or task.local_ranks == 0:
        return 0
    return int(task.hbm_gib * 1024 * memory_scale * len(task.devices) / task.local_ranks)
