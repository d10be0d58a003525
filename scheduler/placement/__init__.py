"""Where: the room there is, the one feasibility function, and gangs on nodes within a cell."""

from scheduler.placement.feasibility import Demand, admits
from scheduler.placement.gang import STRATEGIES, place
from scheduler.placement.room import Fleet, Room

__all__ = ["admits", "Demand", "Fleet", "place", "Room", "STRATEGIES"]
