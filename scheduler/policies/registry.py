"""Policies by the name that a user gives."""

from collections.abc import Mapping
from typing import Final

from scheduler.policies.order_based import fifo_best_type, priority
from scheduler.policies.problem import Policy

__all__ = ["POLICIES"]

POLICIES: Final[Mapping[str, Policy]] = {
    "fifo-best-type": fifo_best_type,
    "priority": priority,
}
