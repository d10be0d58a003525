"""The only place that names backends: from a cell's executor to the object that runs its attempts."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from scheduler.errors import ConfigError
from scheduler.model.cluster import Cell, Cluster
from scheduler.ports import Clock, Executor

__all__ = ["Backends", "EXECUTORS", "RayCluster", "reap"]


class RayCluster(Struct, frozen=True):
    """A Ray that others keep; without an address the service starts one of its own for each cell."""

    address: str = ""
    token_file: str = ""


class Backends:
    """The executors of one service. What they start outlives it, until `reap`."""

    def __init__(self, home: Path, cluster: Cluster, clock: Clock, ray: RayCluster) -> None:
        self._home = home
        self._cluster = cluster
        self._clock = clock
        self._ray_cluster = ray

    def executor(self, cell: Cell) -> Executor:
        """Raises ConfigError for a name that means nothing, UnavailableError where a program is missing."""
        build = EXECUTORS.get(cell.executor)
        if build is None:
            raise ConfigError(f"cell {cell.name} has the executor {cell.executor!r}", f"use {', '.join(EXECUTORS)}")
        return build(self, cell)

    def _root(self, cell: Cell) -> Path:
        return self._home / "attempts" / cell.name

    def _local(self, cell: Cell) -> Executor:
        from backends.executors.local import LocalExecutor

        return LocalExecutor(self._root(cell), memory_scale=self._cluster.emulation.memory_scale)

    def _fake(self, cell: Cell) -> Executor:
        from backends.executors.fake import FakeExecutor, FakeWorld

        return FakeExecutor(FakeWorld(self._clock), sleep=time.sleep)

    def _ray(self, cell: Cell) -> Executor:
        from backends.executors.ray import RayExecutor, attach, start_head

        theirs = self._ray_cluster
        if theirs.address:
            token = Path(theirs.token_file) if theirs.token_file else None
            handle = attach(theirs.address, home=self._home, cell=cell.name, token_file=token)
        else:
            handle = start_head(self._home, cell)
        return RayExecutor(handle, self._root(cell), memory_scale=self._cluster.emulation.memory_scale)


EXECUTORS: Final[Mapping[str, Callable[[Backends, Cell], Executor]]] = {
    "ray": Backends._ray,
    "local": Backends._local,
    "fake": Backends._fake,
}
"""By the name that a cell gives. Each loads its backend when it is used, and no sooner."""


def reap(home: Path) -> int:
    """End every Ray that a service of this home started, with what runs on it; returns how many processes it had."""
    heads = sorted(path.name for path in (home / "ray").glob("*") if (path / "head.json").exists())
    if not heads:
        return 0
    from backends.executors.ray.cluster import find_head, stop_head

    found = (find_head(home, cell) for cell in heads)
    return sum(stop_head(head) for head in found if head is not None)
