"""Plain Python values, such as a decoded JSON body, as nodes without lines, within the same bounds as a file."""

import math
from collections.abc import Mapping

from scheduler.config.bounded_yaml import Node, Value
from scheduler.config.limits import JOB_LIMITS, MAX_INT, MAX_SCALAR, Limits
from scheduler.config.refusal import refusal
from scheduler.config.scalars import forbidden_character
from scheduler.errors import ConfigError

__all__ = ["node_of"]


def node_of(value: object, source: str, limits: Limits = JOB_LIMITS) -> Node:
    """Raises ConfigError for what no file could hold either: other types, NaN, depth, size, control characters."""
    return _Reader(source, limits).node(value, "", 0)


class _Reader:
    def __init__(self, source: str, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._seen = 0

    def wrong(self, problem: str, path: str) -> ConfigError:
        return refusal(problem, file=self._source, path=path)

    def node(self, value: object, path: str, depth: int) -> Node:
        self._seen += 1
        if self._seen > self._limits.events:
            raise self.wrong(f"holds more than {self._limits.events:,} values", path)
        if depth > self._limits.depth:
            raise self.wrong(f"is nested deeper than {self._limits.depth} levels", path)
        if isinstance(value, Mapping):
            return Node(self._mapping(value, path, depth), "", 0)
        if isinstance(value, (list, tuple)):
            entries = [self.node(entry, f"{path}[{i}]", depth + 1) for i, entry in enumerate(value)]
            return Node(entries, "", 0)
        return self._scalar(value, path)

    def _mapping(self, value: Mapping[object, object], path: str, depth: int) -> Value:
        made: dict[str, Node] = {}
        for key, entry in value.items():
            if not isinstance(key, str):
                raise self.wrong("a key must be a text", path)
            self._text(key, path)
            made[key] = self.node(entry, f"{path}.{key[:64]}", depth + 1)
        return made

    def _scalar(self, value: object, path: str) -> Node:
        if value is None:
            return Node(None, "", 0)
        if isinstance(value, bool):
            return Node(value, "true" if value else "false", 0)
        if isinstance(value, int):
            if abs(value) > MAX_INT:
                raise self.wrong("is an integer beyond 64 bits", path)
            return Node(int(value), str(int(value)), 0)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise self.wrong("is not a number that can be reckoned with", path)
            return Node(value, repr(value), 0)
        if isinstance(value, str):
            return Node(str(value), self._text(str(value), path), 0)
        raise self.wrong(f"a {type(value).__name__} cannot be read", path)

    def _text(self, text: str, path: str) -> str:
        if len(text) > MAX_SCALAR:
            raise self.wrong(f"is longer than {MAX_SCALAR:,} characters", path)
        position = forbidden_character(text)
        if position is not None:
            raise self.wrong(f"holds the character U+{ord(text[position]):04X}", path)
        return text
