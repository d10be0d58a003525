"""The Ray executor against the suite that every executor passes."""

from pathlib import Path

import pytest

from backends.conformance.executors import ProcessContract
from scheduler.ports import Executor
from tests.support.ray_cluster import executor_in

pytestmark = pytest.mark.ray


class TestRayExecutor(ProcessContract):
    def open(self, place: Path) -> Executor:
        return executor_in(place)
