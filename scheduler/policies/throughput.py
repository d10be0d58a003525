"""The most work at once, in H20-equivalents: each device to whoever gains most from it, however long others wait."""

from scheduler.policies.priced import priced
from scheduler.policies.problem import Choice, Problem
from scheduler.policies.worth import best_of, job_of, staying

__all__ = ["throughput"]


def throughput(problem: Problem) -> Choice:
    worth = problem.h20.copy()
    if len(problem.adders):
        worth -= problem.adders * best_of(problem, problem.h20)[job_of(problem)]
    return priced(problem, staying(problem, worth))
