"""Questions: what would have to change, when will it start, what was decided and why. All on copies of a state."""

from scheduler.planning.changes import Change, Edit, Part, changes_of, run_time_us
from scheduler.planning.counterfactuals import Asked, Counterfactuals, Effort, Proposal, counterfactuals, enter
from scheduler.planning.decisions import DecisionTrace, OptionWeighed, decisions_of
from scheduler.planning.market import PriceInterval, price_intervals, queue_position, worth_of
from scheduler.planning.misfits import Misfit, misfits
from scheduler.planning.outlook import Outlook, outlook, outlooks

__all__ = [
    "Asked",
    "Change",
    "changes_of",
    "Counterfactuals",
    "counterfactuals",
    "decisions_of",
    "DecisionTrace",
    "Edit",
    "Effort",
    "enter",
    "Misfit",
    "misfits",
    "OptionWeighed",
    "Outlook",
    "outlook",
    "outlooks",
    "Part",
    "price_intervals",
    "PriceInterval",
    "Proposal",
    "queue_position",
    "run_time_us",
    "worth_of",
]
