"""The environment of a rank: an allow-list, what the job gives, and on top what the scheduler decided."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import backends
from backends.runtime.places import TaskPlace
from backends.runtime.request import TaskRequest

__all__ = ["base_environment", "checkout", "rank_environment"]

INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
REFUSED_PREFIX = "RAY_"  # no rank finds its way to Ray, not even by its own wish
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def base_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """What a supervisor and its ranks take over from the process that starts them: no address and no token.

    `python` means the interpreter that runs dualtrack, whether or not its environment was activated.
    """
    env = {name: inherited[name] for name in INHERITED if name in inherited}
    interpreter = str(Path(sys.executable).parent)
    path = env.get("PATH", DEFAULT_PATH).split(os.pathsep)
    env["PATH"] = os.pathsep.join([interpreter, *(entry for entry in path if entry != interpreter)])
    if sys.prefix != sys.base_prefix:
        env["VIRTUAL_ENV"] = sys.prefix
    if source := checkout():
        env["PYTHONPATH"] = source
    return env


def checkout() -> str:
    """The folder from which `backends` is imported when it is not installed, else empty."""
    folder = Path(backends.__file__).resolve().parent.parent
    return "" if folder.name in ("site-packages", "dist-packages") else str(folder)


def rank_environment(
    request: TaskRequest, place: TaskPlace, local_rank: int, base: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of one rank. Later rows win: base, vendor's stack, user, torchrun's, ours, visibility."""
    task = request.task
    env = dict(base)
    env["PYTHONUNBUFFERED"] = "1"
    env["OMP_NUM_THREADS"] = str(_threads(request))
    env.update(request.stack_env)
    given = {k: v for k, v in task.env.items() if not _is_refused(k)}
    env.update(given)
    env["PYTHONPATH"] = _python_path(given.get("PYTHONPATH", ""), request.start.workdir, base.get("PYTHONPATH", ""))
    if not env["PYTHONPATH"]:
        del env["PYTHONPATH"]
    env.update(_torchrun(request, local_rank))
    env.update(_ours(request, place, task.first_rank + local_rank))
    env.update(request.device_env)
    return env


def _is_refused(name: str) -> bool:
    return name.startswith(REFUSED_PREFIX) or name.endswith("_VISIBLE_DEVICES")


def _threads(request: TaskRequest) -> int:
    """Threads per rank. Emulated devices share one small machine, so their ranks get one thread, as torchrun gives."""
    if request.task.emulated:
        return 1
    return max(1, request.task.cpu_milli // 1000 // max(1, request.task.local_ranks))


def _python_path(*entries: str) -> str:
    return os.pathsep.join(entry for entry in entries if entry)


def _torchrun(request: TaskRequest, local_rank: int) -> dict[str, str]:
    task = request.task
    return {
        "RANK": str(task.first_rank + local_rank),
        "WORLD_SIZE": str(task.world_size),
        "LOCAL_RANK": str(local_rank),
        "LOCAL_WORLD_SIZE": str(task.local_ranks),
        "GROUP_RANK": str(request.group_rank),
        "MASTER_ADDR": request.master_addr,
        "MASTER_PORT": str(request.master_port),
    }


def _checkpoint_path(request: TaskRequest, place: TaskPlace) -> str:
    """Absolute, since ranks may change directory. Without a working directory it is kept beside the job's attempts."""
    path = request.start.checkpoint_path
    base = request.start.workdir or place.directory.parent.parent / "checkpoints"
    return str(Path(base, path)) if path else ""


def _ours(request: TaskRequest, place: TaskPlace, rank: int) -> dict[str, str]:
    start, task = request.start, request.task
    env = {
        "DUALTRACK_JOB_ID": start.job_id,
        "DUALTRACK_JOB_NAME": start.name,
        "DUALTRACK_ATTEMPT": str(start.attempt),
        "DUALTRACK_ROLE": task.role,
        "DUALTRACK_REPLICA": str(task.replica),
        "DUALTRACK_ACCELERATOR": task.accelerator,
        "DUALTRACK_ADAPTER": task.adapter,
        "DUALTRACK_EMULATED": "1" if task.emulated else "0",
        "DUALTRACK_DEVICES": ",".join(map(str, task.devices)),
        "DUALTRACK_DIES": str(request.dies),
        "DUALTRACK_HBM_GIB": f"{task.hbm_gib:g}",
        "DUALTRACK_PACE_S": f"{task.pace_s!r}",
        "DUALTRACK_WORK": "" if start.work is None else f"{start.work!r}",
        "DUALTRACK_CHECKPOINT_PATH": _checkpoint_path(request, place),
        "DUALTRACK_CHECKPOINT_EVERY_S": f"{start.checkpoint_every_us / 1e6:g}",
        "DUALTRACK_REPORT_PATH": str(place.pipe(rank)),
    }
    if request.memory_limit_mib:
        env["DUALTRACK_MEMORY_LIMIT_MIB"] = str(request.memory_limit_mib)
    if start.service:
        env["DUALTRACK_SERVICE_PORT"] = str(request.service_port)
    for role, address in request.role_addresses.items():
        env[f"DUALTRACK_ROLE_{role.upper().replace('-', '_')}_ADDR"] = address
    return env
