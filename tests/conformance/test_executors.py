"""The executors of dualtrack against the suite that every executor passes."""

from pathlib import Path

import pytest

from backends.conformance.executors import ExecutorContract, ProcessContract
from backends.executors.fake import Behaviour, FakeExecutor, FakeWorld
from backends.executors.local import LocalExecutor
from scheduler.ports import Executor


class ManualClock:
    def __init__(self) -> None:
        self.time_us = 1_000_000

    def now_us(self) -> int:
        return self.time_us


class TestFakeExecutor(ExecutorContract):
    @pytest.fixture(autouse=True)
    def _world(self) -> None:
        self.clock = ManualClock()
        behaviours = {
            "deaf": Behaviour(leaves_after_us=None),
            "fails": Behaviour(ends_at=1, exit_code=7),
            "succeeds": Behaviour(work=2),
            "reports": Behaviour(work=3),
        }
        self.world = FakeWorld(self.clock, behaviours)

    def open(self, place: Path) -> Executor:
        return FakeExecutor(self.world)

    def pass_time(self) -> None:
        self.clock.time_us += 100_000


class TestLocalExecutor(ProcessContract):
    def open(self, place: Path) -> Executor:
        return LocalExecutor(place / "attempts")
