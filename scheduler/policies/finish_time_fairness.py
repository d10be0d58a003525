"""Finish-time fairness: nobody is slowed down more than others against an equal part of the cluster to itself.

After Themis (Mahajan et al., NSDI 2020): the largest ratio of the time to completion to the time that the job would
have had alone on its part is made as small as it can be.
"""

import numpy as np

from scheduler.policies.dealing import dealt, devices_of, shares_of, sizes_s
from scheduler.policies.problem import Choice, Problem
from scheduler.policies.shares import finish_time_fairness as solve_fairness
from scheduler.policies.worth import best_of

__all__ = ["finish_time_fairness"]


def finish_time_fairness(problem: Problem) -> Choice:
    """A job's part of the cluster is one over as many times as the jobs here ask for all of it, at most all."""
    devices = np.maximum(best_of(problem, devices_of(problem)), 1.0)
    left = sizes_s(problem)
    total = left + problem.attained_s / devices
    crowd = max(1.0, float(devices.sum()) / max(1.0, float(problem.available[: problem.capacity_rows].sum())))
    age = np.maximum(problem.age_s, 0.0)
    found = solve_fairness(shares_of(problem), left, age, np.maximum(total * crowd, 1.0), gap=problem.settings.gap)
    return dealt(problem, found.share)
