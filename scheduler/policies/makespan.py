"""The least time until all jobs that are here have ended."""

from scheduler.policies.dealing import dealt, shares_of, sizes_s
from scheduler.policies.problem import Choice, Problem
from scheduler.policies.shares import makespan as solve_makespan

__all__ = ["makespan"]


def makespan(problem: Problem) -> Choice:
    """Every job does the same part of what it has left in each second."""
    return dealt(problem, solve_makespan(shares_of(problem), sizes_s(problem), gap=problem.settings.gap).share)
