"""Room for a gang that only scattered devices keep out: running jobs move together where it pays for their moves.

A move costs what the job would have done while it saves, restarts and does again what it had not saved; it gains what
the gang does until it would have started anyhow, which is when enough running jobs have ended, as far as they tell.
Both in H20-equivalents x seconds. Jobs move as any other move of theirs: with notice, not before their minimum run, not
where their file forbids it or they could not go on from a checkpoint, and never production.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from scheduler.engine.asking import demands_now
from scheduler.engine.columns import NONE
from scheduler.engine.leaving import holder
from scheduler.engine.options import OptionRow
from scheduler.engine.records import JobRecord
from scheduler.engine.seating import Seating
from scheduler.engine.snapshot import Snapshot
from scheduler.model.jobs import Moves
from scheduler.model.lifecycle import JobState
from scheduler.model.tenants import JobClass
from scheduler.model.units import US_PER_S
from scheduler.placement import Movable, Wanting, consolidate, place
from scheduler.quota.claims import Claim
from scheduler.quota.reclaim import lost_work
from scheduler.quota.worth import h20_equivalents

__all__ = ["make_room"]

MOST_GANGS: Final = 2
MOST_MOVABLE: Final = 64
MOST_TRIED: Final = 64
MOST_BESIDE: Final = 2_048
"""In one decision: gangs that are tried, running jobs that may move for each, sets of them that are tried, and running
jobs that are looked at."""

UNKNOWN_S: Final = 3_600.0
"""What is left of a job that tells neither its work nor a limit."""


def make_room(snapshot: Snapshot, seating: Seating, homeless: Iterable[tuple[int, int]], now_us: int) -> None:
    """For the first gang of `homeless`, (number, position of its option), for which moves pay, have them moved."""
    if not snapshot.config.policy.preemption:
        return
    for number, position in sorted(homeless)[:MOST_GANGS]:
        job, row = snapshot.jobs[number], snapshot.rows_of[number].rows[position]
        if seating.is_seated(number) or not seating.is_scattered(row):
            continue
        beside = _beside(snapshot, row)
        movables = sorted(_movable(snapshot, seating, beside, now_us), key=lambda m: (m.cost, m.job))[:MOST_MOVABLE]
        wanting = Wanting(
            job=number,
            demands=demands_now(job, row.demands),
            rate=h20_equivalents(job.spec.work, row.option.chosen, snapshot.config.catalog),
            sooner_s=_sooner_s(snapshot, seating, row, beside, now_us),
        )
        found = consolidate(seating.soon.room, row.cell, wanting, movables, seating.strategy, MOST_TRIED)
        if found is not None and seating.shift(number, position, [move.job for move in found.moves]):
            return


def _movable(snapshot: Snapshot, seating: Seating, beside: Iterable[JobRecord], now_us: int) -> Iterator[Movable]:
    began_us = now_us - snapshot.config.policy.min_run_us
    for job in beside:
        attempt = job.attempt
        if attempt is None or seating.is_leaving(job.number) or not _may_move(job, began_us):
            continue
        who = holder(snapshot, job.number, Claim.NOMINAL, now_us)
        rate = max(who.worth, 1e-9)
        held = snapshot.rows_of[job.number].rows[int(snapshot.columns.job("current")[job.number])]
        yield Movable(
            job=job.number,
            demands=demands_now(job, held.demands),
            grants=attempt.allocation.grants,
            rate=rate,
            switch_s=lost_work([who])[0] / rate,
        )


def _may_move(job: JobRecord, began_us: int) -> bool:
    """Whether it has run since `began_us` or longer, and what it did can go on elsewhere."""
    spec, attempt = job.spec, job.attempt
    if spec.moves is Moves.NEVER or spec.checkpoint is None or spec.job_class is JobClass.PRODUCTION:
        return False
    return attempt is not None and attempt.started_us is not None and attempt.started_us <= began_us


def _beside(snapshot: Snapshot, row: OptionRow) -> list[JobRecord]:
    """Running jobs that hold what the option asks for: its accelerators in its cell (of several roles, on the first
    shelf); of very many, those of the fewest devices."""
    columns = snapshot.columns
    wanted = [use for use, _ in row.uses if use < snapshot.rows.capacity_rows]
    running = columns.in_state(JobState.RUNNING)
    running = running[columns.job("current")[running] != NONE]
    option = columns.job("first")[running] + columns.job("current")[running]
    here = np.isin(columns.uses.array["row"][columns.option("use_first")[option]], wanted)
    running, devices = running[here], columns.option("devices")[option[here]]
    few = np.argsort(devices, kind="stable")[:MOST_BESIDE]
    return [snapshot.jobs[number] for number in np.sort(running[few]).tolist()]


def _sooner_s(snapshot: Snapshot, seating: Seating, row: OptionRow, beside: Iterable[JobRecord], now_us: int) -> float:
    """Until enough of the running jobs have ended for the gang to find a place."""
    ends = sorted((_left_s(job, now_us), job.number) for job in beside)[:MOST_MOVABLE]
    room = seating.soon.room.fork()
    for left_s, number in ends:
        attempt = snapshot.jobs[number].attempt
        if attempt is not None and not seating.is_leaving(number):
            room.give(attempt.allocation.grants)
            if place(room, row.cell, row.demands) is not None:
                return left_s
    return ends[-1][0] if ends else 0.0


def _left_s(job: JobRecord, now_us: int) -> float:
    """By its declared work at the speed that it was seen to have, else by its limit."""
    attempt, found = job.attempt, UNKNOWN_S
    if attempt is None:
        return 0.0
    speed, amount = attempt.rate or attempt.allocation.rate, job.spec.work.amount
    if amount is not None and speed > 0:
        since_s = max(0, now_us - max(attempt.last_progress_us, attempt.allocated_us)) / US_PER_S
        found = max(0.0, (amount - attempt.done) / speed - since_s)
    if job.time_limit_us is not None:
        ran_us = now_us - (attempt.started_us or attempt.allocated_us) + job.ran_us
        found = min(found, max(0, job.time_limit_us - ran_us) / US_PER_S)
    return found
