"""From a start command to a printable request; pure, so that what would be run can be shown without running it."""

from collections.abc import Sequence
from itertools import accumulate

import msgspec
from msgspec import Struct

from backends.devices.registry import get_adapter
from backends.runtime.request import TaskRequest
from scheduler.model.commands import Start, Task

__all__ = ["LaunchRequest", "dies", "emulated_limit_mib", "lead_index", "prepare"]


class LaunchRequest(Struct, frozen=True, kw_only=True):
    """Everything that is needed to start an attempt but hosts and ports, which are known only where it runs."""

    command: Start
    tasks: tuple[TaskRequest, ...]


def prepare(command: Start, memory_scale: float = 1.0) -> LaunchRequest:
    """One request per task; `memory_scale` shrinks the memory of emulated devices.

    Raises DeviceError for an adapter that does not exist or a grant that it cannot show to a process.
    """
    lead = lead_index(command.tasks)
    firsts = [0, *accumulate(task.local_ranks for task in command.tasks)]
    groups: dict[int, list[int]] = {}
    for index in sorted(range(len(command.tasks)), key=lambda i: command.tasks[i].first_rank):
        groups.setdefault(command.tasks[index].world, []).append(index)
    tasks = []
    for index, task in enumerate(command.tasks):
        adapter = get_adapter(task.adapter, emulated=task.emulated)
        request = TaskRequest(
            start=msgspec.structs.replace(command, tasks=(task,)),
            index=index,
            lead=index == lead,
            group_rank=groups[task.world].index(index),
            first_output=firsts[index],
            stack_env=adapter.launch_env(task.world_size),
            device_env=adapter.visible_env(task.devices, dies(task)),
            dies=dies(task),
            memory_limit_mib=emulated_limit_mib(task, memory_scale),
        )
        tasks.append(request)
    return LaunchRequest(command=command, tasks=tuple(tasks))


def lead_index(tasks: Sequence[Task]) -> int:
    """The task whose rank 0 speaks for the attempt: the first rank of the first world."""
    return min(range(len(tasks)), key=lambda i: (tasks[i].world, tasks[i].first_rank, i))


def dies(task: Task) -> int:
    """Dies of one device: as the task says, or as its ranks imply when there is one for each."""
    return max(task.dies, task.local_ranks // max(1, len(task.devices)))


def emulated_limit_mib(task: Task, memory_scale: float) -> int:
    """The memory of the devices that one rank drives, in MiB, scaled; 0 on real hardware, which has its own limit."""
    if not task.emulated or task.local_ranks == 0:
        return 0
    return int(task.hbm_gib * 1024 * memory_scale * len(task.devices) / task.local_ranks)
