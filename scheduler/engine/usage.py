"""The account of use between two times, from the attempts on record. Work lost to our own preemption is not charged."""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from scheduler.engine.records import Attempt, JobRecord
from scheduler.engine.state import State
from scheduler.model.lifecycle import StopCause
from scheduler.model.units import US_PER_S, WHOLE_DEVICE
from scheduler.quota.entitlement import proportional
from scheduler.quota.worth import h20_equivalents

__all__ = ["BY", "Use", "account", "lost_us"]

BY: Final = ("tenant", "user", "project", "accelerator")
"""What use may be told by. The project is the job's label of that name."""

US_PER_HOUR = 3_600 * US_PER_S
OURS = frozenset({StopCause.PREEMPT, StopCause.RESIZE})


class Use(Struct):
    """Sums over attempts. Thousandths of devices and of compute units, and fen per hour, times microseconds; `lost` are
    the devices whose time was lost to our own preemption, which the others leave out."""

    device: int = 0
    units: int = 0
    fen: int = 0
    h20: float = 0.0
    lost: int = 0

    def add(self, other: "Use") -> None:
        self.device += other.device
        self.units += other.units
        self.fen += other.fen
        self.h20 += other.h20
        self.lost += other.lost

    def hours(self) -> dict[str, float]:
        """Device-, compute-unit- and H20-equivalent-hours, money in CNY, and device-hours not charged."""
        return {
            "device_hours": round(self.device / WHOLE_DEVICE / US_PER_HOUR, 6),
            "compute_unit_hours": round(self.units / WHOLE_DEVICE / US_PER_HOUR, 6),
            "h20_equivalent_hours": round(self.h20 / US_PER_HOUR, 6),
            "cost_cny": round(self.fen / US_PER_HOUR / 100, 4),
            "lost_device_hours": round(self.lost / WHOLE_DEVICE / US_PER_HOUR, 6),
        }


def account(state: State, by: Sequence[str], since_us: int, until_us: int) -> dict[tuple[str, ...], Use]:
    """Use by the chosen columns of `BY`; what is held at `until_us` counts until then.

    Prices and charges are those of the grant. A job's tenant is the one that it was submitted to.
    """
    found: dict[tuple[str, ...], Use] = {}
    for job in state.jobs:
        about = {
            "tenant": job.spec.tenant,
            "user": job.actor.user,
            "project": job.spec.labels.get("project", ""),
        }
        for attempt in job.attempts:
            for accelerator, use in _uses(state, job, attempt, since_us, until_us):
                key = tuple(accelerator if name == "accelerator" else about[name] for name in by)
                found.setdefault(key, Use()).add(use)
    return found


def lost_us(attempt: Attempt) -> int:
    """How much of an ended attempt's time led to nothing because we preempted or resized it.

    The part of its work that no checkpoint holds, of the time since it started. An attempt that reported no progress
    has lost nothing that anybody saw.
    """
    if attempt.stop not in OURS or attempt.ended_us is None or attempt.started_us is None:
        return 0
    done, kept = attempt.done - attempt.done_at_start, attempt.saved - attempt.done_at_start
    if done <= 0:
        return 0
    part = min(1.0, max(0.0, 1 - max(0.0, kept) / done))
    return round(part * max(0, attempt.ended_us - attempt.started_us))


def _uses(state: State, job: JobRecord, attempt: Attempt, since_us: int, until_us: int) -> Iterator[tuple[str, Use]]:
    """One part per role. The charge was frozen for the whole allocation: roles share it by their devices."""
    ended_us = until_us if attempt.ended_us is None else attempt.ended_us
    useful_us = ended_us - lost_us(attempt)
    span_us = max(0, min(useful_us, until_us) - max(attempt.allocated_us, since_us))
    lost = max(0, min(ended_us, until_us) - max(useful_us, since_us, attempt.allocated_us))
    if not span_us and not lost:
        return
    allocation = attempt.allocation
    whole = max(1, sum(part.amount for part in allocation.chosen))
    costs = _fen_per_hour(state, attempt)
    for part, fen in zip(allocation.chosen, costs, strict=True):
        yield (
            part.accelerator,
            Use(
                device=part.amount * span_us,
                units=allocation.charge * part.amount * span_us // whole,
                fen=fen * span_us,
                h20=h20_equivalents(job.spec.work, (part,), state.config.catalog) * span_us,
                lost=part.amount * lost,
            ),
        )


def _fen_per_hour(state: State, attempt: Attempt) -> list[int]:
    """By role: parts of the cost that was frozen by the grant, as the price book has it for their nodes."""
    allocation = attempt.allocation
    frozen = allocation.fen_per_hour or 0
    parts = state.book.fen_per_hour(allocation, attempt.allocated_us)
    if not any(parts):
        parts = tuple(chosen.amount for chosen in allocation.chosen)
    return proportional(parts, frozen) if frozen <= sum(parts) else [frozen * part // sum(parts) for part in parts]
