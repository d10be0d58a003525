"""Where: the room there is, the one feasibility function, and gangs on nodes within a cell."""

from scheduler.placement.consolidation import Consolidation, Movable, Move, Wanting, consolidate
from scheduler.placement.feasibility import Demand, admits
from scheduler.placement.fleet import Fleet
from scheduler.placement.gang import place
from scheduler.placement.registry import STRATEGIES, strategy_named
from scheduler.placement.room import Room
from scheduler.placement.target import Target

__all__ = [
    "STRATEGIES", "Consolidation", "Demand", "Fleet", "Movable", "Move", "Room", "Target", "Wanting",
    "admits", "consolidate", "place", "strategy_named",
]  # fmt: skip
