"""Scenario files: which other files a question is about, and its settings, kept as they are written."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field

from scheduler.config.bounded_yaml import Node
from scheduler.config.cursor import Cursor
from scheduler.config.document import from_values, open_one
from scheduler.config.values import name

__all__ = ["Scenario", "decode_scenario", "load_scenario", "scenario_of"]

FILES = ("cluster", "workload", "tenants", "rules", "policy")


class Scenario(Struct, frozen=True, kw_only=True):
    """References are paths or short names of shipped files; `settings` is bounded and otherwise free."""

    name: str
    cluster: str
    workload: str = ""
    tenants: str = ""
    rules: str = ""
    policy: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)


def load_scenario(path: str | Path) -> Scenario:
    return scenario_of(open_one(path, "scenario"))


def decode_scenario(values: object, source: str) -> Scenario:
    return scenario_of(from_values(values, source, "scenario"))


def scenario_of(cursor: Cursor) -> Scenario:
    fields = cursor.fields("schema", "kind", "name", *FILES, "settings")
    settings = fields.get("settings")
    files = {key: item.line_of_text(4096) for key in FILES if (item := fields.get(key))}
    return Scenario(
        name=name(fields["name"]),
        cluster=files.pop("cluster", "") or fields["cluster"].line_of_text(4096),
        settings={key: _plain(item.node) for key, item in settings.pairs()} if settings else {},
        **files,
    )


def _plain(node: Node) -> object:
    """The value without its places; the reader bounded its depth."""
    if isinstance(node.value, list):
        return [_plain(item) for item in node.value]
    if isinstance(node.value, dict):
        return {key: _plain(item) for key, item in node.value.items()}
    return node.value
