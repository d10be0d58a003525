"""Policies by the name that a user gives."""

from collections.abc import Mapping
from typing import Final

from scheduler.policies.balanced import balanced
from scheduler.policies.cost import cost
from scheduler.policies.deadline import deadline
from scheduler.policies.fifo import fifo
from scheduler.policies.finish_time_fairness import finish_time_fairness
from scheduler.policies.las import las
from scheduler.policies.makespan import makespan
from scheduler.policies.max_min import hierarchical, max_min, water_filling
from scheduler.policies.order_based import fifo_best_type, priority
from scheduler.policies.problem import Policy
from scheduler.policies.srpt import srpt
from scheduler.policies.throughput import throughput

__all__ = ["ALWAYS", "DEALS", "POLICIES", "WALKS"]

POLICIES: Final[Mapping[str, Policy]] = {
    "balanced": balanced,
    "fifo-best-type": fifo_best_type,
    "priority": priority,
    "fifo": fifo,
    "srpt": srpt,
    "las": las,
    "throughput": throughput,
    "cost": cost,
    "deadline": deadline,
    "max-min": max_min,
    "water-filling": water_filling,
    "max-min-hierarchical": hierarchical,
    "finish-time-fairness": finish_time_fairness,
    "makespan": makespan,
}

WALKS: Final = frozenset({"fifo", "fifo-best-type", "priority"})
"""Policies that walk the jobs in an order: they need no weights, and get none."""

DEALS: Final = frozenset({"max-min", "water-filling", "max-min-hierarchical", "finish-time-fairness", "makespan"})
"""Policies that deal out shares of time: they run in rounds, whatever the settings say."""

ALWAYS: Final = frozenset({"makespan"})
"""Of these, who is asked after every event too where no round is set: it keeps no account of what each has had."""
