"""Options of a job file that can never be taken, whatever is free: for whoever checks a file before it is submitted."""

from typing import Final

from msgspec import Struct

from scheduler.engine.state import State
from scheduler.model.accelerators import Catalog
from scheduler.model.allocations import Chosen
from scheduler.model.jobs import Job
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.profiles.options import expand

__all__ = ["Misfit", "misfits"]

SIZES: Final = frozenset({
    ReasonCode.EXCEEDS_FLEET, ReasonCode.EXCEEDS_CELL, ReasonCode.EXCEEDS_NODE, ReasonCode.EXCEEDS_DOMAIN,
    ReasonCode.GRANULARITY, ReasonCode.NOT_SHAREABLE, ReasonCode.MEMORY_FLOOR,
})  # fmt: skip
"""An accelerator that a fleet does not have is none of them: one file serves several fleets."""


class Misfit(Struct, frozen=True):
    """Option `option` of role `role`, none of whose counts fits; `reason` is that of its first."""

    role: int
    option: int
    reason: Reason


def misfits(job: Job, catalog: Catalog, state: State | None = None) -> tuple[Misfit, ...]:
    """Options that the fleet of `state` can never hold; without one, that no fleet can: the model does not fit."""
    if state is None:
        excluded = expand(job, catalog, set(catalog.names)).excluded
    else:
        excluded = state.rows.of_job(job, 0, "").excluded
    alone = len(job.roles) == 1
    reasons = {_about(part, reason, alone): reason for part, reason in excluded if reason.code in SIZES}
    replicas = 1 if job.service is None else job.service.min_replicas
    found = []
    for role, part in enumerate(job.roles):
        for place, option in enumerate(part.resources.options):
            told = [_reason(reasons, Chosen(option.accelerator, count), replicas) for count in option.counts]
            if told[0] is not None and None not in told:
                found.append(Misfit(role, place, told[0]))
    return tuple(found)


def _about(part: Chosen, reason: Reason, alone: bool) -> tuple[str, int]:
    """The accelerator and count that do not fit: of several roles the reason tells which one asks for too much."""
    if alone or reason.code is ReasonCode.MEMORY_FLOOR:
        return part.accelerator, part.count
    return reason.accelerator, reason.need


def _reason(reasons: dict[tuple[str, int], Reason], part: Chosen, replicas: int) -> Reason | None:
    """Of the count itself, or of the fewest replicas of it."""
    own = reasons.get((part.accelerator, part.count))
    return own or reasons.get((part.accelerator, part.count * replicas))
