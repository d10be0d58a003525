"""Questions: what would have to change, when will it start, what was decided and why. All on copies of a state."""

from scheduler.planning.changes import Change, Edit, Part, changes_of, run_time_us
from scheduler.planning.counterfactuals import Asked, Counterfactuals, Effort, Proposal, counterfactuals, enter

__all__ = [
    "Asked",
    "Change",
    "changes_of",
    "Counterfactuals",
    "counterfactuals",
    "Edit",
    "Effort",
    "enter",
    "Part",
    "Proposal",
    "run_time_us",
]
