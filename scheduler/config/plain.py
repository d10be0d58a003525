"""Plain Python values, such as a decoded JSON body, as nodes without lines, within the same bounds as a file."""

import math
from collections.abc import Mapping, Sequence

from scheduler.config.bounded_yaml import Node
from scheduler.config.limits import JOB_LIMITS, MAX_INT, MAX_SCALAR, Limits
from scheduler.config.refusal import refusal
from scheduler.config.scalars import forbidden_character

__all__ = ["node_of"]


def node_of(value: object, source: str, limits: Limits = JOB_LIMITS) -> Node:
    """Raises ConfigError for what no file could hold either: other types, NaN, depth, size, control characters."""
    try:
        return _Reader(limits).node(value, 0)
    except _WrongError as wrong:
        raise refusal(wrong.problem, file=source, path="".join(reversed(wrong.path))) from None


class _WrongError(Exception):
    """What is wrong with a value. Its path is put together on the way out: nearly all values are right."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[str] = []

    def within(self, part: str) -> "_WrongError":
        self.path.append(part)
        return self


class _Reader:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seen = 0

    def node(self, value: object, depth: int) -> Node:
        self._seen += 1
        if self._seen > self._limits.events:
            raise _WrongError(f"holds more than {self._limits.events:,} values")
        if depth > self._limits.depth:
            raise _WrongError(f"is nested deeper than {self._limits.depth} levels")
        if type(value) is str:
            return Node(value, _text(value), 0)
        if isinstance(value, (dict, Mapping)):
            return Node(self._mapping(value, depth + 1), "", 0)
        if isinstance(value, (list, tuple)):
            return Node(self._list(value, depth + 1), "", 0)
        return _scalar(value)

    def _list(self, values: Sequence[object], depth: int) -> list[Node]:
        made: list[Node] = []
        for entry in values:
            try:
                made.append(self.node(entry, depth))
            except _WrongError as wrong:
                raise wrong.within(f"[{len(made)}]") from None
        return made

    def _mapping(self, values: Mapping[object, object], depth: int) -> dict[str, Node]:
        made: dict[str, Node] = {}
        for key, entry in values.items():
            if not isinstance(key, str):
                raise _WrongError("a key must be a text")
            _text(key)
            try:
                made[key] = self.node(entry, depth)
            except _WrongError as wrong:
                raise wrong.within(f".{key[:64]}") from None
        return made


def _scalar(value: object) -> Node:
    if value is None:
        return Node(None, "", 0)
    if isinstance(value, bool):
        return Node(value, "true" if value else "false", 0)
    if isinstance(value, int):
        if abs(value) > MAX_INT:
            raise _WrongError("is an integer beyond 64 bits")
        return Node(int(value), str(int(value)), 0)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _WrongError("is not a number that can be reckoned with")
        return Node(value, repr(value), 0)
    if isinstance(value, str):
        return Node(str(value), _text(str(value)), 0)
    raise _WrongError(f"a {type(value).__name__} cannot be read")


def _text(text: str) -> str:
    if len(text) > MAX_SCALAR:
        raise _WrongError(f"is longer than {MAX_SCALAR:,} characters")
    if text.isascii() and text.isprintable():
        return text  # nearly always, and much faster to see than that no forbidden character is there
    position = forbidden_character(text)
    if position is not None:
        raise _WrongError(f"holds the character U+{ord(text[position]):04X}")
    return text
