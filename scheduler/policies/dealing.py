"""Shares of time made real: each round gives whole options to the jobs that lag most behind their shares.

The deficit of a (job, option) grows by its share of each second and shrinks by each second that it had the option; the
assignment of most deficit, weighed by devices, is the round's. Deficits per job would let a job that has had its time
on the wrong devices keep off the right ones. They pass from cycle to cycle in `Choice.carry`, at most two rounds deep.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from scheduler.model.units import US_PER_S
from scheduler.policies.priced import priced
from scheduler.policies.problem import NONE, Choice, Flag, Problem, Real
from scheduler.policies.shares import Shares
from scheduler.policies.worth import job_of, speeds, staying

__all__ = ["dealt", "devices_of", "shares_of", "sizes_s", "unshared"]

ROUND_S: Final = 360.0
DEEPEST: Final = 2.0
LEAST_DEFICIT: Final = 1e-3
"""Of a round: what options without a deficit count, so that no device idles while somebody could use it."""

QUANTUM: Final = 20.0
"""A turn lasts at least so many times what it costs to end it: at most a twentieth goes to changing places."""

UNKNOWN_S: Final = 3600.0


def devices_of(problem: Problem) -> Real:
    """float64[m]: devices of each option."""
    user = np.repeat(np.arange(len(problem.rate)), np.diff(problem.use_ptr))
    device = problem.use_row < problem.capacity_rows
    weights = np.where(device, problem.use_amount, 0)
    return np.bincount(user, weights=weights, minlength=len(problem.rate)).astype(np.float64)


def shares_of(problem: Problem) -> Shares:
    """The problem in shares: speeds as parts of the job's best; who is pinned can only go on."""
    held = np.zeros(len(problem.rate), dtype=np.bool_)
    held[problem.current[problem.current != NONE]] = True
    mine: Flag = problem.open | held
    mine &= held | ~problem.pinned[job_of(problem)]
    speed = np.where(mine, np.maximum(speeds(problem), 0.0), 0.0)
    available = np.maximum(problem.available, 0)
    return Shares(problem.ptr, speed, problem.use_ptr, problem.use_row, problem.use_amount, available)


def sizes_s(problem: Problem) -> Real:
    """float64[n]: seconds left on the best option; for unknown sizes as much as the job has had already."""
    had_s = problem.attained_s / np.maximum(_largest(problem), 1.0)
    return np.where(np.isfinite(problem.left_s), problem.left_s, np.maximum(had_s, UNKNOWN_S))


def _largest(problem: Problem) -> Real:
    found = np.ones(len(problem.number))
    some = np.diff(problem.ptr) > 0
    if some.any():
        found[some] = np.maximum.reduceat(devices_of(problem), problem.ptr[:-1][some])
    return found


def unshared(problem: Problem) -> Problem:
    """The same, with those pinned who share their time with nobody: they have not run for so many times what a stop
    costs yet, or would lose all that they did."""
    held = problem.current != NONE
    stays = held & (~problem.resumes | (problem.ran_s < QUANTUM * problem.move_s))
    return replace(problem, pinned=problem.pinned | stays)


def dealt(problem: Problem, share: Real) -> Choice:
    """The round's choice for `share`, float64[m]."""
    problem = unshared(problem)
    round_s = max(problem.settings.round_us / US_PER_S, ROUND_S)
    owner = job_of(problem)
    now_s = float(problem.submitted_us[0] / US_PER_S + problem.age_s[0]) if len(problem.number) else 0.0
    passed_s = np.minimum(now_s - problem.carried.get("at", now_s), problem.age_s)[owner]
    had = np.zeros(len(owner))
    had[problem.current[problem.current != NONE]] = 1.0
    deficit = np.clip(_before(problem) + (share - had) * passed_s, -DEEPEST * round_s, DEEPEST * round_s)
    due = deficit + share * round_s  # what it should have had by the end of this round
    least = LEAST_DEFICIT * round_s * np.maximum(speeds(problem), 0.0)
    choice = priced(problem, staying(problem, devices_of(problem) * np.maximum(due, least)))
    some = np.flatnonzero(deficit)
    place = some - problem.ptr[:-1][owner[some]]
    of_some = zip(problem.number[owner[some]].tolist(), place.tolist(), deficit[some].tolist(), strict=True)
    return replace(choice, carry={**{f"{number}:{p}": value for number, p, value in of_some}, "at": now_s})


def _before(problem: Problem) -> Real:
    """float64[m]: the deficits that the last choice left, by number and place; those of jobs that are gone are lost."""
    found = np.zeros(len(problem.rate))
    known = [(*map(int, name.split(":")), value) for name, value in problem.carried.items() if name[0].isdigit()]
    if not known or not len(problem.number):
        return found
    number, place, value = (np.array(column) for column in zip(*known, strict=True))
    order = np.argsort(problem.number)
    at = np.minimum(np.searchsorted(problem.number, number, sorter=order), len(order) - 1)
    job = order[at]
    there = (problem.number[job] == number) & (place < np.diff(problem.ptr)[job])
    found[problem.ptr[job[there]] + place[there]] = value[there]
    return found
