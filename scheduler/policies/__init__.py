"""Who gets how much: a choice of one option or none for each job, over arrays."""

from scheduler.policies.problem import NONE, Choice, Policy, Problem
from scheduler.policies.registry import POLICIES, WALKS

__all__ = ["Choice", "NONE", "POLICIES", "Policy", "Problem", "WALKS"]
