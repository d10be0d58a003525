"""An executor that only pretends: scripted, in memory, deterministic. For tests, demos and trying things out."""

from backends.executors.fake.behaviour import Behaviour, Faults, Unknown
from backends.executors.fake.executor import FakeExecutor
from backends.executors.fake.world import FakeWorld

__all__ = ["Behaviour", "FakeExecutor", "FakeWorld", "Faults", "Unknown"]
