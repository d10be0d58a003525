"""Who gets how much: a choice of one option or none for each job, over arrays."""

from scheduler.policies.keeping import SEAT, keep
from scheduler.policies.problem import NONE, Choice, Policy, Problem
from scheduler.policies.registry import DEALS, POLICIES, WALKS

__all__ = ["Choice", "DEALS", "NONE", "POLICIES", "Policy", "Problem", "SEAT", "WALKS", "keep"]
