"""Keeps a second live scheduler off the journal, and names the first. The epoch is what protects; this is the warning.

A lock may be lost while its holder lives (its file deleted, its connection cut), so each write checks the epoch too.
"""

import fcntl
import os
import socket
import weakref
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Connection, text

from scheduler.errors import JournalError, JournalLockedError

__all__ = ["AdvisoryLock", "FileLock", "Lock", "leader_name"]

ADVISORY_CLASS: Final = 0x6475616C
"""The first half of the key of our advisory locks in PostgreSQL; the second names the schema."""

_TAKE: Final = text("SELECT pg_try_advisory_lock(:class, hashtext(current_schema()) & 2147483647)")

_HOLDER: Final = text(
    "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE l.locktype = 'advisory' AND l.granted"
    " AND l.classid = :class AND l.objid = hashtext(current_schema()) & 2147483647"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)

REMEDY: Final = "stop it first, or give this scheduler a journal of its own"


def leader_name() -> str:
    """Who holds the lead: shown to whoever is refused."""
    return f"pid {os.getpid()} on {socket.gethostname()}"


class Lock(Protocol):
    def acquire(self, writer: Connection) -> None:
        """Take the lock or raise JournalLockedError with the name of the holder."""

    def release(self) -> None:
        """Let go; no error when it is not held."""


class FileLock:
    """`<file>.lock`, held by flock: it vanishes with the process, however that ends."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._fd: int | None = None

    def acquire(self, writer: Connection) -> None:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"cannot open {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 256, 0).decode(errors="replace").strip() or "an unknown process"
            os.close(fd)
            raise JournalLockedError(f"another scheduler ({holder}) leads on {self._path.stem}", REMEDY) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, leader_name().encode(), 0)
        self._fd = fd
        _held.add(self)

    def release(self) -> None:
        fd, self._fd = self._fd, None
        _held.discard(self)
        if fd is not None:
            os.close(fd)


_held: Final[weakref.WeakSet[FileLock]] = weakref.WeakSet()


def _let_go_in_child() -> None:
    # a forked worker shares the lock's file description and would keep it after its parent's death
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_child)


class AdvisoryLock:
    """PostgreSQL's lock of the session that writes: it vanishes with the connection."""

    def __init__(self) -> None:
        self._key = {"class": ADVISORY_CLASS}

    def acquire(self, writer: Connection) -> None:
        with writer.begin():
            if not writer.execute(_TAKE, self._key).scalar():
                name = writer.execute(_HOLDER, self._key).scalar() or "an unknown session"
                raise JournalLockedError(f"another scheduler ({name}) leads on this PostgreSQL journal", REMEDY)

    def release(self) -> None:
        """Nothing to do: the store closes the connection."""
