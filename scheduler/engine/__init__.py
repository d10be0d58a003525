"""The rules that join rates, quotas, policies and placement: events in, commands out, one pure cycle."""

from scheduler.engine.cycle import cycle
from scheduler.engine.engine import Decision, Engine
from scheduler.engine.records import Attempt, JobRecord
from scheduler.engine.state import State

__all__ = ["Attempt", "Decision", "Engine", "JobRecord", "State", "cycle"]
