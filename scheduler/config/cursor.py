"""A value together with its place, so that whoever reads it can refuse it with file, line and path."""

import difflib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TypeVar

from scheduler.config.bounded_yaml import Node
from scheduler.config.limits import MAX_INT, MAX_LIST
from scheduler.config.refusal import quoted, refusal
from scheduler.errors import ConfigError

__all__ = ["Cursor", "Fields", "nearest"]

E = TypeVar("E", bound=StrEnum)


def nearest(word: str, known: Iterable[str]) -> str:
    """A remedy: the known word that is most like `word`, else the known words."""
    choices = list(known)
    close = difflib.get_close_matches(word[:64], choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    listed = ", ".join(choices[:24]) + (", ..." if len(choices) > 24 else "")
    return f"known: {listed}" if listed else ""


class Cursor:
    """Reads one value strictly. Every method raises ConfigError with the value's place."""

    __slots__ = ("_name", "_parent", "node", "source")

    def __init__(self, node: Node, source: str, parent: "Cursor | None" = None, name: str = "") -> None:
        self.node = node
        self.source = source
        self._parent = parent
        self._name = name

    @property
    def path(self) -> str:
        """Such as `resources.options[1].count`."""
        parts: list[str] = []
        here: Cursor | None = self
        while here is not None:
            parts.append(here._name)
            here = here._parent
        return "".join(reversed(parts)).lstrip(".")

    def wrong(self, problem: str, remedy: str = "") -> ConfigError:
        return refusal(problem, remedy, file=self.source, line=self.node.line, path=self.path)

    def expected(self, what: str, remedy: str = "") -> ConfigError:
        return self.wrong(f"{what} is expected, not {self.described()}", remedy)

    def described(self) -> str:
        value = self.node.value
        if isinstance(value, dict):
            return "a mapping"
        if isinstance(value, list):
            return "a list"
        return "nothing" if value is None else quoted(self.node.text)

    def key_as_value(self, key: str) -> "Cursor":
        """The key of this entry, at the same place, to be read by the rules for values."""
        return Cursor(Node(key, key, self.node.line), self.source, self._parent, self._name)

    @property
    def is_list(self) -> bool:
        return isinstance(self.node.value, list)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node.value, dict)

    def items(self, most: int = MAX_LIST, least: int = 0, what: str = "a list") -> list["Cursor"]:
        """The entries of a list of `least` to `most`."""
        value = self.node.value
        if not isinstance(value, list):
            raise self.expected(what)
        self._bounded(len(value), least, most)
        return [Cursor(node, self.source, self, f"[{i}]") for i, node in enumerate(value)]

    def pairs(self, most: int = MAX_LIST, least: int = 0) -> Iterator[tuple[str, "Cursor"]]:
        """The entries of a mapping whose keys are free."""
        value = self.node.value
        if not isinstance(value, dict):
            raise self.expected("a mapping")
        self._bounded(len(value), least, most)
        for key, node in value.items():
            yield key, Cursor(node, self.source, self, f".{key[:64]}")

    def _bounded(self, size: int, least: int, most: int) -> None:
        if size > most:
            raise self.wrong(f"holds {size:,} entries, more than {most:,}")
        if size < least:
            raise self.wrong(f"holds {size} {'entry' if size == 1 else 'entries'}, at least {least} needed")

    def fields_named(self) -> tuple[str, ...]:
        """The keys of a mapping as they are written; none for anything else."""
        return tuple(self.node.value) if isinstance(self.node.value, dict) else ()

    def fields(self, *known: str) -> "Fields":
        """A mapping with these fields and no others."""
        value = self.node.value
        if not isinstance(value, dict):
            raise self.expected("a mapping", f"with {', '.join(known[:6])}")
        for key, node in value.items():
            if key not in known:
                place = Cursor(node, self.source, self, f".{key[:64]}")
                raise place.wrong(f"unknown field {quoted(key)}", nearest(key, known))
        return Fields(self, value)

    def text(self, most: int = 512, least: int = 1, what: str = "text") -> str:
        """The text as written. Numbers and booleans are taken as text: an argument `0.10` stays `0.10`."""
        value = self.node.value
        if isinstance(value, (dict, list)) or value is None:
            raise self.expected(what)
        if not least <= len(self.node.text) <= most:
            size = len(self.node.text)
            raise self.wrong("is empty" if size < least else f"has {size:,} characters, more than {most:,}")
        return self.node.text

    def line_of_text(self, most: int = 512, least: int = 1) -> str:
        text = self.text(most, least)
        if "\n" in text or "\r" in text or "\t" in text:
            raise self.wrong("holds a line break or a tab", "write it on one line")
        return text

    def boolean(self) -> bool:
        value = self.node.value
        if not isinstance(value, bool):
            raise self.expected("true or false")
        return value

    def integer(self, low: int = 0, high: int = MAX_INT) -> int:
        """A whole number within [low, high]; `1e6` counts as one."""
        value = self.node.value
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.expected("a whole number")
        if not low <= value <= high:
            raise self.wrong(f"{quoted(self.node.text)} is out of range", _range(low, high))
        return value

    def number(self, low: float = 0.0, high: float = 1e30, *, above: bool = False) -> float:
        """A number within [low, high], or (low, high] if `above`."""
        value = self.node.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.expected("a number")
        if not low <= value <= high or (above and value == low):
            rule = f"more than {low:g}, at most {high:g}" if above else _range(low, high)
            raise self.wrong(f"{quoted(self.node.text)} is out of range", rule)
        return float(value)

    def enum(self, kind: type[E]) -> E:
        found: E | None = kind._value2member_map_.get(self.node.text)  # type: ignore[assignment]  # of this very kind
        if found is None or isinstance(self.node.value, (dict, list)):
            names = [member.value for member in kind]
            text = self.node.text[:64]
            begun = [name for name in names if len(text) > 2 and name.startswith(text)]
            close = begun or difflib.get_close_matches(text, names, n=1, cutoff=0.6)
            guess = f"did you mean `{close[0]}`? " if close else ""
            raise self.wrong(f"{self.described()} is not allowed", f"{guess}one of {', '.join(names)}")
        return found

    def choice(self, *allowed: str) -> str:
        if isinstance(self.node.value, (dict, list)) or self.node.text not in allowed:
            raise self.wrong(f"{self.described()} is not allowed", f"one of {', '.join(allowed)}")
        return self.node.text


class Fields:
    """The fields of a mapping: `fields["x"]` must be there, `fields.get("x")` may be."""

    __slots__ = ("_values", "place")

    def __init__(self, place: Cursor, values: dict[str, Node]) -> None:
        self.place = place
        self._values = values

    def __getitem__(self, name: str) -> Cursor:
        found = self.get(name)
        if found is None:
            raise self.place.wrong(f"the field `{name}` is missing")
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> Cursor | None:
        node = self._values.get(name)
        if node is None:
            return None
        found = Cursor(node, self.place.source, self.place, f".{name}")
        if node.value is None:
            raise found.wrong("has no value", "write one, or leave the field out")
        return found


def _range(low: float, high: float) -> str:
    plain = "{:,}" if isinstance(low, int) else "{:g}"
    return f"at least {plain.format(low)}" if high >= MAX_INT else f"{plain.format(low)} to {plain.format(high)}"
