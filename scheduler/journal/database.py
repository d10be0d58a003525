"""Opens the database under a journal so that a commit that returned is on disk, and words what goes wrong with it."""

import os
from pathlib import Path
from sqlite3 import DatabaseError
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from scheduler.errors import JournalCorruptError, JournalError, JournalVersionError
from scheduler.journal.codec import RESTORE
from scheduler.journal.locks import ADVISORY_CLASS, AdvisoryLock, FileLock, Lock, leader_name
from scheduler.journal.tables import LAYOUT, METADATA, leadership

__all__ = ["connect", "prepare", "worded"]

BUSY_MS: Final = 10_000
"""How long a write waits for another program's lock on the SQLite file before it counts as failed."""

IMMEDIATE: Final = {"dualtrack_begin": "BEGIN IMMEDIATE"}
"""Execution options of connections that write: they take SQLite's write lock at once."""

_DAMAGED: Final = ("not a database", "malformed", "invalid page")
"""What SQLite and PostgreSQL say of damaged files."""

_SUPPORTED: Final = "give a file name, sqlite:///FILE or postgresql://USER@HOST/DATABASE"


def worded(doing: str, error: Exception) -> JournalError:
    """The error to raise when the database failed at `doing` (which reads on after "cannot")."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = " ".join(str(cause).split()) or type(cause).__name__
    if isinstance(error, TypeError | ValueError) or any(mark in said for mark in _DAMAGED):
        return JournalCorruptError(f"cannot {doing}: {said}", RESTORE)
    return JournalError(f"cannot {doing}: {said}", "see that the database is there and may be used")


def connect(where: str | Path) -> tuple[Engine, Lock]:
    """The engine and the lock for a file or URL. The tables may not exist yet. Raises JournalError."""
    text_form = str(where)
    if isinstance(where, Path) or "://" not in text_form:
        return _sqlite(Path(where).expanduser())
    try:
        url = make_url(text_form)
    except ArgumentError as error:
        raise JournalError("the journal's URL cannot be read", _SUPPORTED) from error
    match url.get_backend_name():
        case "sqlite" if url.database and url.database != ":memory:":
            return _sqlite(Path(url.database))
        case "postgresql" | "postgres":
            return _postgresql(url)
    raise JournalError(f"a journal cannot be kept in {url.render_as_string(hide_password=True)}", _SUPPORTED)


def _sqlite(file: Path) -> tuple[Engine, Lock]:
    _create_private(file)
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(file)),
        connect_args={"check_same_thread": False},
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", f"busy_timeout = {BUSY_MS}"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("dualtrack_begin", "BEGIN"))

    return engine, FileLock(file)


def _create_private(file: Path) -> None:
    """An empty file that only its owner reads, in folders of the same kind, durable by name."""
    try:
        for folder in reversed([f for f in (file.parent, *file.parent.parents) if not f.exists()]):
            folder.mkdir(mode=0o700)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        folder_fd = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder_fd)
        finally:
            os.close(folder_fd)
    except OSError as error:
        raise JournalError(f"cannot open the journal {file}: {error.strerror}") from error


def _postgresql(url: URL) -> tuple[Engine, Lock]:
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={"application_name": f"dualtrack, {leader_name()}", "connect_timeout": 10},
            hide_parameters=True,
        )
    except ImportError as error:
        raise JournalError("PostgreSQL needs the package psycopg", "install psycopg[binary]") from error

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            if cursor.execute("SHOW synchronous_commit").fetchone()[0] == "off":
                cursor.execute("SET synchronous_commit = on")
        connection.commit()

    return engine, AdvisoryLock()


def prepare(engine: Engine) -> None:
    """Create the tables where they are missing. JournalVersionError when a newer dualtrack laid them out."""
    try:
        if not inspect(engine).has_table(leadership.name):
            _create_tables(engine)
        with engine.connect() as reader:
            layout = reader.execute(select(leadership.c.layout)).scalar_one()
    except (SQLAlchemyError, DatabaseError) as error:
        raise worded(f"open the journal {engine.url.render_as_string(hide_password=True)}", error) from error
    if layout > LAYOUT:
        raise JournalVersionError(
            f"the journal's tables have layout {layout}; this dualtrack knows layouts up to {LAYOUT}",
            "upgrade dualtrack",
        )


def _create_tables(engine: Engine) -> None:
    with engine.connect().execution_options(**IMMEDIATE) as writer, writer.begin():
        if engine.dialect.name == "postgresql":  # one at a time: two fresh schedulers may start together
            writer.execute(text("SELECT pg_advisory_xact_lock(:class)"), {"class": ADVISORY_CLASS})
        METADATA.create_all(writer)
        if writer.execute(select(leadership.c.id)).first() is None:
            writer.execute(leadership.insert().values(id=1, layout=LAYOUT, epoch=0, head=0, leader=""))
