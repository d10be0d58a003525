"""From a start command to what Ray is asked for: bundles, actors and their names. Pure, and printable as JSON."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from backends.runtime.prepare import LaunchRequest
from backends.runtime.prepare import prepare as prepare_launch
from scheduler.errors import ExecutorError
from scheduler.model.commands import Start, Task

__all__ = [
    "actor_name",
    "ActorRequest",
    "check_id",
    "claim",
    "group_name",
    "group_prefix",
    "namespace_of",
    "node_resources",
    "prepare",
    "RayRequest",
]

ACTOR_CPU = 0.001
"""A supervisor's share. Never 0: Ray forks workers without bound for what asks for no CPU."""


class ActorRequest(Struct, frozen=True, kw_only=True):
    """One actor, in the bundle of the same index."""

    name: str
    bundle: int
    num_cpus: float
    resources: Mapping[str, float]


class RayRequest(Struct, frozen=True, kw_only=True):
    """Everything that is asked of Ray, and what each actor will be asked to run."""

    namespace: str
    group: str
    bundles: tuple[Mapping[str, float], ...]
    actors: tuple[ActorRequest, ...]
    launch: LaunchRequest


def prepare(command: Start, namespace: str, memory_scale: float = 1.0) -> RayRequest:
    """One bundle and one actor per task, each pinned to the node that the scheduler chose.

    Raises ExecutorError for a job id that cannot be a name, DeviceError for a grant that no process can be shown.
    """
    check_id(command.job_id)
    launch = prepare_launch(command, memory_scale)
    claims = [claim(task) for task in command.tasks]
    return RayRequest(
        namespace=namespace,
        group=group_name(namespace, command),
        bundles=tuple({"CPU": ACTOR_CPU, **resources} for resources in claims),
        actors=tuple(
            ActorRequest(
                name=actor_name(command.job_id, command.attempt, index),
                bundle=index,
                num_cpus=ACTOR_CPU,
                resources=resources,
            )
            for index, resources in enumerate(claims)
        ),
        launch=launch,
    )


def check_id(job_id: str) -> None:
    """Refuse what would be read as a part of a path or of a name."""
    if not job_id or job_id.startswith(".") or "/" in job_id:
        raise ExecutorError(f"{job_id!r} is no job id")


def claim(task: Task) -> Mapping[str, float]:
    """What the task takes of its node: the devices, counted twice, by node and by accelerator.

    The names are our own: `NPU` and `GPU` mean hardware to Ray, which would look for it.
    """
    devices = float(len(task.devices))
    return {f"node_{task.node}": devices, f"acc_{task.accelerator}": devices}


def node_resources(nodes: Mapping[str, tuple[str, int]]) -> dict[str, float]:
    """The custom resources of a raylet that stands for `nodes`: name -> (accelerator, devices)."""
    resources: dict[str, float] = {}
    for name, (accelerator, devices) in nodes.items():
        resources[f"node_{name}"] = float(devices)
        resources[f"acc_{accelerator}"] = resources.get(f"acc_{accelerator}", 0.0) + devices
    return resources


def actor_name(job_id: str, attempt: int, task: int) -> str:
    return f"{job_id}/{attempt}/{task}"


def group_name(namespace: str, command: Start) -> str:
    """Ray lists the placement groups of a cluster by name alone, so the name says whose it is and what for."""
    return f"{group_prefix(namespace, command.job_id, command.attempt)}{command.epoch}/{command.job}"


def group_prefix(namespace: str, job_id: str, attempt: int) -> str:
    """How the names of all groups of one attempt begin, whatever the epoch that asked for them."""
    return f"{namespace}/{job_id}/{attempt}/"


def namespace_of(home: Path, cell: str) -> str:
    """Of one dualtrack home and cell, so that two homes may share a cluster and never see each other's attempts."""
    digest = hashlib.sha256(f"{home.resolve()}\0{cell}".encode()).hexdigest()
    return f"dualtrack-{digest[:12]}"
