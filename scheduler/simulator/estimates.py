"""How long a job will run, and how that is known: declared work, else its time limit and past, else a default."""

import statistics
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from scheduler.engine.records import JobRecord
from scheduler.model.jobs import Job
from scheduler.model.lifecycle import JobState
from scheduler.model.tenants import Tenants
from scheduler.model.units import US_PER_S

__all__ = ["Basis", "Estimate", "History", "estimate"]

DEFAULT_RUN_US = 3_600 * US_PER_S
"""For a job of which nobody knows anything."""

_LAST_RUNS = 5


class Basis(StrEnum):
    """What an estimate rests on."""

    DECLARED_WORK = "declared_work"
    LAST_RUNS = "last_runs"  # the median of the user's last runs of that name
    TIME_LIMIT = "time_limit"  # as a bound; the job may end earlier
    TENANT_DEFAULT = "tenant_default"
    NO_INFORMATION = "no_information"  # an hour
    ENDLESS = "endless"  # a service


class Estimate(Struct, frozen=True):
    """`run_us` of progress for a job that declares no work; None where work and rate tell, or it never ends."""

    basis: Basis
    run_us: int | None = None


class History:
    """Run times of successful jobs by tenant, user and name: an array's index and a trailing number do not count."""

    def __init__(self, jobs: Sequence[JobRecord]) -> None:
        self._runs: dict[tuple[str, str, str], list[int]] = {}
        for job in jobs:
            if job.state is JobState.SUCCEEDED and job.ran_us > 0:
                self._runs.setdefault(_key(job.spec, job.actor.user), []).append(job.ran_us)

    def median_us(self, job: Job, user: str) -> int | None:
        runs = self._runs.get(_key(job, user))
        return int(statistics.median(runs[-_LAST_RUNS:])) if runs else None


def estimate(job: Job, user: str, absolute: bool, tenants: Tenants, history: History | None = None) -> Estimate:
    """`absolute`: the rates of the job's options are in its unit per second, so that work over rate is a time."""
    if job.service is not None:
        return Estimate(Basis.ENDLESS)
    if job.work.amount is not None and absolute:
        return Estimate(Basis.DECLARED_WORK)
    past_us = history.median_us(job, user) if history else None
    if past_us is not None:
        bounded = past_us if job.time_limit_us is None else min(past_us, job.time_limit_us)
        return Estimate(Basis.LAST_RUNS, bounded)
    if job.time_limit_us is not None:
        return Estimate(Basis.TIME_LIMIT, job.time_limit_us)
    tenant = tenants.get(job.tenant)
    if tenant is not None and tenant.expected_run_us is not None:
        return Estimate(Basis.TENANT_DEFAULT, tenant.expected_run_us)
    return Estimate(Basis.NO_INFORMATION, DEFAULT_RUN_US)


def _key(job: Job, user: str) -> tuple[str, str, str]:
    return job.tenant, user, job.name.rstrip("0123456789").rstrip("-")
