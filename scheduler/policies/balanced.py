"""The default: short jobs first, but less and less so the longer a job has waited; each where it loses least.

A job weighs left^-a (1 + age / tau)^q. Of sizes that nobody knows, the device time received so far stands for what is
left: what has run long will, more often than not, run on.
"""

from typing import Final

import numpy as np

from scheduler.model.units import US_PER_S
from scheduler.policies.priced import priced
from scheduler.policies.problem import Choice, Problem, Real
from scheduler.policies.worth import job_of, speeds, staying, within_tenants

__all__ = ["balanced", "balanced_weight"]

A: Final = 0.5
TAU_S: Final = 50 * 3600.0
Q: Final = 1.0

UNKNOWN_A: Final = 0.5
UNKNOWN_Q: Final = 2.0
"""Where the size is unknown age counts more: it is what tells a stuck job from a young one."""

LEAST_PART: Final = 0.02
LEAST_LEFT_S: Final = 60.0
"""Nobody weighs more for having less left than this part of all its work, nor than this."""

LEAST_ATTAINED_S: Final = 600.0


def balanced(problem: Problem) -> Choice:
    weight = within_tenants(problem, balanced_weight(problem))
    return priced(problem, staying(problem, weight[job_of(problem)] * speeds(problem)))


def balanced_weight(problem: Problem) -> Real:
    """float64[n], positive."""
    settings = problem.settings
    known = np.isfinite(problem.left_s)
    a = np.where(known, A, UNKNOWN_A) if settings.a is None else settings.a
    q = np.where(known, Q, UNKNOWN_Q) if settings.q is None else settings.q
    tau_s = TAU_S if settings.tau_us is None else settings.tau_us / US_PER_S
    least_s = np.maximum(LEAST_PART * problem.whole_s, LEAST_LEFT_S) if len(problem.whole_s) else LEAST_LEFT_S
    size = np.where(known, np.maximum(problem.left_s, least_s), np.maximum(problem.attained_s, LEAST_ATTAINED_S))
    weight: Real = size**-a * (1 + np.maximum(problem.age_s, 0.0) / tau_s) ** q
    return weight
