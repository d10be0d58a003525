"""Deadlines first, the least slack before others; jobs without one, or past making theirs, take the rest."""

import numpy as np

from scheduler.policies.balanced import balanced_weight
from scheduler.policies.priced import priced
from scheduler.policies.problem import Choice, Problem
from scheduler.policies.worth import job_of, speeds, staying, within_tenants

__all__ = ["deadline"]

LEAST_SLACK_S = 60.0


def deadline(problem: Problem) -> Choice:
    """Slack is the time to the deadline less the time left on the best option; of an unknown size, the former alone."""
    slack_s = problem.deadline_s - np.where(np.isfinite(problem.left_s), problem.left_s, 0.0)
    bound = np.isfinite(problem.deadline_s) & (slack_s >= 0)
    weight = np.where(bound, 1.0 / np.maximum(slack_s, LEAST_SLACK_S), 0.0)
    weight = within_tenants(problem, np.where(bound, weight, balanced_weight(problem)))
    return priced(problem, staying(problem, weight[job_of(problem)] * speeds(problem)), before=bound)
