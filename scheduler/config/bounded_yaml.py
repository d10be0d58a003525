"""Text to plain values with the line of each, within bounds. Nothing but ConfigError ever leaves.

The values are built from the parser's stream of events, so PyYAML's composer and constructor never run: the C composer
crashes the process on deep nesting, and the constructors raise whatever they like.
"""

from pathlib import Path
from typing import Any, Final

import yaml

from scheduler.config.limits import JOB_LIMITS, MAX_ERROR_TEXT, MAX_SCALAR, Limits
from scheduler.config.refusal import quoted, refusal
from scheduler.config.scalars import Scalar, ScalarError, forbidden_character, resolve
from scheduler.errors import ConfigError

__all__ = ["Node", "Value", "parse", "read", "read_bytes"]

LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Only its parser is used. It keeps its states in a list, in C as in Python, and so has no depth to run out of."""

Value = Scalar | list["Node"] | dict[str, "Node"]


class Node:
    """A value, the text that it was written as (for scalars) and its line (from 1; 0: unknown)."""

    __slots__ = ("line", "text", "value")

    def __init__(self, value: Value, text: str, line: int) -> None:
        self.value = value
        self.text = text
        self.line = line


def read(path: str | Path, limits: Limits = JOB_LIMITS) -> list[Node]:
    """The documents of a file."""
    return parse(read_bytes(path, limits), str(path), limits)


def read_bytes(path: str | Path, limits: Limits) -> bytes:
    """A file's bytes, and never more than one past the limit, whatever the file is."""
    try:
        with Path(path).open("rb") as file:
            return file.read(limits.size + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or str(error)
        raise refusal(f"cannot be read: {why[:MAX_ERROR_TEXT]}", file=str(path)) from None


def parse(data: bytes | str, source: str, limits: Limits = JOB_LIMITS) -> list[Node]:
    """The documents of a text that are not empty, at least one. Raises ConfigError with file, line and path."""
    text = _decoded(data, source, limits)
    builder = _Builder(source, limits)
    try:
        loader = LOADER(text)
        try:
            while not isinstance(event := loader.get_event(), yaml.StreamEndEvent):
                builder.take(event)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        line = min(_line(error), text.rstrip().count("\n") + 1)  # what is missing at the end is not past the end
        raise builder.wrong(f"is not valid YAML: {_reason(error)}", line) from None
    except (RecursionError, MemoryError, ValueError, IndexError, AttributeError) as error:
        # What PyYAML has been seen to raise on bytes made to break it.
        raise builder.wrong(f"is not valid YAML: {type(error).__name__} while parsing", 0) from None
    if not builder.documents:
        raise refusal("holds nothing", file=source)
    return builder.documents


def _decoded(data: bytes | str, source: str, limits: Limits) -> str:
    if len(data) > limits.size:
        raise refusal(f"is larger than {limits.size:,} bytes", "split it", file=source)
    if isinstance(data, bytes):
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise refusal("is not UTF-8 text", "save it as UTF-8", file=source, line=line) from None
    else:
        text = data
    position = forbidden_character(text)
    if position is not None:
        line = text.count("\n", 0, position) + 1
        problem = f"holds the character U+{ord(text[position]):04X}, which no file may hold"
        raise refusal(problem, "remove it", file=source, line=line)
    return text


class _Frame:
    """A list or mapping that is not closed yet, its name in its parent, and the key whose value comes next."""

    __slots__ = ("key", "name", "node")

    def __init__(self, node: Node, name: str) -> None:
        self.node = node
        self.name = name
        self.key: str | None = None


class _Builder:
    """Takes parser events one by one and refuses the first that passes a bound."""

    def __init__(self, source: str, limits: Limits) -> None:
        self.documents: list[Node] = []
        self._source = source
        self._limits = limits
        self._events = 0
        self._open: list[_Frame] = []

    def wrong(self, problem: str, line: int, remedy: str = "") -> ConfigError:
        path = "".join(frame.name for frame in self._open) + self._next_name()
        return refusal(problem, remedy, file=self._source, line=line, path=path)

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        self._events += 1
        if self._events > self._limits.events:
            raise self.wrong(f"holds more than {self._limits.events:,} values", line, "split the file")
        if isinstance(event, yaml.ScalarEvent):
            self._check(event, line)
            self._scalar(event, line)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._check(event, line)
            self._collection(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
        elif isinstance(event, yaml.AliasEvent):
            self._check(event, line)
        elif isinstance(event, yaml.DocumentStartEvent) and (event.tags or event.version not in (None, (1, 2))):
            raise self.wrong("a directive other than `%YAML 1.2` is not understood", line, "remove the line")

    def _check(self, event: Any, line: int) -> None:
        if event.anchor is not None:
            raise self.wrong("anchors and aliases (`&name`, `*name`) are not allowed", line, "write the value out")
        if event.tag is not None:
            raise self.wrong(f"the tag {quoted(event.tag)} is not allowed", line, "quote the value if it is text")

    def _collection(self, event: Any, line: int) -> None:
        if len(self._open) >= self._limits.depth:
            raise self.wrong(f"is nested deeper than {self._limits.depth} levels", line)
        node = Node([] if isinstance(event, yaml.SequenceStartEvent) else {}, "", line)
        name = self._next_name()
        self._add(node)
        self._open.append(_Frame(node, name))

    def _scalar(self, event: Any, line: int) -> None:
        text: str = event.value
        if len(text) > MAX_SCALAR:
            raise self.wrong(f"is longer than {MAX_SCALAR:,} characters", line)
        # An escape such as "\x1b", in double quotes only, makes what the text itself may not hold.
        position = forbidden_character(text) if event.style == '"' else None
        if position is not None:
            raise self.wrong(f"holds the character U+{ord(text[position]):04X}", line, "remove it")
        frame = self._open[-1] if self._open else None
        if frame is not None and frame.key is None and isinstance(frame.node.value, dict):
            if text in frame.node.value:
                first = frame.node.value[text].line
                raise self.wrong(f"{quoted(text)} is given twice, first on line {first}", line, "keep one of them")
            frame.key = text
            return
        try:
            self._add(Node(resolve(text) if event.implicit[0] else text, text, line))
        except ScalarError as error:
            raise self.wrong(f"{quoted(text)} {error}", line, "quote it if it is text") from None

    def _add(self, node: Node) -> None:
        if not self._open:
            if len(self.documents) >= self._limits.documents:
                raise self.wrong(
                    f"a document more than the {self._limits.documents} allowed", node.line, "split the file"
                )
            if node.value is not None:  # nothing stands between two `---`
                self.documents.append(node)
            return
        frame = self._open[-1]
        if isinstance(frame.node.value, list):
            frame.node.value.append(node)
        elif isinstance(frame.node.value, dict):
            if frame.key is None:
                raise self.wrong("a key must be a plain text", node.line)
            frame.node.value[frame.key] = node
            frame.key = None

    def _next_name(self) -> str:
        """The name of the value that comes next, in what is open."""
        if not self._open:
            return ""
        frame = self._open[-1]
        if isinstance(frame.node.value, list):
            return f"[{len(frame.node.value)}]"
        return f".{frame.key[:MAX_ERROR_TEXT]}" if frame.key is not None else ""


def _reason(error: yaml.YAMLError) -> str:
    text = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed"
    return " ".join(str(text).split())[:200]


def _line(error: yaml.YAMLError) -> int:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return mark.line + 1 if mark is not None else 0
