"""Faults under a SQLite journal: any call of the database may fail, before or after it had its effect."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event

from scheduler.journal.database import connect
from scheduler.journal.store import SqlJournal

FSYNC = "disk I/O error"
FULL = "database or disk is full"


class Faults:
    """Counts the calls and fails the `at`-th (from 1), or that and all later ones if `persistent`."""

    def __init__(self) -> None:
        self.struck = False
        self.arm(0)

    def arm(self, at: int, *, after: bool = False, persistent: bool = False, said: str = FSYNC) -> None:
        self.calls, self.at, self.after, self.persistent, self.said = 0, at, after, persistent, said

    def call(self, effect: Callable[[], Any]) -> Any:
        self.calls += 1
        hit = self.at and (self.calls == self.at or (self.persistent and self.calls > self.at))
        if not hit:
            return effect()
        self.struck = True
        if self.after:
            effect()
        raise sqlite3.OperationalError(self.said)


def faulty_journal(file: Path, faults: Faults) -> SqlJournal:
    """A journal whose every statement, commit and rollback goes through `faults`."""

    class Cursor(sqlite3.Cursor):
        def execute(self, *args: Any) -> Any:
            return faults.call(lambda: super(Cursor, self).execute(*args))

        def executemany(self, *args: Any) -> Any:
            return faults.call(lambda: super(Cursor, self).executemany(*args))

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def commit(self) -> None:
            faults.call(super().commit)

        def rollback(self) -> None:
            faults.call(super().rollback)

    engine, lock = connect(file)

    @event.listens_for(engine, "do_connect")
    def with_faults(_dialect: Any, _record: Any, args: Any, kwargs: Any) -> Any:
        return sqlite3.connect(*args, **kwargs, factory=Connection)

    return SqlJournal(engine, lock)


def outside(file: Path) -> Engine:
    return create_engine(f"sqlite:///{file}")
