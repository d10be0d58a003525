"""The least time until all jobs that are here have ended.

A linear program tells how soon that can be, and for each job which part of the time until then it has to run, and
where. As long as jobs without slack run, devices that bind are busy and all run where the program puts them, the end
comes no later; so which of the others run is free, and large gangs go first, then long jobs: what is left in the end
fills any gap. Nobody is displaced for its length alone.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from msgspec import structs

from scheduler.policies.dealing import devices_of, shares_of, sizes_s, unshared
from scheduler.policies.keeping import held_or_promised
from scheduler.policies.priced import priced
from scheduler.policies.problem import NONE, Choice, Problem
from scheduler.policies.shares import makespan as solve_makespan
from scheduler.policies.worth import best_of, job_of, speeds, staying

__all__ = ["makespan"]

GAP: Final = 1e-4
"""Of the program: the end is to be known better than by the length of a small job."""

CHOICE_GAP: Final = 1e-2
"""Of the choice at these weights: they are a rule of thumb, and what is nearer to their best ends no sooner."""

SLACK: Final = 0.02
"""Without slack is who has to run all but this part of the time."""

URGENT: Final = 50.0
GANG: Final = 1.5
LONG: Final = 0.4
"""What a device is worth to a job that must not wait at all, to a gang twice as large, and to one that runs all the
time, where it is worth 1 to a short job of one device."""

ASIDE: Final = 1e-3
"""What options are worth that the program leaves out: better than to idle."""


def makespan(problem: Problem) -> Choice:
    """Those without slack first, then the largest gangs, then the longest; each where the program puts it."""
    problem = unshared(problem)
    found = solve_makespan(shares_of(problem), sizes_s(problem), gap=GAP)
    owner, devices = job_of(problem), devices_of(problem)
    busy = np.bincount(owner, weights=found.share, minlength=len(problem.number))
    size = np.log2(np.maximum(best_of(problem, devices), 1.0))
    weight = 1.0 + GANG * size + LONG * busy + URGENT * np.maximum(0.0, 1.0 + (busy - 1.0) / SLACK)
    weight[held_or_promised(problem) != NONE] += LONG
    placed = found.share > ASIDE * busy[owner]
    each = np.where(placed, 1.0, ASIDE * np.maximum(speeds(problem), 0.0))
    settings = structs.replace(problem.settings, gap=max(problem.settings.gap, CHOICE_GAP))
    return priced(replace(problem, settings=settings), staying(problem, devices * weight[owner] * each))
