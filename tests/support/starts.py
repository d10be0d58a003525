"""Start commands for tests of the runtime: one role, emulated devices, a Python program as the entrypoint."""

from typing import Any

from scheduler.model.commands import Start, Task


def task(code: str = "pass", **changes: Any) -> Task:
    values: dict[str, Any] = {
        "node": "node-0",
        "node_index": 0,
        "role": "main",
        "accelerator": "h200",
        "adapter": "nvidia",
        "emulated": True,
        "devices": (0,),
        "world": 0,
        "world_size": 1,
        "first_rank": 0,
        "local_ranks": 1,
        "entrypoint": ("python", "-c", code),
    }
    return Task(**{**values, **changes})


def start(*tasks: Task, **changes: Any) -> Start:
    values: dict[str, Any] = {
        "job": 0,
        "attempt": 1,
        "epoch": 1,
        "job_id": "job-a",
        "name": "a",
        "tenant": "t",
        "user": "u",
        "cell": "c",
        "tasks": tasks or (task(),),
    }
    return Start(**{**values, **changes})
