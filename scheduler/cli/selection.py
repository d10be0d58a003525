"""Options that many verbs share, and how a verb reaches the service."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.output import Format

if TYPE_CHECKING:
    from scheduler.service.client import Client

__all__ = [
    "FormatOption", "HomeOption", "Jobs", "Labels", "ServerOption", "TenantOption", "connect", "sorted_by", "watched",
]  # fmt: skip

FormatOption = Annotated[Format, typer.Option("-o", "--output", help="table, wide, json, yaml or name")]
ServerOption = Annotated[
    str | None, typer.Option("--server", help="URL of the service, instead of the one of the home")
]
HomeOption = Annotated[str | None, typer.Option("--home", help="State directory, instead of $DUALTRACK_HOME")]
TenantOption = Annotated[str, typer.Option("--tenant", help="Only this tenant and those below it")]
Labels = Annotated[list[str], typer.Option("-l", "--label", help="key=value or key; several must all hold")]
Jobs = Annotated[list[str], typer.Argument(help="Ids, unambiguous prefixes of ids, or unambiguous names")]


@contextmanager
def connect(server: str | None = None, home: str | None = None) -> "Iterator[Client]":
    """The client of the service that the arguments, the environment or the home names."""
    from scheduler.service.client import Client
    from scheduler.service.settings import find_endpoint

    with Client(find_endpoint(server, home)) as client:
        yield client


def sorted_by(rows: list[dict[str, Any]], field: str) -> list[dict[str, Any]]:
    """Rows by a field of theirs (`progress.ratio` reaches inside); a leading `-` turns the order round."""
    from scheduler.errors import UsageError

    if not field:
        return rows
    name, backwards = field.lstrip("-"), field.startswith("-")

    def value(row: dict[str, Any]) -> tuple[int, Any]:
        found: Any = row
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if isinstance(found, bool | int | float):
            return (0, float(found))
        return (2, "") if found is None else (1, str(found))

    if rows and name.split(".")[0] not in rows[0]:
        raise UsageError(f"no field {name!r} to sort by", f"use one of {', '.join(sorted(rows[0]))}")
    return sorted(rows, key=value, reverse=backwards)


def watched(show: Callable[[], object], watch: bool, every_s: float = 2.0) -> None:
    """Show once, or again and again until interrupted."""
    import time

    from scheduler.cli.output import home_cursor

    while True:
        if watch:
            home_cursor()
        show()
        if not watch:
            return
        time.sleep(every_s)
