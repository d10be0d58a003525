"""Comma-separated tables, plain or compressed with gzip, read within bounds: every complaint names file and line."""

import csv
import gzip
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from msgspec import Struct

from scheduler.errors import ConfigError

__all__ = ["Limits", "Line", "read_heading", "read_table"]

_SHOWN: Final = 40
"""Characters of a wrong value that a complaint repeats."""


class Limits(Struct, frozen=True, kw_only=True):
    """What a file may hold: lines, characters of a line, and bytes once it is unpacked."""

    lines: int = 1_000_000
    line_chars: int = 10_000
    unpacked_bytes: int = 1 << 30


class Line(Struct, frozen=True):
    """One line below the heading. Each reading method raises ConfigError for a value that is not as it should be."""

    file: str
    number: int  # of the line in the file, the heading is 1
    values: dict[str, str]

    def wrong(self, column: str, problem: str, remedy: str = "") -> ConfigError:
        return ConfigError(problem, remedy, file=self.file, line=self.number, path=column)

    def text(self, column: str, longest: int = 200) -> str:
        """The value, which may not be empty."""
        value = self.values[column].strip()
        if not value or len(value) > longest:
            raise self.wrong(column, f"a text of 1 to {longest} characters is expected, not {value[:_SHOWN]!r}")
        return value

    def real(self, column: str, low: float, high: float) -> float:
        """A finite number from `low` to `high`, both included."""
        value = self.values[column]
        try:
            found = float(value)
        except ValueError:
            raise self.wrong(column, f"a number is expected, not {value[:_SHOWN]!r}") from None
        if not (math.isfinite(found) and low <= found <= high):
            raise self.wrong(column, f"{value[:_SHOWN]} lies outside {low:g} to {high:g}")
        return found

    def whole(self, column: str, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        found = self.real(column, low, high)
        if found != int(found):
            raise self.wrong(column, f"a whole number is expected, not {self.values[column][:_SHOWN]!r}")
        return int(found)


def read_table(path: str | Path, columns: Sequence[str], limits: Limits | None = None) -> Iterator[Line]:
    """The lines of a file whose heading has at least `columns`. Raises ConfigError with the place of what is wrong."""
    limits = limits or Limits()
    name = str(path)
    try:
        with _opened(Path(path)) as stream:
            yield from _lines(name, stream, columns, limits)
    except UnicodeDecodeError:
        raise ConfigError("is not text in UTF-8", file=name) from None
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "is not a whole gzip file"
        raise ConfigError(f"cannot be read: {reason}", "check the name and the permissions", file=name) from None


def read_heading(path: str | Path) -> tuple[str, ...]:
    """The names of the columns. Raises ConfigError where the file cannot be read as a table."""
    name = str(path)
    try:
        with _opened(Path(path)) as stream:
            rows = csv.reader(_bounded(name, stream, Limits()), strict=True)
            return tuple(column.strip() for column in next(rows, []))
    except (UnicodeDecodeError, csv.Error):
        raise ConfigError("is not a table in UTF-8", file=name, line=1) from None
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "is not a whole gzip file"
        raise ConfigError(f"cannot be read: {reason}", "check the name and the permissions", file=name) from None


def _opened(path: Path) -> IO[str]:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _lines(name: str, stream: IO[str], columns: Sequence[str], limits: Limits) -> Iterator[Line]:
    rows = csv.reader(_bounded(name, stream, limits), strict=True)
    number = 1
    try:
        heading = [column.strip() for column in next(rows, [])]
        missing = [column for column in columns if column not in heading]
        if missing or len(heading) != len(set(heading)):
            problem = f"the heading lacks {missing[0]!r}" if missing else "the heading has a column twice"
            raise ConfigError(problem, f"the columns are {', '.join(columns)}", file=name, line=1)
        for row in rows:
            number = rows.line_num
            if not row:
                continue
            if len(row) != len(heading):
                problem = f"{len(row)} values stand under {len(heading)} columns"
                raise ConfigError(problem, file=name, line=number)
            yield Line(name, number, dict(zip(heading, row, strict=True)))
    except csv.Error as error:
        raise ConfigError(f"is not a table: {error}", file=name, line=max(number, rows.line_num)) from None


def _bounded(name: str, stream: IO[str], limits: Limits) -> Iterator[str]:
    """Lines of the stream; a file beyond the limits is refused before it fills the memory."""
    total = 0
    number = 0
    while line := stream.readline(limits.line_chars + 1):
        number += 1
        total += len(line)
        if len(line) > limits.line_chars:
            raise ConfigError(f"the line is longer than {limits.line_chars} characters", file=name, line=number)
        if number > limits.lines or total > limits.unpacked_bytes:
            problem = f"the file has more than {limits.lines} lines or {limits.unpacked_bytes} bytes"
            raise ConfigError(problem, "cut it into parts", file=name, line=number)
        yield line
