"""How records of older versions become records of today: one function for each kind and version that was replaced.

A function takes the event's JSON as plain values (with its kind under `type`) in version v and returns it in version
v + 1. It is never changed after a release, and never asks about anything but its argument.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["UPGRADES", "Upgrade", "unchanged"]

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


def unchanged(value: dict[str, Any]) -> dict[str, Any]:
    """For a version that only added fields with defaults: the old value is a value of the new version."""
    return value


UPGRADES: Final[Mapping[tuple[str, int], Upgrade]] = {}
"""By (kind, the version that is left)."""
