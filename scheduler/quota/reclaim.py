"""Who has to leave for a better right: idle use first, then what is borrowed; among equals whoever loses least work."""

from collections.abc import Sequence
from statistics import median
from typing import Final

from msgspec import Struct

from scheduler.model.units import US_PER_S
from scheduler.quota.claims import Claim

__all__ = ["Holder", "MEDIAN_UNKNOWN_US", "lost_work", "victims_first"]

MEDIAN_UNKNOWN_US: Final = 1_800 * US_PER_S
"""What an undeclared checkpoint counts as where no running job declares one."""


class Holder(Struct, frozen=True, kw_only=True):
    """A job that may be told to leave. `worth` is its present speed in H20-equivalents.

    `since_saved_us` counts from its last checkpoint, `overhead_us` is what saving, restarting and reloading take; both
    None where it declares no checkpoint.
    """

    number: int
    tenant: int
    claim: Claim
    priority: int
    worth: float
    since_saved_us: int | None = None
    overhead_us: int | None = None


def lost_work(holders: Sequence[Holder]) -> list[float]:
    """What each would lose, in H20-equivalent-seconds: (time since the checkpoint + overhead) at the job's speed.

    An undeclared checkpoint counts as the median of those declared here: to hide one neither saves a job nor exposes
    it.
    """
    declared = [h.since_saved_us + (h.overhead_us or 0) for h in holders if h.since_saved_us is not None]
    typical = float(median(declared)) if declared else float(MEDIAN_UNKNOWN_US)
    return [
        h.worth * (typical if h.since_saved_us is None else h.since_saved_us + (h.overhead_us or 0)) / US_PER_S
        for h in holders
    ]


def victims_first(holders: Sequence[Holder]) -> list[int]:
    """Numbers of the jobs, the first to leave first: the worst right, then the least work lost, then the newest.

    Priority orders within a tenant: of a tenant's jobs with the same right, the lower priority leaves first, in the
    places that the tenant's jobs have among all.
    """
    lost = dict(zip((h.number for h in holders), lost_work(holders), strict=True))
    ranked = sorted(holders, key=lambda h: (-h.claim, lost[h.number], -h.number))
    own: dict[tuple[int, Claim], list[Holder]] = {}
    for holder in holders:
        own.setdefault((holder.tenant, holder.claim), []).append(holder)
    turns = {key: _by_priority(found, lost) for key, found in own.items()}
    return [turns[h.tenant, h.claim].pop() for h in ranked]


def _by_priority(holders: Sequence[Holder], lost: dict[int, float]) -> list[int]:
    """The last is to leave first."""
    ordered = sorted(holders, key=lambda h: (-h.priority, -lost[h.number], h.number))
    return [h.number for h in ordered]
