"""What is held and what is promised: between two rounds nothing else is given, and a choice starts from it."""

import numpy as np

from scheduler.policies.problem import NONE, Choice, Int, Problem

__all__ = ["SEAT", "held_or_promised", "keep"]

SEAT = "seat:"
"""Begins the names under which `carried` holds the option of a job that could not start yet, counted within its own."""


def held_or_promised(problem: Problem) -> Int:
    """int64[n]: the option that a job holds, else the one that others leave for it, else NONE."""
    option = problem.current.copy()
    seats = {name: place for name, place in problem.carried.items() if name.startswith(SEAT)}
    numbers = np.array([int(name.removeprefix(SEAT)) for name in seats], dtype=np.int64)
    for index in np.flatnonzero((problem.current == NONE) & np.isin(problem.number, numbers)).tolist():
        mine = int(problem.ptr[index]) + int(seats[f"{SEAT}{problem.number[index]}"])
        if mine < problem.ptr[index + 1]:
            option[index] = mine if problem.open[mine] else NONE
    return option


def keep(problem: Problem) -> Choice:
    """Everybody keeps what it has, and only those start whose devices the last round gave them."""
    option = held_or_promised(problem)
    order = np.argsort(problem.number, kind="stable")
    return Choice(option, order, np.full(len(option), NONE, dtype=np.int64), problem.prices, problem.carried)
