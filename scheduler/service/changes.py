"""Changes that start a job sooner, as plain values and in words."""

from typing import Any

from scheduler.engine.state import State
from scheduler.model.units import US_PER_S, to_s
from scheduler.planning import Counterfactuals, Edit, Part, Proposal
from scheduler.service.feed import iso
from scheduler.service.reports import option_name
from scheduler.service.views import View

__all__ = ["change_text", "changes_view"]


def changes_view(state: State, found: Counterfactuals, now_us: int) -> list[View]:
    """Proposals, the smallest change first."""
    return [_view(state, proposal, now_us) for proposal in found.proposals]


def _view(state: State, proposal: Proposal, now_us: int) -> dict[str, Any]:
    change = proposal.change
    return {
        "text": change_text(change.edits),
        "starts_on": option_name(proposal.chosen),
        "start": iso(proposal.start_us),
        "wait_s": round(to_s(max(0, proposal.start_us - now_us)), 3),
        "sooner_s": None if proposal.sooner_us is None else round(to_s(proposal.sooner_us), 3),
        "run_s": None if proposal.run_us is None else round(to_s(proposal.run_us), 3),
        "edits": [
            {"part": str(edit.part), "accelerator": edit.accelerator, "before": edit.before, "after": edit.after}
            for edit in change.edits
        ],
        "size": round(change.size, 3),
        "by_update": change.in_place,
        "victims": [state.jobs[number].id for number in proposal.victims],
    }


def change_text(edits: tuple[Edit, ...]) -> str:
    """`also accept h200:8 and time_limit 36h`."""
    return " and ".join(_text(edit) for edit in edits)


def _text(edit: Edit) -> str:
    if edit.part in (Part.COUNT, Part.ACCELERATOR):
        return f"also accept {edit.accelerator}:{edit.after}"
    if edit.part is Part.AFTER_WAIT:
        return f"no after_wait on {edit.accelerator}"
    if edit.part is Part.TIME_LIMIT:
        return f"time_limit {_span(int(edit.after))}"
    return f"{edit.part} {edit.after}"


def _span(microseconds: int) -> str:
    """Rounded up to what reads well and files accept: seconds below ten minutes, minutes below a day, else hours."""
    seconds = -(-microseconds // US_PER_S)
    if seconds < 600:
        return f"{seconds}s"
    return f"{-(-seconds // 60)}m" if seconds < 86_400 else f"{-(-seconds // 3_600)}h"
