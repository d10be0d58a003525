"""No starvation: past a bound of waiting, devices drain to a job, and others start only where they do not delay it.

A reservation as in EASY backfilling (Lifka, 1995), on the devices of each option: the job's start is when enough of
what runs there will have ended; until then whoever ends earlier may use all that is free, and whoever does not only
what the job leaves.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.model.units import US_PER_S
from scheduler.policies.problem import NONE, Flag, Int, Problem, Real

__all__ = ["Hold", "overdue", "reserve", "reserved_rows"]

PATIENCE: Final = 5.0
"""A long job waits longer: it is overdue past the policy's bound and so many times what it has left to run."""

MOST_HELD: Final = 8
"""Reservations in one cycle; each takes part of the fleet out of use for a while."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Devices of `row` kept for a job: from `start_s` on, others may have `spare` of them."""

    job: int
    row: int
    start_s: float
    spare: int


def overdue(problem: Problem) -> Flag:
    """bool[n]: jobs past the bound, waiting or running; those that run keep what they waited for."""
    bound_s = problem.settings.starve_after_us / US_PER_S
    left_s = np.where(np.isfinite(problem.left_s), problem.left_s, 0.0)
    found: Flag = problem.age_s > bound_s + PATIENCE * left_s
    return found


def reserve(problem: Problem, waiting: Int, left: Int, option: Int) -> list[Hold]:
    """What is kept for the oldest of `waiting` jobs that found nothing; at most one reservation for each row.

    `left` is int64[rows], `option` int64[n] of those that keep or were given one: their ends free devices.
    """
    found: dict[int, Hold] = {}
    by_age = waiting[np.lexsort((problem.number[waiting], -problem.age_s[waiting]))]
    for job in by_age[:MOST_HELD].tolist():
        for hold in _earliest(problem, job, left, option):
            found.setdefault(hold.row, hold)
    return list(found.values())


def _earliest(problem: Problem, job: int, left: Int, option: Int) -> list[Hold]:
    """On the option of the job that ends first, one for each of its rows of devices."""
    best: tuple[float, list[Hold]] = (np.inf, [])
    for mine in range(int(problem.ptr[job]), int(problem.ptr[job + 1])):
        if not problem.open[mine]:
            continue
        holds: list[Hold] = []
        for entry in range(int(problem.use_ptr[mine]), int(problem.use_ptr[mine + 1])):
            row, amount = int(problem.use_row[entry]), int(problem.use_amount[entry])
            if row < problem.capacity_rows:
                holds.append(_when_free(problem, job, row, amount, left, option))
        start_s = max((hold.start_s for hold in holds), default=np.inf)
        end_s = start_s + float(_lasts(problem, np.array([mine]), np.array([job]))[0])
        known = end_s if np.isfinite(end_s) else start_s
        if known < best[0]:
            best = known, [Hold(job, hold.row, start_s, hold.spare) for hold in holds]
    return best[1]


def _when_free(problem: Problem, job: int, row: int, amount: int, left: Int, option: Int) -> Hold:
    """When `amount` of the row will be free, as those that hold it end one after the other."""
    jobs, taken = _holders(problem, row, option)
    ends_s = _lasts(problem, option[jobs], jobs)
    order = np.lexsort((problem.number[jobs], ends_s))
    free = max(0, int(left[row])) + np.concatenate(([0], np.cumsum(taken[order])))
    times = np.concatenate(([0.0], ends_s[order]))
    enough = np.flatnonzero(free >= amount)
    if not len(enough):
        return Hold(job, row, np.inf, 0)
    start_s = float(times[enough[0]])
    by_then = int(free[np.searchsorted(times, start_s, side="right") - 1])
    return Hold(job, row, start_s, by_then - amount)


def _holders(problem: Problem, row: int, option: Int) -> tuple[Int, Int]:
    """Jobs whose option takes something of the row, and how much."""
    entry = np.flatnonzero(problem.use_row == row)
    user = np.searchsorted(problem.use_ptr, entry, side="right") - 1
    owner = np.searchsorted(problem.ptr, user, side="right") - 1
    mine = option[owner] == user
    return owner[mine], problem.use_amount[entry[mine]]


def _lasts(problem: Problem, options: Int, jobs: Int) -> Real:
    """Seconds until each job would end on its option, infinite where its size is unknown."""
    best = np.array([float(problem.rate[problem.ptr[j] : problem.ptr[j + 1]].max(initial=0.0)) for j in jobs.tolist()])
    found: Real = problem.left_s[jobs] * best / np.maximum(problem.rate[options], 1e-300)
    return found


def reserved_rows(
    problem: Problem, holds: list[Hold], owner: Int, option: Int, uses: tuple[Int, Int, Int, Int]
) -> tuple[Int, Int, Int, Int]:
    """Uses and what is available, with one row more for each reservation: jobs that wait and would not have ended by
    its start take of it what they take of the devices. What runs already is no obstacle that lasts: it may be
    displaced when the time has come, or its end was counted on.

    `owner` and `option` are int64[len(options)]; `uses` are (ptr, row, amount, available).
    """
    use_ptr, use_row, use_amount, available = uses
    user = np.repeat(np.arange(len(option)), np.diff(use_ptr))
    best = np.zeros(len(problem.number))
    some = np.diff(problem.ptr) > 0
    best[some] = np.maximum.reduceat(problem.rate, problem.ptr[:-1][some])
    lasts_s = problem.left_s[owner] * best[owner] / np.maximum(problem.rate[option], 1e-300)
    waits = problem.current[owner] == NONE
    rows, amounts, users = [use_row], [use_amount], [user]
    for place, hold in enumerate(holds):
        beyond = (use_row == hold.row) & (waits & (lasts_s > hold.start_s) & (owner != hold.job))[user]
        rows.append(np.full(int(beyond.sum()), len(available) + place))
        amounts.append(use_amount[beyond])
        users.append(user[beyond])
    all_users = np.concatenate(users)
    order = np.argsort(all_users, kind="stable")
    ptr = np.concatenate(([0], np.cumsum(np.bincount(all_users, minlength=len(option))))).astype(np.int64)
    grown = np.concatenate((available, np.array([hold.spare for hold in holds], dtype=np.int64)))
    return ptr, np.concatenate(rows)[order], np.concatenate(amounts)[order], grown
