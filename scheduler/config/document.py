"""What all files share: `schema: dualtrack/v1` and the kind, and how a file becomes a cursor."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from scheduler.config.bounded_yaml import Node, parse, read
from scheduler.config.cursor import Cursor, nearest
from scheduler.config.limits import JOB_LIMITS, SMALL_LIMITS, WORKLOAD_LIMITS, Limits
from scheduler.config.plain import node_of
from scheduler.config.refusal import refusal

__all__ = ["KINDS", "SCHEMA", "from_values", "kind_of", "of_kind", "open_one", "opened", "parsed"]

SCHEMA: Final = "dualtrack/v1"
KINDS: Final[dict[str, Limits]] = {
    "job": JOB_LIMITS,
    "cluster": SMALL_LIMITS,
    "tenants": SMALL_LIMITS,
    "rules": SMALL_LIMITS,
    "policy": SMALL_LIMITS,
    "workload": WORKLOAD_LIMITS,
    "scenario": SMALL_LIMITS,
    "accelerators": SMALL_LIMITS,
    "models": SMALL_LIMITS,
    "profiles": SMALL_LIMITS,
}


def opened(path: str | Path, kind: str) -> list[Cursor]:
    """Every document of a file, each of the given kind."""
    return of_kind(read(path, KINDS[kind]), str(path), kind)


def open_one(path: str | Path, kind: str) -> Cursor:
    """The only document of a file."""
    return opened(path, kind)[0]


def parsed(text: str | bytes, source: str, kind: str) -> list[Cursor]:
    """Every document of a text, each of the given kind."""
    return of_kind(parse(text, source, KINDS[kind]), source, kind)


def from_values(values: object, source: str, kind: str) -> Cursor:
    """Plain Python values, whose `schema` and `kind` may be missing: whoever hands them over knows what they are."""
    cursor = Cursor(node_of(values, source, KINDS[kind]), source)
    _check_head(cursor, kind, required=False)
    return cursor


def kind_of(cursor: Cursor) -> str:
    """The kind that a document says it is."""
    head = _head(cursor, "kind", required=True)
    if head not in KINDS:
        raise _field(cursor, "kind").wrong(f"unknown kind `{head[:64]}`", nearest(head, KINDS))
    return head


def _field(cursor: Cursor, field: str) -> Cursor:
    """The cursor of a field that is known to be there."""
    return next(item for key, item in cursor.pairs(1_000_000) if key == field)


def of_kind(nodes: Iterable[Node], source: str, kind: str) -> list[Cursor]:
    """Documents as cursors. Raises ConfigError for one that is not of the given kind."""
    cursors = [Cursor(node, source) for node in nodes]
    for cursor in cursors:
        _check_head(cursor, kind, required=True)
    return cursors


def _check_head(cursor: Cursor, kind: str, *, required: bool) -> None:
    schema = _head(cursor, "schema", required=required)
    if schema and schema != SCHEMA:
        raise _field(cursor, "schema").wrong(f"`{schema[:64]}` is not understood", f"write `{SCHEMA}`")
    found = _head(cursor, "kind", required=required)
    if found and found not in KINDS:
        raise _field(cursor, "kind").wrong(f"unknown kind `{found[:64]}`", nearest(found, KINDS))
    if found and found != kind:
        raise _field(cursor, "kind").wrong(f"a file of kind `{kind}` is expected, not `{found}`")


def _head(cursor: Cursor, field: str, *, required: bool) -> str:
    value = cursor.node.value
    if not isinstance(value, dict):
        raise refusal(
            "a mapping is expected",
            f"start with `schema: {SCHEMA}` and `kind:`",
            file=cursor.source,
            line=cursor.node.line,
        )
    if field not in value:
        if not required:
            return ""
        wanted = f"`schema: {SCHEMA}`" if field == "schema" else f"`kind:`, one of {', '.join(KINDS)}"
        raise cursor.wrong(f"the field `{field}` is missing", f"write {wanted}")
    return _field(cursor, field).text(64, 1)
