"""Max-min fairness over unequal devices: the least served job is served as well as it can be.

A job's service is its speed, as a part of its best one, times its devices: a gang of eight that runs half the time has
had as much as a single job that runs all of four days of each. After Gavel (Narayanan et al., OSDI 2020).
"""

import numpy as np

from scheduler.policies.dealing import dealt, devices_of, shares_of
from scheduler.policies.problem import Choice, Problem, Real
from scheduler.policies.shares import max_min as solve_max_min
from scheduler.policies.water_filling import TenantTree
from scheduler.policies.water_filling import water_filling as fill
from scheduler.policies.worth import best_of

__all__ = ["hierarchical", "max_min", "water_filling"]


def max_min(problem: Problem) -> Choice:
    """One level: the least share is as large as can be, and what is left goes to whoever can use it."""
    return dealt(problem, solve_max_min(shares_of(problem), _weights(problem), gap=problem.settings.gap).share)


def water_filling(problem: Problem) -> Choice:
    """Level by level: those who cannot gain any more stop, and the others go on sharing alike."""
    return dealt(problem, fill(shares_of(problem), _weights(problem), gap=problem.settings.gap).share)


def hierarchical(problem: Problem) -> Choice:
    """Tenants share by their weights, level by level of the tree, and jobs share alike within a tenant."""
    tree = TenantTree(problem.tenant, problem.tenant_parent, problem.tenant_weight)
    return dealt(problem, fill(shares_of(problem), _weights(problem), tree=tree, gap=problem.settings.gap).share)


def _weights(problem: Problem) -> Real:
    """float64[n]: the smaller a job's gang, the more of the time makes up for as much device time."""
    return 1.0 / np.maximum(best_of(problem, devices_of(problem)), 1.0)
