"""What placement is asked for a job, given what befell it, and what jobs asked for lately."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Final, Protocol

import msgspec

from scheduler.engine.options import JobRows
from scheduler.engine.records import Attempt, JobRecord
from scheduler.model.lifecycle import AttemptEnd, StopCause
from scheduler.placement.feasibility import Demand

__all__ = ["demands_now", "recent_demands"]

RECENT_JOBS: Final = 1000
"""So many of the latest jobs tell what will come; the target workload of `fgd`."""

REMEMBERED_FAILURES: Final = 3
"""Of so many attempts in a row that failed, the nodes are avoided."""

_FAULTS: Final = frozenset({None, StopCause.HUNG, StopCause.START_TIMEOUT, StopCause.NODE_DOWN})
"""Stops that speak against the nodes; the others were our choice or the user's."""


class Jobs(Protocol):
    """The part of a snapshot that tells what jobs ask for."""

    @property
    def jobs(self) -> Sequence[JobRecord]: ...

    @property
    def rows_of(self) -> Mapping[int, JobRows]: ...


def demands_now(job: JobRecord, demands: tuple[Demand, ...]) -> tuple[Demand, ...]:
    """A job avoids the nodes on which it failed last; one that lost a node may take those kept as spares."""
    if not job.attempts or not _failed(job.attempts[-1]):
        return demands
    failures = list(takewhile(_failed, reversed(job.attempts[-REMEMBERED_FAILURES:])))
    nodes = tuple(sorted({grant.node for attempt in failures for grant in attempt.allocation.grants}))
    last = failures[0]
    replaces = last.stop is StopCause.NODE_DOWN or last.how is AttemptEnd.LOST
    return tuple(msgspec.structs.replace(demand, avoid=nodes, replaces=replaces) for demand in demands)


def _failed(attempt: Attempt) -> bool:
    return attempt.ended_us is not None and attempt.stop in _FAULTS


def recent_demands(jobs: Jobs) -> Iterator[Demand]:
    """What the latest jobs ask for, or got where they have ended: every choice of each."""
    for job in jobs.jobs[-RECENT_JOBS:]:
        rows = jobs.rows_of.get(job.number)
        if rows is not None:
            yield from {demand: None for row in rows.rows for demand in row.demands}
        elif job.attempts:
            for role, chosen in enumerate(job.attempts[-1].allocation.chosen):
                yield Demand(
                    role=role, accelerator=chosen.accelerator, count=chosen.count, thousandths=chosen.thousandths
                )
