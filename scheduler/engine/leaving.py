"""A running job as `quota.reclaim` sees it: what it would lose if it were told to leave."""

from scheduler.engine.snapshot import Snapshot
from scheduler.quota.claims import Claim
from scheduler.quota.reclaim import Holder
from scheduler.quota.worth import h20_equivalents

__all__ = ["holder"]


def holder(snapshot: Snapshot, number: int, claim: int, now_us: int) -> Holder:
    """The time since its last checkpoint is what it has done since, at the speed that it was seen to have."""
    job = snapshot.jobs[number]
    attempt, checkpoint = job.attempt, job.spec.checkpoint
    if attempt is None:
        return Holder(
            number=number, tenant=snapshot.tenant_of(job), claim=Claim(claim), priority=job.priority, worth=0.0
        )
    since_us = None
    if checkpoint is not None:
        started_us = attempt.allocated_us if attempt.started_us is None else attempt.started_us
        speed = attempt.rate or attempt.allocation.rate
        unsaved_us = int((attempt.done - attempt.saved) / speed * 1e6) if speed > 0 else 0
        since_us = min(max(0, unsaved_us), now_us - started_us)
    return Holder(
        number=number,
        tenant=snapshot.tenant_of(job),
        claim=Claim(claim),
        priority=job.priority,
        worth=h20_equivalents(job.spec.work, attempt.allocation.chosen, snapshot.config.catalog),
        since_saved_us=since_us,
        overhead_us=None if checkpoint is None else checkpoint.save_us + checkpoint.restart_us,
    )
