"""Profile files: rates of cells with their bands, and the coefficients of fitted models, as YAML; rates as CSV too."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from msgspec import Struct, field

from scheduler.config.bounded_yaml import Node
from scheduler.config.cursor import Cursor, Fields, nearest
from scheduler.config.document import SCHEMA, open_one
from scheduler.config.readers.readings import LIMITS
from scheduler.config.readers.table import read_table
from scheduler.config.scalars import ScalarError, resolve
from scheduler.errors import ConfigError
from scheduler.model.accelerators import Catalog, Provenance
from scheduler.model.precisions import PRECISIONS
from scheduler.model.rates import Cell, CellRate, Metric, Stack, layout_parts, layout_text

__all__ = [
    "CSV_COLUMNS", "Profiles", "encode_profiles", "load_fit", "load_profiles", "plain_fit", "profiles_of",
    "rates_as_csv",
]  # fmt: skip

MAX_RATES: Final = 100_000
SECTIONS: Final = ("training", "serving")
"""Fitted coefficients; what they hold is checked by whoever asks for them with `load_fit`."""

FIELDS: Final = (
    "family", "accelerator", "precision", "layout", "metric", "value", "low", "high", "runs", "noise", "relative",
    "from", "source", "version",
)  # fmt: skip
STACK: Final = ("driver", "runtime", "framework", "image")
CSV_COLUMNS: Final = (*FIELDS[:5], *STACK, *FIELDS[5:])
PLACED: Final = re.compile(r"`\$((?:\.[^`.\[]+|\[[^`\]]*\])*)`")
SPREAD: Final = re.compile(r"spread(:\d{1,32})?")

T = TypeVar("T")


class Profiles(Struct, frozen=True):
    """What a file holds: rates, and the sections of fits as plain values."""

    rates: tuple[CellRate, ...] = ()
    fits: Mapping[str, object] = field(default_factory=dict)


def load_profiles(path: str | Path, catalog: Catalog | None = None) -> Profiles:
    """A file of kind `profiles`, or a table of rates in CSV. With a catalog, accelerators that it lacks are refused."""
    if Path(path).suffix in (".csv", ".gz"):
        return Profiles(_checked(_of_table(path), catalog))
    return profiles_of(open_one(path, "profiles"), catalog)


def profiles_of(cursor: Cursor, catalog: Catalog | None = None) -> Profiles:
    fields = cursor.fields("schema", "kind", "rates", *SECTIONS)
    rates = fields.get("rates")
    fits = {name: _plain(item.node) for name in SECTIONS if (item := fields.get(name)) and item.fields_named()}
    if not rates and not fits:
        raise cursor.wrong("holds neither rates nor coefficients", f"write `rates:` or one of {', '.join(SECTIONS)}")
    return Profiles(_checked(rates.items(MAX_RATES), catalog) if rates else (), fits)


def load_fit(path: str | Path, section: str, kind: type[T]) -> T:
    """The coefficients of a section as `kind`. Raises ConfigError with the place of what does not fit."""
    cursor = open_one(path, "profiles").fields("schema", "kind", "rates", *SECTIONS)[section]
    try:
        return msgspec.convert(_plain(cursor.node), kind, dec_hook=_array)
    except msgspec.ValidationError as error:
        place = _deepest(cursor, str(error))
        problem = PLACED.sub("", str(error)).removesuffix(" - at ").strip()
        raise place.wrong(problem[:1].lower() + problem[1:], "fit the coefficients again, or correct it") from None


def plain_fit(fit: object) -> dict[str, Any]:
    """A fit as plain values for `encode_profiles`."""
    found = msgspec.to_builtins(fit, enc_hook=lambda value: value.tolist())
    if not isinstance(found, dict):
        raise TypeError(f"{type(fit).__name__} is no structure")
    return found


def encode_profiles(rates: Iterable[CellRate] = (), fits: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Plain values that read back as the same."""
    listed = [_encoded(rate) for rate in rates]
    return {"schema": SCHEMA, "kind": "profiles", **({"rates": listed} if listed else {}), **(fits or {})}


def rates_as_csv(rates: Iterable[CellRate]) -> str:
    """A table that `load_profiles` reads back as the same rates."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for rate in rates:
        row = _encoded(rate)
        row |= row.pop("stack", {})
        writer.writerow({key: str(value).lower() if isinstance(value, bool) else value for key, value in row.items()})
    return text.getvalue()


def _encoded(rate: CellRate) -> dict[str, Any]:
    cell = rate.cell
    stack = {part: getattr(cell.stack, part) for part in STACK if getattr(cell.stack, part)}
    row: dict[str, Any] = {"family": cell.family, "accelerator": cell.accelerator}
    row |= {key: getattr(cell, key) for key in ("precision", "layout") if getattr(cell, key)}
    row |= {"metric": cell.metric.value, **({"stack": stack} if stack else {})}
    row |= {"value": rate.value, "low": rate.low, "high": rate.high, "runs": rate.runs, "noise": rate.noise}
    row |= {"relative": True} if rate.relative else {}
    row |= {"from": rate.provenance.value, **({"source": rate.source} if rate.source else {})}
    return {**row, **({"version": rate.version} if rate.version > 1 else {})}


def _of_table(path: str | Path) -> list[Cursor]:
    """The rows as entries of a file would be, each at its line."""
    needed = ("family", "accelerator", "metric", "value", "low", "high", "from")
    found: list[Cursor] = []
    for line in read_table(path, needed):
        values: dict[str, Node] = {}
        stack: dict[str, Node] = {}
        for column, text in line.values.items():
            if column not in CSV_COLUMNS:
                raise ConfigError(
                    f"unknown column {column[:40]!r}", nearest(column, CSV_COLUMNS), file=line.file, line=1
                )
            if text.strip():
                into = stack if column in STACK else values
                into[column] = Node(_scalar(text.strip()), text.strip(), line.number)
        if stack:
            values["stack"] = Node(stack, "", line.number)
        found.append(Cursor(Node(values, "", line.number), line.file))
        if len(found) > MAX_RATES:
            raise ConfigError(f"holds more than {MAX_RATES:,} rates", "cut it into parts", file=line.file)
    return found


def _scalar(text: str) -> Any:
    try:
        return resolve(text)
    except ScalarError:
        return text


def _checked(items: Iterable[Cursor], catalog: Catalog | None) -> tuple[CellRate, ...]:
    made: dict[Cell, CellRate] = {}
    for item in items:
        rate = _rate(item, catalog)
        if rate.cell in made:
            raise item.wrong("the cell is given twice", "keep one of the two")
        made[rate.cell] = rate
    return tuple(made.values())


def _rate(cursor: Cursor, catalog: Catalog | None) -> CellRate:
    fields = cursor.fields(*FIELDS, "stack")
    metric, relative = fields["metric"].enum(Metric), fields.get("relative")
    is_relative = relative.boolean() if relative else False
    least, most = (0.001, 1000.0) if is_relative else LIMITS[metric]
    value = fields["value"].number(least, most)
    low, high = (fields[key].number(0.0, above=True) for key in ("low", "high"))
    if not low <= value <= high:
        raise fields["value"].wrong(f"{value:g} lies outside its band [{low:g}, {high:g}]")
    runs, noise, version, source = (fields.get(key) for key in ("runs", "noise", "version", "source"))
    return CellRate(
        cell=_cell(fields, metric, catalog),
        value=value,
        low=low,
        high=high,
        runs=runs.integer(0, 10**9) if runs else 0,
        noise=noise.number(0.0, 2.0, above=True) if noise else 0.05,
        relative=is_relative,
        provenance=fields["from"].enum(Provenance),
        source=source.text(1024) if source else "",
        version=version.integer(1, 10**6) if version else 1,
    )


def _cell(fields: Fields, metric: Metric, catalog: Catalog | None) -> Cell:
    precision, layout, stack = (fields.get(key) for key in ("precision", "layout", "stack"))
    name = fields["accelerator"].line_of_text(64)
    if catalog is not None and catalog.get(name) is None:
        raise fields["accelerator"].wrong(f"unknown accelerator `{name}`", nearest(name, catalog.names))
    return Cell(
        family=fields["family"].line_of_text(64),
        accelerator=name,
        precision=precision.choice(*PRECISIONS) if precision else "",
        layout=_layout(layout) if layout else "",
        metric=metric,
        stack=_stack(stack) if stack else Stack(),
    )


def _layout(cursor: Cursor) -> str:
    text = cursor.line_of_text(64)
    try:
        return text if SPREAD.fullmatch(text) else layout_text(layout_parts(text))
    except ValueError as error:
        raise cursor.wrong(str(error)) from None


def _stack(cursor: Cursor) -> Stack:
    fields = cursor.fields(*STACK)
    return Stack(**{part: item.line_of_text(256) for part in STACK if (item := fields.get(part))})


def _plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(item) for key, item in node.value.items()}
    return [_plain(item) for item in node.value] if isinstance(node.value, list) else node.value


def _array(kind: type, value: Any) -> Any:
    """Lists of numbers where a structure has an array."""
    if getattr(kind, "__origin__", kind) is not np.ndarray or not isinstance(value, list):
        raise ValueError(f"a list of numbers is expected, not {type(value).__name__}")
    whole = all(isinstance(item, int) for item in value)
    found = np.array(value, dtype=np.int64 if whole and "int" in str(kind) else np.float64)
    if not np.isfinite(found).all():
        raise ValueError("a number is not finite")
    return found


def _deepest(cursor: Cursor, problem: str) -> Cursor:
    """The place that an error of msgspec names, such as `$.devices[...].n`, as far as it can be followed."""
    found = PLACED.search(problem)
    for key, place in re.findall(r"\.([^.\[`]+)|\[([^\]]*)\]", found[1]) if found else ():
        try:
            if key:
                cursor = next(item for name, item in cursor.pairs(10**6) if name == key)
            elif place.isdecimal():
                cursor = cursor.items(10**6)[int(place)]
            else:
                break  # `[...]`: some entry of a mapping
        except (StopIteration, IndexError, ConfigError):
            break
    return cursor
