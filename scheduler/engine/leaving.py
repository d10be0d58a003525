"""Who may be told to leave for whom, the first to leave first."""

from collections.abc import Iterator
from functools import cached_property
from typing import Final

import numpy as np

from scheduler.engine.snapshot import Snapshot
from scheduler.policies import NONE, Choice, Problem
from scheduler.quota.claims import Claim
from scheduler.quota.reclaim import Holder, victims_first
from scheduler.quota.worth import h20_equivalents

__all__ = ["Leaving", "holder"]

MOST_WEIGHED: Final = 20_000
"""So many jobs are weighed against each other; of more, only those that the policy displaced."""


class Leaving:
    """Jobs that the policy displaced, and those whose place it left alone although a better right may reclaim it.

    A policy decides how much has to be given back; among those with equal right, who loses least work gives it.
    """

    def __init__(self, snapshot: Snapshot, problem: Problem, choice: Choice, now_us: int) -> None:
        self._snapshot, self._now_us = snapshot, now_us
        holds = problem.current != NONE
        displaced = holds & (choice.option == NONE)
        stays = holds & (choice.option == problem.current) & problem.displaceable
        borrowed = stays & (problem.right >= Claim.BORROWED) if len(problem.claim) else np.zeros_like(stays)
        if not displaced.any() or borrowed.sum() > MOST_WEIGHED:
            borrowed[:] = False
        indexes = np.flatnonzero(displaced | borrowed)
        self._right = dict(zip(problem.number[indexes].tolist(), problem.right[indexes].tolist(), strict=True))
        self._displaced = frozenset(problem.number[displaced].tolist())

    @cached_property
    def _order(self) -> list[int]:
        return victims_first([holder(self._snapshot, n, right, self._now_us) for n, right in self._right.items()])

    def before(self, right: int) -> Iterator[int]:
        """Numbers of those who may have to leave for a job of this right."""
        if not self._right:
            return
        for number in self._order:
            if number in self._displaced or self._right[number] > right:
                yield number


def holder(snapshot: Snapshot, number: int, claim: int, now_us: int) -> Holder:
    """A running job as `quota.reclaim` sees it.

    The time since its last checkpoint is what it has done since, at the speed that it was seen to have.
    """
    job = snapshot.jobs[number]
    attempt, checkpoint = job.attempt, job.spec.checkpoint
    tenant, right = snapshot.tenant_of(job), Claim(claim)
    if attempt is None:
        return Holder(number=number, tenant=tenant, claim=right, priority=job.priority, worth=0.0)
    since_us = None
    if checkpoint is not None:
        started_us = attempt.allocated_us if attempt.started_us is None else attempt.started_us
        speed = attempt.rate or attempt.allocation.rate
        unsaved_us = int((attempt.done - attempt.saved) / speed * 1e6) if speed > 0 else 0
        since_us = min(max(0, unsaved_us), now_us - started_us)
    return Holder(
        number=number,
        tenant=tenant,
        claim=right,
        priority=job.priority,
        worth=h20_equivalents(job.spec.work, attempt.allocation.chosen, snapshot.config.catalog),
        since_saved_us=since_us,
        overhead_us=None if checkpoint is None else checkpoint.save_us + checkpoint.restart_us,
    )
