"""What would happen to a job, and why one waits: on a copy of a state, with the same engine that would decide."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from scheduler.engine import intake
from scheduler.engine.engine import Decision, Engine
from scheduler.engine.explain import OptionReport, explain, explain_spec
from scheduler.engine.image import decode, encode
from scheduler.engine.records import JobRecord
from scheduler.engine.state import State
from scheduler.errors import DeniedError, DualtrackError, InfeasibleError
from scheduler.model.allocations import Allocation
from scheduler.model.events import Actor, Allocated, Configured, EpochStarted, StopOrdered
from scheduler.model.jobs import Job
from scheduler.planning import (
    Asked,
    Outlook,
    PriceInterval,
    counterfactuals,
    outlook,
    outlooks,
    price_intervals,
    queue_position,
)
from scheduler.quota import UNLIMITED
from scheduler.service.changes import changes_view
from scheduler.service.feed import iso
from scheduler.service.reports import delivery_view, option_name, options_view
from scheduler.service.rule_views import rules_on
from scheduler.service.views import Expected, View, expected_view
from scheduler.simulator.forecast import Budget

__all__ = [
    "AFTER_DELIVERY",
    "DENIED",
    "INFEASIBLE",
    "STARTS_NOW",
    "WAITS",
    "expected_of",
    "plan_on_empty",
    "plan_on_image",
    "why_on_image",
]

STARTS_NOW: Final = "starts_now"
WAITS: Final = "waits"
AFTER_DELIVERY: Final = "after_delivery"
INFEASIBLE: Final = "infeasible"
DENIED: Final = "denied"

BUDGET: Final = Budget(events=100_000, cycles=10_000, wall_s=4.0)
CHANGES_WITHIN_S: Final = 8.0
"""With the three forecasts before it, so that an answer comes within the time limit of a forecast."""


def plan_on_empty(config: Configured, job: Job, actor: Actor, now_us: int) -> View:
    """The plan of a job on the fleet of a configuration, with nothing else on it."""
    state = State.new(config)
    Engine(state).fold(EpochStarted(1), now_us)
    return _plan(state, job, actor, now_us)


def plan_on_image(image: bytes, job: Job, actor: Actor, now_us: int) -> View:
    """The plan of a job on a copy of a live state. Raises what a submission would, but for infeasible and denied."""
    return _plan(decode(image), job, actor, now_us)


def expected_of(image: bytes, now_us: int) -> dict[int, Expected]:
    """Start and end of every live job with their bands, by number."""
    return {number: _expected(found) for number, found in outlooks(decode(image), now_us, BUDGET).items()}


def why_on_image(image: bytes, number: int, now_us: int) -> View:
    """Of a waiting job: its place in the queue, when it is expected to start, and what would start it sooner."""
    state = decode(image)
    found = outlook(state, number, now_us, BUDGET)
    place = queue_position(decode(image), number, now_us)
    changes = counterfactuals(image, Asked(number=number), now_us, stop=_after(CHANGES_WITHIN_S))
    return {
        "position": None if place is None else place[0],
        "waiting": None if place is None else place[1],
        "expected": None if found is None else expected_view(_expected(found)),
        "prices": [_price_view(price) for price in price_intervals(decode(image), number, now_us)],
        "rules": rules_on(state, state.jobs[number].spec.tenant, dict(state.prices), now_us),
        "changes": changes_view(state, changes, now_us),
        "all_changes_tried": changes.complete,
    }


def _expected(found: Outlook) -> Expected:
    return Expected(
        found.start_us,
        found.finish_us,
        str(found.basis),
        found.start_low_us,
        found.start_high_us,
        found.finish_low_us,
        found.finish_high_us,
    )


def _after(seconds: float) -> Callable[[], bool]:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline


def _plan(state: State, job: Job, actor: Actor, now_us: int) -> View:
    image = encode(state)
    found = _decided(state, job, actor, now_us)
    if found["verdict"] == STARTS_NOW:
        return {**found, "change": None, "changes": [], "all_changes_tried": True}
    changes = counterfactuals(image, Asked(job=job, actor=actor), now_us, stop=_after(CHANGES_WITHIN_S))
    view = changes_view(state, changes, now_us)
    return {**found, "change": view[0] if view else None, "changes": view, "all_changes_tried": changes.complete}


def _decided(state: State, job: Job, actor: Actor, now_us: int) -> View:
    engine = Engine(state)
    number = len(state.jobs)
    try:
        events = intake.submission(state, job, actor, lambda: f"planned-{number}", now_us)
    except (InfeasibleError, DeniedError) as error:
        return _refused(state, job, actor, error, now_us)
    for event in events:
        engine.fold(event, now_us)
    entered = encode(state)
    decision = engine.decide(now_us)
    found = outlook(decode(entered), number, now_us, BUDGET)
    place = queue_position(decode(entered), number, now_us)
    allocation = _allocation(decision, number)
    chosen = allocation.chosen if allocation else found.told.chosen if found else ()
    planned = state.jobs[number]
    return {
        **_head(job),
        "verdict": STARTS_NOW if allocation else WAITS,
        "exit_code": 0 if allocation else 3,
        "problem": "",
        "remedy": "",
        "chosen": option_name(chosen),
        "nodes": [state.config.cluster.node_name(grant.node) for grant in allocation.grants] if allocation else [],
        "position": None if place is None else place[0],
        "waiting": None if place is None else place[1],
        "options": options_view(explain(state, number, now_us), chosen),
        "prices": [_price_view(price) for price in price_intervals(decode(entered), number, now_us)],
        "delivery": None,
        **_forecast_view(found, now_us),
        "victims": [_victim(state, event) for event in decision.events if isinstance(event, StopOrdered)],
        "quota": list(_quota(state, planned, decision, allocation)),
        "rules": rules_on(state, planned.spec.tenant, dict(decision.plan.prices), now_us),
        "gap": decision.plan.gap,
    }


def _head(job: Job) -> dict[str, Any]:
    members = job.array.last - job.array.first + 1 if job.array else 1
    return {
        "name": job.name,
        "tenant": job.tenant,
        "type": str(job.type),
        "class": str(job.job_class),
        "jobs": members,
        "unit": "requests" if job.service is not None else str(job.work.unit),
        "formats": formats_view(job),
    }


def formats_view(job: Job) -> View:
    """Formats and engine that rates are modelled for; empty: not stated, which is half precision and an average
    engine."""
    formats, engine = job.work.numerics, job.work.engine
    return {
        "precision": formats.precision,
        "experts_precision": formats.experts,
        "kv_precision": formats.cache,
        "engine": str(engine),
        "runtime": engine.runtime,
    }


def _refused(state: State, job: Job, actor: Actor, error: DualtrackError, now_us: int) -> View:
    record = JobRecord(number=len(state.jobs), id="planned", spec=job, actor=actor, submitted_us=now_us)
    options = explain_spec(state, record, now_us)
    denied = isinstance(error, DeniedError)
    delivered = None if denied else _first_delivery(options)
    verdict = DENIED if denied else INFEASIBLE if delivered is None else AFTER_DELIVERY
    return {
        **_head(job),
        "verdict": verdict,
        "exit_code": 3 if delivered is not None else error.exit_code,
        "problem": error.problem,
        "remedy": error.remedy,
        "chosen": option_name(delivered.chosen) if delivered is not None else "",
        "nodes": [],
        "position": None,
        "waiting": None,
        "options": options_view(options),
        "prices": [],
        "delivery": None if delivered is None else delivery_view(delivered.delivery),
        **_forecast_view(None, now_us),
        "victims": [],
        "quota": [],
        "rules": [],
        "gap": None,
    }


def _first_delivery(options: Sequence[OptionReport]) -> OptionReport | None:
    """The option whose missing devices come first."""
    coming = [(report.delivery.expected_us, n) for n, report in enumerate(options) if report.delivery is not None]
    return options[min(coming)[1]] if coming else None


def _price_view(price: PriceInterval) -> View:
    return {"row": price.row, "price": price.price, "one_more": price.low, "one_less": price.high}


def _allocation(decision: Decision, number: int) -> Allocation | None:
    return next((e.allocation for e in decision.events if isinstance(e, Allocated) and e.job == number), None)


def _forecast_view(found: Outlook | None, now_us: int) -> View:
    if found is None:
        names = ("start", "start_low", "start_high", "finish", "finish_low", "finish_high", "wait_s", "run_s", "basis")
        return dict.fromkeys((*names, "cell"))
    start_us, finish_us = found.start_us, found.finish_us
    run_us = None if start_us is None or finish_us is None else finish_us - start_us
    return {
        "start": iso(start_us),
        "start_low": iso(found.start_low_us),
        "start_high": iso(found.start_high_us),
        "finish": iso(finish_us),
        "finish_low": iso(found.finish_low_us),
        "finish_high": iso(found.finish_high_us),
        "wait_s": None if start_us is None else round(max(0, start_us - now_us) / 1e6, 3),
        "run_s": None if run_us is None else round(run_us / 1e6, 3),
        "basis": str(found.basis),
        "cell": found.told.cell,
    }


def _victim(state: State, event: StopOrdered) -> View:
    job = state.jobs[event.job]
    return {"id": job.id, "name": job.spec.name, "tenant": job.spec.tenant, "cause": str(event.cause)}


def _quota(state: State, job: JobRecord, decision: Decision, allocation: Allocation | None) -> Iterator[View]:
    """Limits that the start would use, from the tenant upwards; without a start, before and after are equal."""
    tree = state.tree
    uses = tree.uses(allocation.chosen, allocation.charge, allocation.fen_per_hour or 0) if allocation else ()
    for level in tree.paths[state.tenant_of(job)]:
        for column, amount in uses:
            limit = int(tree.limit[level, column])
            if limit < UNLIMITED:
                used = int(state.ledger.used[level, column])
                yield {
                    "tenant": tree.names[level],
                    "resource": tree.resources[column],
                    "limit": tree.shown(column, limit),
                    "before": tree.shown(column, used),
                    "after": tree.shown(column, used + amount),
                }
