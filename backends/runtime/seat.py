"""What a rank reads from its environment: its place in the world, its devices, and what is expected of it."""

import os
from collections.abc import Mapping

from msgspec import Struct

from scheduler.errors import UsageError

__all__ = ["Seat", "read_seat"]


class Seat(Struct, frozen=True, kw_only=True):
    """One rank's environment in types. Outside dualtrack and torchrun it is rank 0 of a world of one."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    job_id: str = ""  # empty: not started by dualtrack
    job_name: str = ""
    attempt: int = 1
    role: str = "main"
    replica: int = 0
    accelerator: str = ""
    adapter: str = ""
    emulated: bool = False
    devices: tuple[int, ...] = ()
    dies: int = 1
    hbm_gib: float = 0.0
    memory_limit_mib: int = 0
    pace_s: float = 0.0
    work: float | None = None
    checkpoint_path: str = ""
    checkpoint_every_s: float = 0.0
    report_path: str = ""
    service_port: int = 0
    role_addresses: Mapping[str, str] = {}


def read_seat(environ: Mapping[str, str] = os.environ) -> Seat:
    """Raises UsageError naming the variable that cannot be read."""

    def number(name: str, default: float) -> float:
        text = environ.get(name, "")
        try:
            return float(text) if text else default
        except ValueError:
            raise UsageError(f"{name} is {text!r}, which is no number") from None

    def whole(name: str, default: int) -> int:
        return int(number(name, default))

    devices = environ.get("DUALTRACK_DEVICES", "")
    return Seat(
        rank=whole("RANK", 0),
        world_size=whole("WORLD_SIZE", 1),
        local_rank=whole("LOCAL_RANK", 0),
        local_world_size=whole("LOCAL_WORLD_SIZE", 1),
        job_id=environ.get("DUALTRACK_JOB_ID", ""),
        job_name=environ.get("DUALTRACK_JOB_NAME", ""),
        attempt=whole("DUALTRACK_ATTEMPT", 1),
        role=environ.get("DUALTRACK_ROLE", "main"),
        replica=whole("DUALTRACK_REPLICA", 0),
        accelerator=environ.get("DUALTRACK_ACCELERATOR", ""),
        adapter=environ.get("DUALTRACK_ADAPTER", ""),
        emulated=environ.get("DUALTRACK_EMULATED") == "1",
        devices=tuple(int(device) for device in devices.split(",") if device.isdecimal()),
        dies=whole("DUALTRACK_DIES", 1),
        hbm_gib=number("DUALTRACK_HBM_GIB", 0.0),
        memory_limit_mib=whole("DUALTRACK_MEMORY_LIMIT_MIB", 0),
        pace_s=number("DUALTRACK_PACE_S", 0.0),
        work=number("DUALTRACK_WORK", 0.0) if environ.get("DUALTRACK_WORK") else None,
        checkpoint_path=environ.get("DUALTRACK_CHECKPOINT_PATH", ""),
        checkpoint_every_s=number("DUALTRACK_CHECKPOINT_EVERY_S", 0.0),
        report_path=environ.get("DUALTRACK_REPORT_PATH", ""),
        service_port=whole("DUALTRACK_SERVICE_PORT", 0),
        role_addresses=_role_addresses(environ),
    )


def _role_addresses(environ: Mapping[str, str]) -> dict[str, str]:
    prefix, suffix = "DUALTRACK_ROLE_", "_ADDR"
    return {
        name[len(prefix) : -len(suffix)].lower(): value
        for name, value in environ.items()
        if name.startswith(prefix) and name.endswith(suffix)
    }
