"""What is held and what is promised: between two rounds nothing else is given, and at a choice it is what one stays at.
"""

import numpy as np

from scheduler.policies.problem import NONE, Choice, Int, Problem

__all__ = ["SEAT", "held_or_promised", "keep"]

SEAT = "seat:"
"""Begins the names under which `carried` holds the option of a job that could not start yet, counted within its own."""


def held_or_promised(problem: Problem) -> Int:
    """int64[n]: the option that a job holds, else the one that others leave for it, else NONE."""
    option = problem.current.copy()
    seats = {name: place for name, place in problem.carried.items() if name.startswith(SEAT)}
    for index in np.flatnonzero(problem.current == NONE).tolist() if seats else ():
        place = seats.get(f"{SEAT}{problem.number[index]}")
        if place is not None and problem.ptr[index] + int(place) < problem.ptr[index + 1]:
            mine = int(problem.ptr[index]) + int(place)
            option[index] = mine if problem.open[mine] else NONE
    return option


def keep(problem: Problem) -> Choice:
    """Everybody keeps what it has, and only those start whose devices the last round gave them."""
    option = held_or_promised(problem)
    order = np.argsort(problem.number, kind="stable")
    return Choice(option, order, np.full(len(option), NONE, dtype=np.int64), problem.prices, problem.carried)
