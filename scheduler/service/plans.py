"""What would happen to a job: on a copy of a state, with the same engine that would decide. Pure but for its ids."""

from collections.abc import Iterator
from typing import Any, Final

from scheduler.engine import intake
from scheduler.engine.engine import Decision, Engine
from scheduler.engine.explain import explain, explain_spec
from scheduler.engine.image import decode, encode
from scheduler.engine.records import JobRecord
from scheduler.engine.state import State
from scheduler.errors import DeniedError, DualtrackError, InfeasibleError
from scheduler.model.allocations import Allocation
from scheduler.model.events import Actor, Allocated, Configured, EpochStarted, StopOrdered
from scheduler.model.jobs import Job
from scheduler.quota import UNLIMITED
from scheduler.service.changes import helpful_change
from scheduler.service.feed import iso
from scheduler.service.reports import option_name, options_view
from scheduler.service.views import View
from scheduler.simulator.forecast import Budget, JobForecast, forecast

__all__ = ["DENIED", "INFEASIBLE", "STARTS_NOW", "WAITS", "expected_of", "plan_on_empty", "plan_on_image"]

STARTS_NOW: Final = "starts_now"
WAITS: Final = "waits"
INFEASIBLE: Final = "infeasible"
DENIED: Final = "denied"

BUDGET: Final = Budget(events=100_000, cycles=10_000, wall_s=6.0)


def plan_on_empty(config: Configured, job: Job, actor: Actor, now_us: int) -> View:
    """The plan of a job on the fleet of a configuration, with nothing else on it."""
    state = State.new(config)
    Engine(state).fold(EpochStarted(1), now_us)
    return _plan(state, job, actor, now_us)


def plan_on_image(image: bytes, job: Job, actor: Actor, now_us: int) -> View:
    """The plan of a job on a copy of a live state. Raises what a submission would, but for infeasible and denied."""
    return _plan(decode(image), job, actor, now_us)


def expected_of(image: bytes, now_us: int) -> dict[int, tuple[int | None, int | None, str]]:
    """Start, finish and basis of every live job, by number."""
    found = forecast(decode(image), now_us, budget=BUDGET)
    return {told.job: (told.start_us, told.finish_us, str(told.basis)) for told in found.jobs}


def _plan(state: State, job: Job, actor: Actor, now_us: int) -> View:
    image = encode(state)
    found = _decided(state, job, actor, now_us)
    change = None if found["verdict"] == STARTS_NOW else helpful_change(image, job, actor, now_us)
    return {**found, "change": None if change is None else {"text": change.text, "starts_on": change.starts_on}}


def _decided(state: State, job: Job, actor: Actor, now_us: int) -> View:
    engine = Engine(state)
    number = len(state.jobs)
    try:
        events = intake.submission(state, job, actor, lambda: f"planned-{number}", now_us)
    except (InfeasibleError, DeniedError) as error:
        return _refused(state, job, actor, error, now_us)
    for event in events:
        engine.fold(event, now_us)
    decision = engine.decide(now_us)
    told = forecast(decode(encode(state)), now_us, budget=BUDGET).of(number)
    allocation = _allocation(decision, number)
    chosen = allocation.chosen if allocation else told.chosen if told else ()
    planned = state.jobs[number]
    return {
        **_head(job),
        "verdict": STARTS_NOW if allocation else WAITS,
        "exit_code": 0 if allocation else 3,
        "problem": "",
        "remedy": "",
        "chosen": option_name(chosen),
        "nodes": [state.config.cluster.node_name(grant.node) for grant in allocation.grants] if allocation else [],
        "options": options_view(explain(state, number, now_us), chosen),
        **_forecast_view(told, now_us),
        "victims": [_victim(state, event) for event in decision.events if isinstance(event, StopOrdered)],
        "quota": list(_quota(state, planned, decision, allocation)),
    }


def _head(job: Job) -> dict[str, Any]:
    members = job.array.last - job.array.first + 1 if job.array else 1
    return {"name": job.name, "tenant": job.tenant, "type": str(job.type), "class": str(job.job_class), "jobs": members}


def _refused(state: State, job: Job, actor: Actor, error: DualtrackError, now_us: int) -> View:
    record = JobRecord(number=len(state.jobs), id="planned", spec=job, actor=actor, submitted_us=now_us)
    return {
        **_head(job),
        "verdict": DENIED if isinstance(error, DeniedError) else INFEASIBLE,
        "exit_code": error.exit_code,
        "problem": error.problem,
        "remedy": error.remedy,
        "chosen": "",
        "nodes": [],
        "options": options_view(explain_spec(state, record, now_us)),
        **_forecast_view(None, now_us),
        "victims": [],
        "quota": [],
    }


def _allocation(decision: Decision, number: int) -> Allocation | None:
    return next((e.allocation for e in decision.events if isinstance(e, Allocated) and e.job == number), None)


def _forecast_view(told: JobForecast | None, now_us: int) -> View:
    if told is None:
        return dict.fromkeys(("start", "finish", "finish_low", "finish_high", "wait_s", "run_s", "basis", "cell"))
    run_us = None if told.start_us is None or told.finish_us is None else told.finish_us - told.start_us
    return {
        "start": iso(told.start_us),
        "finish": iso(told.finish_us),
        "finish_low": iso(told.finish_low_us),
        "finish_high": iso(told.finish_high_us),
        "wait_s": None if told.start_us is None else round(max(0, told.start_us - now_us) / 1e6, 3),
        "run_s": None if run_us is None else round(run_us / 1e6, 3),
        "basis": str(told.basis),
        "cell": told.cell,
    }


def _victim(state: State, event: StopOrdered) -> View:
    job = state.jobs[event.job]
    return {"id": job.id, "name": job.spec.name, "tenant": job.spec.tenant, "cause": str(event.cause)}


def _quota(state: State, job: JobRecord, decision: Decision, allocation: Allocation | None) -> Iterator[View]:
    """Limits that the start would use, from the tenant upwards; without a start, before and after are equal."""
    tree = state.tree
    uses = tree.uses(allocation.chosen, allocation.charge) if allocation else ()
    for level in tree.paths[state.tenant_of(job)]:
        for column, amount in uses:
            limit = int(tree.limit[level, column])
            if limit < UNLIMITED:
                used = int(state.ledger.used[level, column])
                yield {
                    "tenant": tree.names[level],
                    "resource": tree.resources[column],
                    "limit": limit,
                    "before": used,
                    "after": used + amount,
                }
