"""The only module that prints: tables, documents and lines, in the format that was asked for."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from scheduler.cli.humanise import safe

__all__ = ["Column", "Format", "complain", "document", "fields", "heading", "home_cursor", "raw", "say", "table"]

STYLES = {
    "running": "green",
    "succeeded": "green",
    "starting": "cyan",
    "stopping": "yellow",
    "failed": "red",
    "down": "red",
    "suspect": "yellow",
    "draining": "yellow",
    "cordoned": "yellow",
    "cancelled": "dim",
}


class Format(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


class Column(Struct, frozen=True):
    """One column: its title, the text of a row's cell, and whether only `wide` shows it."""

    title: str
    cell: Callable[[Mapping[str, Any]], str]
    wide: bool = False
    right: bool = False


def say(text: str = "") -> None:
    """One line on standard output."""
    print(safe(text), flush=True)


def complain(text: str) -> None:
    """One line on standard error."""
    print(safe(text).replace("\n", " "), file=sys.stderr, flush=True)


def raw(data: bytes) -> None:
    """A job's own output, as it is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def heading(text: str) -> None:
    say()
    say(text)


def home_cursor() -> None:
    """Clear the screen between two rounds of a watch; nothing where nobody looks."""
    if sys.stdout.isatty():
        print("\x1b[H\x1b[2J", end="", flush=True)


def document(value: object, format_: Format) -> bool:
    """Print `value` where the format is JSON or YAML; False where a table is wanted."""
    if format_ is Format.JSON:
        print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False), flush=True)
        return True
    if format_ is Format.YAML:
        from scheduler.config import dump_yaml

        print(dump_yaml(value), end="", flush=True)
        return True
    return False


def table(rows: Sequence[Mapping[str, Any]], columns: Iterable[Column], format_: Format, name: str = "name") -> None:
    """`rows` as a table, a document, or the value of `name` on a line each."""
    if document(list(rows), format_):
        return
    if format_ is Format.NAME:
        for row in rows:
            say(str(row[name]))
        return
    shown = [column for column in columns if format_ is Format.WIDE or not column.wide]
    cells = [[safe(column.cell(row)).replace("\n", " ") for column in shown] for row in rows]
    if sys.stdout.isatty():
        _rich(shown, cells)
    else:
        _plain(shown, cells)


def fields(pairs: Iterable[tuple[str, str]]) -> None:
    """`Name:  value` lines, with the values in one column."""
    kept = [(title, value) for title, value in pairs if value]
    width = max((len(title) for title, _ in kept), default=0) + 3
    for title, value in kept:
        say(f"{title + ':':<{width}}{value}")


def _plain(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    widths = [max(len(c.title), *(len(row[i]) for row in cells), 0) for i, c in enumerate(columns)]
    for row in [[column.title for column in columns], *cells]:
        parts = [f"{text:>{w}}" if c.right else f"{text:<{w}}" for text, w, c in zip(row, widths, columns, strict=True)]
        print("   ".join(parts).rstrip(), flush=True)


def _rich(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in columns:
        drawn.add_column(column.title, justify="right" if column.right else "left", overflow="ellipsis", no_wrap=True)
    for row in cells:
        drawn.add_row(*(Text(text, style=STYLES.get(text, "")) for text in row))
    Console().print(drawn)
