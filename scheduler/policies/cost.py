"""The cheapest work: each job where a unit of its work costs least, as many jobs as can run."""

import numpy as np

from scheduler.policies.balanced import balanced_weight
from scheduler.policies.priced import priced
from scheduler.policies.problem import Choice, Problem
from scheduler.policies.worth import best_of, job_of, staying, within_tenants

__all__ = ["cost"]


def cost(problem: Problem) -> Choice:
    """An option is worth the price of the job's cheapest work over its own, squared: half as dear counts fourfold.

    Jobs weigh as under `balanced`.
    """
    owner = job_of(problem)
    cheapness = problem.rate / np.maximum(problem.cost, 1e-9)
    part = cheapness / np.maximum(best_of(problem, cheapness), 1e-300)[owner]
    if len(problem.adders):
        part = part - problem.adders
    weight = within_tenants(problem, balanced_weight(problem))
    return priced(problem, staying(problem, weight[owner] * np.sign(part) * part**2))
