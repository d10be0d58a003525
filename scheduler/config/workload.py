"""Workload files: jobs with their times of arrival."""

from pathlib import Path
from typing import Final

from scheduler.config.cluster import known_accelerator
from scheduler.config.cursor import Cursor
from scheduler.config.document import from_values, open_one
from scheduler.config.job import job_of
from scheduler.config.values import date, duration, name, user_name
from scheduler.model.accelerators import Catalog
from scheduler.model.workload import Arrival, Truth, Workload

__all__ = ["decode_workload", "load_workload", "workload_of"]

MAX_ARRIVALS: Final = 200_000


def load_workload(path: str | Path, catalog: Catalog | None = None) -> Workload:
    """Arrivals in order of time, and as listed within the same moment."""
    return workload_of(open_one(path, "workload"), catalog)


def decode_workload(values: object, source: str, catalog: Catalog | None = None) -> Workload:
    return workload_of(from_values(values, source, "workload"), catalog)


def workload_of(cursor: Cursor, catalog: Catalog | None) -> Workload:
    fields = cursor.fields("schema", "kind", "name", "start", "jobs")
    start = fields.get("start")
    arrivals = [_arrival(item, catalog) for item in fields["jobs"].items(MAX_ARRIVALS)]
    arrivals.sort(key=lambda arrival: arrival.at_us)
    return Workload(name=name(fields["name"]), arrivals=tuple(arrivals), start_us=date(start) if start else 0)


def _arrival(cursor: Cursor, catalog: Catalog | None) -> Arrival:
    fields = cursor.fields("at", "user", "job", "truth")
    at, user, truth = fields.get("at"), fields.get("user"), fields.get("truth")
    return Arrival(
        at_us=duration(at) if at else 0,
        job=job_of(fields["job"], catalog),
        user=user_name(user) if user else "",
        truth=_truth(truth, catalog) if truth else Truth(),
    )


def _truth(cursor: Cursor, catalog: Catalog | None) -> Truth:
    fields = cursor.fields("rate_factor", "fails_at", "run", "amount")
    factors, fails, run = fields.get("rate_factor"), fields.get("fails_at"), fields.get("run")
    amount = fields.get("amount")
    made: dict[str, float] = {}
    for key, item in factors.pairs() if factors else ():
        known_accelerator(item.key_as_value(key), catalog)
        made[key] = item.number(0, 1e6, above=True)
    return Truth(
        rate_factor=made,
        fails_at=fails.number(0, 1) if fails else None,
        run_us=duration(run) if run else None,
        amount=amount.number(0, 1e30, above=True) if amount else None,
    )
