"""Who gets how much: a choice of one option or none for each job, over arrays."""

from scheduler.policies.keeping import SEAT, keep
from scheduler.policies.problem import NONE, Certificate, Choice, Policy, Problem, Standing, entries_of, part_of, spans
from scheduler.policies.registry import ALWAYS, DEALS, POLICIES, WALKS

__all__ = [
    "ALWAYS", "Certificate", "Choice", "DEALS", "NONE", "POLICIES", "Policy", "Problem", "SEAT", "Standing", "WALKS",
    "entries_of", "keep", "part_of", "spans",
]  # fmt: skip
