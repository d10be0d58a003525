"""Shortest remaining time first. The best mean, and a long wait for whoever is large."""

import numpy as np

from scheduler.policies.priced import priced
from scheduler.policies.problem import Choice, Problem
from scheduler.policies.worth import job_of, speeds, staying, within_tenants

__all__ = ["srpt"]

LEAST_S = 60.0


def srpt(problem: Problem) -> Choice:
    """A job weighs one over its time left; where that is unknown, over the device-seconds that it has had."""
    left = np.where(np.isfinite(problem.left_s), problem.left_s, problem.attained_s)
    weight = within_tenants(problem, 1.0 / np.maximum(left, LEAST_S))
    return priced(problem, staying(problem, weight[job_of(problem)] * speeds(problem)))
