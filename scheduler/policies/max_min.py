"""Max-min fairness over unequal devices: the least served job is served as well as it can be.

A job's service is its speed, as a part of its best one, times its devices: a gang of eight that runs half the time has
had as much as a single job that runs all of four days of each. After Gavel (Narayanan et al., OSDI 2020).
"""

import numpy as np

from scheduler.policies.dealing import dealt, devices_of, shares_of
from scheduler.policies.problem import NONE, Choice, Problem, Real
from scheduler.policies.shares import max_min as solve_max_min
from scheduler.policies.worth import best_of

__all__ = ["hierarchical", "max_min", "tree_weights"]


def max_min(problem: Problem) -> Choice:
    """Every job weighs the same, whoever submitted it."""
    return _served(problem, np.ones(len(problem.number)))


def hierarchical(problem: Problem) -> Choice:
    """Tenants share by their weights, level by level of the tree, and each tenant's jobs share alike."""
    return _served(problem, tree_weights(problem))


def _served(problem: Problem, weight: Real) -> Choice:
    devices = np.maximum(best_of(problem, devices_of(problem)), 1.0)
    return dealt(problem, solve_max_min(shares_of(problem), weight / devices, gap=problem.settings.gap).share)


def tree_weights(problem: Problem) -> Real:
    """float64[n]: a tenant's part is split among those of its children that have jobs here, and its own jobs.

    Own jobs together count as one more child of weight 1. A job's weight is its part times the number of jobs.
    """
    tenants = len(problem.tenant_parent)
    own = np.bincount(problem.tenant, minlength=tenants)
    busy = own > 0
    for t in range(tenants - 1, 0, -1):  # parents come before children
        if busy[t] and problem.tenant_parent[t] != NONE:
            busy[problem.tenant_parent[t]] = True
    total = (own > 0).astype(np.float64)
    for t in range(1, tenants):
        if busy[t]:
            total[problem.tenant_parent[t]] += problem.tenant_weight[t]
    part = np.ones(tenants)
    for t in range(1, tenants):
        parent = problem.tenant_parent[t]
        part[t] = part[parent] * problem.tenant_weight[t] / max(total[parent], 1e-12)
    share = part / np.maximum(total, 1e-12) / np.maximum(own, 1)
    return np.asarray(share[problem.tenant] * len(problem.number))
