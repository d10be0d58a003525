"""Processes by identity: a pid with its start time, so that a number used again is never taken for ours."""

import contextlib
import ctypes
import functools
import os
import signal
from pathlib import Path

from msgspec import Struct

__all__ = ["Identity", "become_subreaper", "children", "die_with_parent", "identify", "is_alive", "kill_session"]

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SCANS = 5
_LIBC = ctypes.CDLL(None, use_errno=True)


class Identity(Struct, frozen=True):
    """`started` is field 22 of /proc/PID/stat, in clock ticks since the boot called `boot`."""

    pid: int
    started: int
    boot: str


class _Stat(Struct, frozen=True):
    state: str
    parent: int
    session: int
    started: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    rest = text.rpartition(")")[2].split()  # the command's name may hold spaces and brackets
    return _Stat(rest[0], int(rest[1]), int(rest[3]), int(rest[19]))


@functools.cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Identity:
    """The identity of a live process; a process that is gone has start time 0, which is never alive."""
    stat = _stat(pid)
    return Identity(pid, stat.started if stat else 0, _boot())


def is_alive(identity: Identity) -> bool:
    """Whether that very process runs. One that has ended and waits to be reaped does not."""
    stat = _stat(identity.pid)
    return stat is not None and stat.state != "Z" and stat.started == identity.started and identity.boot == _boot()


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`, ended ones included; only those of its main thread where the kernel tells."""
    with contextlib.suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [p for p in _all_pids() if (stat := _stat(p)) is not None and stat.parent == pid]


def kill_session(leader: Identity) -> int:
    """Kill every process of the session that `leader` began and return how many there were.

    A session's number is not given out again while a process is in it, so it is safe when its leader is gone, and does
    nothing when the number belongs to another process now.
    """
    stat = _stat(leader.pid)
    if leader.boot != _boot() or (stat is not None and stat.started != leader.started):
        return 0
    killed: set[int] = set()
    for _ in range(SCANS):  # a process may fork while we look
        members = {p for p in _all_pids() if (s := _stat(p)) is not None and s.session == leader.pid and s.state != "Z"}
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if members <= killed:
            break
        killed |= members
    return len(killed)


def die_with_parent(parent: int) -> None:
    """Called in a child before exec: have the kernel kill it when the thread that forked it ends."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we could ask
        os._exit(1)


def become_subreaper() -> None:
    """Inherit the orphans among our descendants, so that none outlives the task."""
    _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
