"""The only place that names backends: from a cell's executor to the object that runs its attempts."""

import time
from pathlib import Path

from scheduler.errors import ConfigError
from scheduler.model.cluster import Cell, Cluster
from scheduler.ports import Clock, Executor

__all__ = ["Backends", "EXECUTORS"]

EXECUTORS = ("ray", "local", "fake")


class Backends:
    """The executors of one service. Ray's head is started once, for all cells that run on it."""

    def __init__(self, home: Path, cluster: Cluster, clock: Clock) -> None:
        self._home = home
        self._cluster = cluster
        self._clock = clock

    def executor(self, cell: Cell) -> Executor:
        """Raises ConfigError for a name that means nothing, UnavailableError where a program is missing."""
        builders = {"ray": self._ray, "local": self._local, "fake": self._fake}
        build = builders.get(cell.executor)
        if build is None:
            raise ConfigError(f"cell {cell.name} has the executor {cell.executor!r}", f"use {', '.join(EXECUTORS)}")
        return build(cell)

    def _root(self, cell: Cell) -> Path:
        return self._home / "attempts" / cell.name

    def _local(self, cell: Cell) -> Executor:
        from backends.executors.local import LocalExecutor

        return LocalExecutor(self._root(cell), memory_scale=self._cluster.emulation.memory_scale)

    def _fake(self, cell: Cell) -> Executor:
        from backends.executors.fake import FakeExecutor, FakeWorld

        return FakeExecutor(FakeWorld(self._clock), sleep=time.sleep)

    def _ray(self, cell: Cell) -> Executor:
        from backends.executors.ray import RayExecutor, start_head

        handle = start_head(self._home, cell)
        return RayExecutor(handle, self._root(cell), memory_scale=self._cluster.emulation.memory_scale)

    def close(self) -> None:
        """Reap the Ray heads of this home, whichever process started them."""
        for cell in self._cluster.cells:
            if cell.executor == "ray":
                from backends.executors.ray import find_head, stop_head

                handle = find_head(self._home, cell.name)
                if handle is not None:
                    stop_head(handle)
