"""Strictly in order of arrival: while a job waits for devices, nobody who came later starts."""

from dataclasses import replace

import numpy as np

from scheduler.policies.order_based import fifo_best_type
from scheduler.policies.problem import NONE, Choice, Problem

__all__ = ["fifo"]


def fifo(problem: Problem) -> Choice:
    """As `fifo-best-type`, but nothing overtakes. Whoever waits for a limit of its own tenant stops nobody."""
    choice = fifo_best_type(problem)
    waits = (problem.current == NONE) & (choice.option == NONE)
    stuck = waits & (choice.blocked_by != NONE) & (choice.blocked_by < problem.capacity_rows)
    if not stuck.any():
        return choice
    late = (problem.current == NONE) & (problem.number > problem.number[stuck].min())
    on_devices = late & ((choice.option != NONE) | (choice.blocked_by < problem.capacity_rows))
    return replace(
        choice,
        option=np.where(late, NONE, choice.option),
        blocked_by=np.where(on_devices, NONE, choice.blocked_by),
    )
