"""Least attained service first: whoever has had the least device time. Needs no sizes."""

import numpy as np

from scheduler.policies.priced import priced
from scheduler.policies.problem import Choice, Problem
from scheduler.policies.worth import job_of, speeds, staying, within_tenants

__all__ = ["las"]

LEAST_ATTAINED_S = 600.0


def las(problem: Problem) -> Choice:
    """A job weighs one over the device-seconds that it has received."""
    weight = within_tenants(problem, 1.0 / np.maximum(problem.attained_s, LEAST_ATTAINED_S))
    return priced(problem, staying(problem, weight[job_of(problem)] * speeds(problem)))
