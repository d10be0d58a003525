"""Which environment variables a job may set: what the scheduler, the launcher and the loader own is refused."""

import re
from typing import Final

from scheduler.config.cursor import Cursor
from scheduler.config.limits import MAX_ENV, MAX_SCALAR

__all__ = ["environment", "reserved"]

KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
PREFIXES: Final = {
    "LD_": "changes which code a process loads",
    "DYLD_": "changes which code a process loads",
    "PYTHON": "changes which code a process loads",
    "RAY_": "would lead to the cluster that runs the job",
    "DUALTRACK_": "is set by dualtrack",
    "TORCHELASTIC_": "is set by the launcher",
}
NAMES: Final = {
    **dict.fromkeys(
        ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK",
         "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
        "is set by the launcher",
    ),
    **dict.fromkeys(("BASH_ENV", "ENV", "IFS", "GLIBC_TUNABLES"), "changes which code a process runs"),
}  # fmt: skip
VISIBLE: Final = "_VISIBLE_DEVICES"


def reserved(key: str) -> str:
    """Why a job may not set a variable; empty if it may."""
    upper = key.upper()
    if upper.endswith(VISIBLE):
        return "is set from the devices that are granted"
    found = next((why for prefix, why in PREFIXES.items() if upper.startswith(prefix)), "")
    return found or NAMES.get(upper, "")


def environment(cursor: Cursor) -> dict[str, str]:
    """The variables of a job. Values are taken as written: `0.10` stays `0.10`."""
    made: dict[str, str] = {}
    for key, item in cursor.pairs(MAX_ENV):
        if not KEY.fullmatch(key):
            raise item.wrong("is not the name of a variable", "letters, digits and _, not starting with a digit")
        why = reserved(key)
        if why:
            raise item.wrong(f"the variable `{key}` {why}", "remove it")
        made[key] = item.text(MAX_SCALAR, 0)
    return made
