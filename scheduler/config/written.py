"""A job file as plain values that can travel as JSON and decode to the same jobs on the other side."""

from pathlib import Path
from typing import Any, Final

from scheduler.config.bounded_yaml import Node, read
from scheduler.config.limits import JOB_LIMITS

__all__ = ["job_values"]

AS_WRITTEN: Final = frozenset({"entrypoint", "env", "labels"})
"""Fields whose scalars count as they were written: `0.10` is not 0.1 there."""


def job_values(path: str | Path) -> list[dict[str, Any]]:
    """The values of each document of a file that `load_jobs` has accepted."""
    return [_plain(node, as_written=False) for node in read(path, JOB_LIMITS)]


def _plain(node: Node, as_written: bool) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(item, as_written or key in AS_WRITTEN) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(item, as_written) for item in node.value]
    return node.text if as_written else node.value
