"""Between two rounds: everybody keeps what it has, and only those start whose devices the last round gave them."""

import numpy as np

from scheduler.policies.problem import NONE, Choice, Problem

__all__ = ["SEAT", "keep"]

SEAT = "seat:"
"""Begins the names under which `carried` holds the option of a job that could not start yet, counted within its own."""


def keep(problem: Problem) -> Choice:
    option = problem.current.copy()
    for index in np.flatnonzero(problem.current == NONE).tolist() if problem.carried else ():
        place = problem.carried.get(f"{SEAT}{problem.number[index]}")
        if place is not None and problem.ptr[index] + int(place) < problem.ptr[index + 1]:
            mine = int(problem.ptr[index]) + int(place)
            option[index] = mine if problem.open[mine] else NONE
    order = np.argsort(problem.number, kind="stable")
    return Choice(option, order, np.full(len(option), NONE, dtype=np.int64), problem.prices, problem.carried)
