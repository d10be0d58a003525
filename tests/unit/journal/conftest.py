"""The three journals behind one handle, so that each behaviour is shown on all of them."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import Engine, create_engine, text

from scheduler.journal.codec import Row
from scheduler.journal.memory import MemoryDisk, MemoryJournal
from scheduler.journal.store import SqlJournal, open_journal
from tests.support.postgres import Unavailable, fresh_schema, server

Journal = MemoryJournal | SqlJournal

_names = itertools.count()


class Place(Protocol):
    """Where a journal lies: it can be opened again and again, and damaged from outside."""

    def open(self) -> Journal: ...

    def usurp(self) -> None:
        """Another scheduler takes the lead in spite of the lock."""

    def damage(self, seq: int, column: str, value: object) -> None: ...

    def delete(self, seq: int) -> None: ...

    def damage_checkpoint(self, seq: int) -> None: ...


class MemoryPlace:
    def __init__(self) -> None:
        self.disk = MemoryDisk()

    def open(self) -> MemoryJournal:
        self.disk.led = False  # whoever led before is gone
        return MemoryJournal(self.disk)

    def usurp(self) -> None:
        self.disk.epoch += 1

    def damage(self, seq: int, column: str, value: object) -> None:
        row = self.disk.rows[seq - 1]
        self.disk.rows[seq - 1] = Row(**{**{f: getattr(row, f) for f in row.__struct_fields__}, column: value})

    def delete(self, seq: int) -> None:
        del self.disk.rows[seq - 1]

    def damage_checkpoint(self, seq: int) -> None:
        image, crc = self.disk.checkpoints[seq]
        self.disk.checkpoints[seq] = (image[:-1] + b"?", crc)


class SqlPlace:
    def __init__(self, where: str | Path) -> None:
        self.where = where
        url = f"sqlite:///{where}" if isinstance(where, Path) else where.replace("postgresql:", "postgresql+psycopg:")
        self._outside: Engine = create_engine(url)
        self._opened: list[SqlJournal] = []

    def open(self) -> SqlJournal:
        self.close_all()  # whoever led before is gone
        self._opened.append(open_journal(self.where))
        return self._opened[-1]

    def close_all(self) -> None:
        for journal in self._opened:
            journal.close()
        self._opened.clear()

    def close(self) -> None:
        self.close_all()
        self._outside.dispose()

    def run(self, statement: str, **values: object) -> None:
        with self._outside.begin() as connection:
            connection.execute(text(statement), values)

    def usurp(self) -> None:
        self.run("UPDATE leadership SET epoch = epoch + 1, leader = 'pid 1 on elsewhere'")

    def damage(self, seq: int, column: str, value: object) -> None:
        self.run(f"UPDATE records SET {column} = :value WHERE seq = :seq", value=value, seq=seq)

    def delete(self, seq: int) -> None:
        self.run("DELETE FROM records WHERE seq = :seq", seq=seq)

    def damage_checkpoint(self, seq: int) -> None:
        self.run("UPDATE checkpoints SET image = :image WHERE seq = :seq", image=b"?", seq=seq)


@pytest.fixture(scope="session")
def postgres_port() -> Iterator[int]:
    try:
        with server() as port:
            yield port
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Place]]:
    """Makes empty places of one kind; what it opened is closed at the end."""
    made: list[SqlPlace] = []
    port = request.getfixturevalue("postgres_port") if request.param == "postgresql" else 0

    def make() -> Place:
        if request.param == "memory":
            return MemoryPlace()
        name = f"journal{next(_names)}"
        made.append(SqlPlace(fresh_schema(port, name) if port else tmp_path / f"{name}.db"))
        return made[-1]

    yield make
    for place in made:
        place.close()


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Place:
    return new_place()
