"""Jobs as people and programs see them: plain values, seconds and ISO dates."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from scheduler.engine.records import Attempt, JobRecord
from scheduler.engine.state import State
from scheduler.model.allocations import Allocation
from scheduler.model.lifecycle import JobState
from scheduler.model.reasons import Reason
from scheduler.model.units import to_s
from scheduler.service.feed import iso

__all__ = [
    "attempt_view",
    "Expected",
    "expected_view",
    "first_start_us",
    "holdings",
    "is_emulated",
    "job_view",
    "matches",
    "nodes_of",
    "progress_view",
    "ran_us",
    "reason_view",
    "summary_view",
    "View",
    "waited_us",
]

View = dict[str, Any]


class Expected(Struct, frozen=True):
    """A forecast of one job: microseconds since the Unix epoch with their bands, and what the run time rests on."""

    start_us: int | None
    finish_us: int | None
    basis: str = ""
    start_low_us: int | None = None
    start_high_us: int | None = None
    finish_low_us: int | None = None
    finish_high_us: int | None = None


def reason_view(reason: Reason | None) -> View | None:
    if reason is None:
        return None
    view: View = {"code": str(reason.code)}
    for name in ("accelerator", "who", "resource"):
        if getattr(reason, name):
            view[name] = getattr(reason, name)
    if reason.need or reason.have:
        view["need"], view["have"] = reason.need, reason.have
    if reason.limit or reason.used:
        view["limit"], view["used"] = reason.limit, reason.used
    if reason.tenant:
        view["tenant"] = reason.tenant
    if reason.until_us:
        view["until"] = iso(reason.until_us)
    return view


def summary_view(state: State, job: JobRecord, now_us: int, expected: Expected | None = None) -> View:
    """One job as a list shows it."""
    attempt = job.attempt
    spec = job.spec
    return {
        "id": job.id,
        "name": spec.name,
        "tenant": spec.tenant,
        "user": job.actor.user,
        "type": str(spec.type),
        "class": str(spec.job_class),
        "priority": job.priority,
        "state": str(job.state),
        "reason": reason_view(job.reason) if job.state is JobState.WAITING else None,
        "holds": holdings(state, attempt.allocation) if attempt else [],
        "asks": [{"role": role.name, "options": [[o.accelerator, list(o.counts)] for o in role.resources.options]}
                 for role in spec.roles],
        "emulated": bool(attempt and is_emulated(state, attempt.allocation)),
        "attempts": len(job.attempts),
        "progress": progress_view(job),
        "submitted": iso(job.submitted_us),
        "started": iso(first_start_us(job)),
        "ended": iso(job.ended_us),
        "wait_s": round(to_s(waited_us(job, now_us)), 3),
        "run_s": round(to_s(ran_us(job, now_us)), 3),
        "exit_code": job.exit_code if job.ended_us is not None else None,
        "expected": None if job.terminal else expected_view(expected),
        "labels": dict(spec.labels),
    }  # fmt: skip


def job_view(state: State, job: JobRecord, now_us: int, expected: Expected | None = None) -> View:
    """One job with everything that is known of it; `spec` is the job as it was accepted."""
    head = None if job.array is None else {"head": state.jobs[job.array.head].id, "index": job.array.index}
    return {
        **summary_view(state, job, now_us, expected),
        "attempts": [attempt_view(state, job, attempt, now_us) for attempt in job.attempts],
        "detail": job.detail,
        "retries_used": job.retries_used,
        "time_limit_s": None if job.time_limit_us is None else to_s(job.time_limit_us),
        "deadline": iso(job.deadline_us),
        "array": head,
        "after": [{"job": state.jobs[d.job].id, "on": str(d.on)} for d in job.after],
        "spec": msgspec.to_builtins(job.spec),
    }


def attempt_view(state: State, job: JobRecord, attempt: Attempt, now_us: int) -> View:
    end_us = attempt.ended_us
    ran = 0 if attempt.started_us is None else (end_us if end_us is not None else now_us) - attempt.started_us
    return {
        "n": attempt.n,
        "epoch": attempt.epoch,
        "cell": attempt.cell,
        "holds": holdings(state, attempt.allocation),
        "nodes": nodes_of(state, attempt.allocation),
        "emulated": is_emulated(state, attempt.allocation),
        "allocated": iso(attempt.allocated_us),
        "started": iso(attempt.started_us),
        "ended": iso(end_us),
        "run_s": round(to_s(ran), 3),
        "how": attempt.how and str(attempt.how),
        "stop": attempt.stop and str(attempt.stop),
        "for": state.jobs[attempt.stop_for].id if attempt.stop_for >= 0 else "",
        "exit_code": attempt.exit_code if end_us is not None else None,
        "detail": attempt.detail,
        "done": attempt.done,
        "saved": attempt.saved,
        "rate": attempt.rate,
        "forecast_rate": attempt.allocation.rate,
        "first_loss": attempt.first_loss,
        "loss": attempt.loss,
        "overruns": attempt.overruns,
        "endpoints": list(attempt.endpoints),
    }


def holdings(state: State, allocation: Allocation) -> list[View]:
    """What is held, one entry per role and accelerator."""
    return [{"accelerator": part.accelerator, "count": part.count} for part in allocation.chosen]


def nodes_of(state: State, allocation: Allocation) -> list[View]:
    """The granted devices of each node, by index; of nodes that the fleet still has."""
    known = len(state.fleet.pool)
    return [
        {
            "node": state.config.cluster.node_name(grant.node) if grant.node < known else f"#{grant.node}",
            "role": grant.role,
            "devices": [bit for bit in range(grant.devices.bit_length()) if grant.devices >> bit & 1],
        }
        for grant in allocation.grants
    ]


def is_emulated(state: State, allocation: Allocation) -> bool:
    known = len(state.fleet.pool)
    return any(state.fleet.pools[state.fleet.pool[g.node]].emulated for g in allocation.grants if g.node < known)


def progress_view(job: JobRecord) -> View:
    """Work done, in the workload's unit; `ratio` from 0 to 1 where the whole is known."""
    last = job.attempts[-1] if job.attempts else None
    done = max(job.done, last.done) if last and last.ended_us is None else job.done
    if job.state is JobState.SUCCEEDED and last:
        done = max(done, last.done)
    total = job.spec.work.amount
    return {
        "done": done,
        "total": total,
        "unit": str(job.spec.work.unit),
        "ratio": min(1.0, done / total) if total else None,
        "rate": last.rate if last else 0.0,
        "loss": last.loss if last else None,
    }


def first_start_us(job: JobRecord) -> int | None:
    return next((a.started_us for a in job.attempts if a.started_us is not None), None)


def waited_us(job: JobRecord, now_us: int) -> int:
    """Time spent waiting so far, over all waits."""
    return job.waited_us + (max(0, now_us - job.waiting_since_us) if job.state is JobState.WAITING else 0)


def ran_us(job: JobRecord, now_us: int) -> int:
    """Time spent running so far, over all attempts."""
    spans = ((a.started_us, a.ended_us) for a in job.attempts)
    return sum((now_us if end is None else end) - start for start, end in spans if start is not None)


def expected_view(expected: Expected | None) -> View | None:
    if expected is None:
        return None
    return {
        "start": iso(expected.start_us),
        "start_low": iso(expected.start_low_us),
        "start_high": iso(expected.start_high_us),
        "finish": iso(expected.finish_us),
        "finish_low": iso(expected.finish_low_us),
        "finish_high": iso(expected.finish_high_us),
        "basis": expected.basis,
    }


def matches(view: Mapping[str, Any], labels: Sequence[str]) -> bool:
    """Whether the labels of a view hold every `key=value` (or bare `key`) that is asked for."""
    held = view["labels"]
    for wanted in labels:
        key, equals, value = wanted.partition("=")
        if key not in held or (equals and held[key] != value):
            return False
    return True
