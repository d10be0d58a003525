"""The least time until all jobs that are here have ended.

A linear program tells how soon that can be, and for each job which part of the time until then it has to run, and
where. As long as jobs without slack run, devices that bind are busy and all run where the program puts them, the end
comes no later; so which of the others run is free, and large gangs go first, then long jobs: what is left in the end
fills any gap. Nobody is displaced for its length alone.

Short jobs end last that way, and may wait longer than `starve_after` where the program says at their arrival that all
will take longer: who waits no longer than until then is not overdue, or short jobs would go first just when it is the
long ones that tell the end.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from msgspec import structs

from scheduler.model.units import US_PER_S
from scheduler.policies.dealing import devices_of, shares_of, sizes_s, unshared
from scheduler.policies.keeping import held_or_promised
from scheduler.policies.priced import priced
from scheduler.policies.problem import NONE, Choice, Problem, Real
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

DUE: Final = "due:"
SEEN: Final = "seen"
"""Names in `carried`: the end promised to jobs from a number on until the next, and the newest job that was told."""

STEP_S: Final = 3600.0
"""Promises that lie no further apart are one."""


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
    age_s, carry = _waited(problem, found.level)
    weighed = replace(problem, settings=settings, age_s=age_s)
    return replace(priced(weighed, staying(problem, devices * weight[owner] * each)), carry=carry)


def _waited(problem: Problem, until_end_s: float) -> tuple[Real, dict[str, float]]:
    """float64[n]: how long each job has waited, 0 before the end that it was promised; and what keeps the promises.

    A promise is what the program says when the job is first seen. One that lies within the bound on waiting changes
    nothing, and is none.
    """
    if not len(problem.number):
        return problem.age_s, dict(problem.carried)
    now_s = float(problem.submitted_us[0] / US_PER_S + problem.age_s[0])
    due_s = {int(name.removeprefix(DUE)): end_s for name, end_s in problem.carried.items() if name.startswith(DUE)}
    new = problem.number[problem.number > problem.carried.get(SEEN, NONE)]
    if len(new):
        long = problem.settings.starve_after_us / US_PER_S < until_end_s < np.inf
        end_s = now_s + (1.0 + SLACK) * until_end_s if long else 0.0
        if abs(end_s - due_s.get(max(due_s, default=NONE), 0.0)) > STEP_S:
            due_s[int(new.min())] = end_s
    first = np.array([NONE, *sorted(due_s)])  # before any promise there is none
    ends_s = np.array([0.0, *(due_s[number] for number in first[1:].tolist())])
    place = np.searchsorted(first, problem.number, side="right") - 1
    kept = range(len(first)) if problem.standing is not None else {*place.tolist(), len(first) - 1}
    carry = {f"{DUE}{first[index]}": float(ends_s[index]) for index in kept if index}
    carry[SEEN] = float(max(problem.number.max(), problem.carried.get(SEEN, NONE)))
    return np.where(now_s < ends_s[place], 0.0, problem.age_s), carry
