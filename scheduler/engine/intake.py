"""What people ask for, checked against the state and made into events. Pure but for the ids that the shell draws."""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from scheduler.engine.options import JobRows
from scheduler.engine.records import JobRecord
from scheduler.engine.rulebook import RULED_OUT
from scheduler.engine.state import State
from scheduler.errors import (
    ConfigError,
    ConflictError,
    DeniedError,
    InfeasibleError,
    NotFoundError,
    OverloadedError,
)
from scheduler.model.cluster import NodeState
from scheduler.model.events import (
    ActionRequested,
    Actor,
    ArrayMember,
    Configured,
    JobAction,
    JobSubmitted,
    JobUpdated,
    NodeStateChanged,
    ResolvedDependency,
)
from scheduler.model.jobs import Job, Moves
from scheduler.model.lifecycle import JobState
from scheduler.model.reasons import Reason
from scheduler.model.tenants import COMPUTE_UNITS, MONEY, JobClass
from scheduler.model.units import US_PER_S, WHOLE_DEVICE
from scheduler.quota.installed import entering_refused
from scheduler.quota.ledger import Ledger, Shortage

__all__ = [
    "action",
    "check_deadline",
    "check_feasible",
    "configured",
    "existing_for_key",
    "node_state",
    "submission",
    "updated",
    "within_time_limit",
]

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Job)

MAX_ACTIVE_JOBS = 200_000
"""Jobs that have not ended; past this a submission is told to come back later."""


def submission(
    state: State,
    spec: Job,
    actor: Actor,
    job_id_source: Callable[[], str],
    now_us: int,
    key: str = "",
    digest: str = "",
) -> tuple[JobSubmitted, ...]:
    """The events that accept `spec`: one, or one per member of an array; none for a repeated key with the same body.

    Raises InfeasibleError (the fleet can never run it), DeniedError (its quota can never admit it), ConflictError (the
    name is taken by a live job, or the key by another body), NotFoundError (tenant or dependency), OverloadedError,
    ConfigError (its deadline has passed).
    """
    known = existing_for_key(state, actor, key) if key else ()
    if known:
        if state.jobs[known[0]].digest != digest:
            raise ConflictError(f"submission key `{key}` was used for another job", "use a new key for a new body")
        return ()
    spec = _DECODER.decode(_ENCODER.encode(spec))  # as replay will read it, to the byte
    _check_tenant(state, spec)
    check_deadline(spec.deadline_us, now_us)
    spec = within_time_limit(state, spec)
    _check_load(state, spec, actor)
    taken = state.live_named(spec.tenant, spec.name)
    if taken is not None:
        raise ConflictError(
            f"`{spec.name}` is the name of a job of `{spec.tenant}` that has not ended ({taken.id})",
            "choose another name, or cancel it first",
        )
    check_feasible(state, spec, actor.user)
    after = tuple(_resolved(state, spec))
    first = len(state.jobs)
    indexes = range(spec.array.first, spec.array.last + 1) if spec.array else (None,)
    return tuple(
        JobSubmitted(
            job=first + offset,
            id=job_id_source(),
            spec=spec,
            actor=actor,
            key=key,
            digest=digest,
            array=None if index is None else ArrayMember(first, index),
            after=after,
        )
        for offset, index in enumerate(indexes)
    )


def existing_for_key(state: State, actor: Actor, key: str) -> tuple[int, ...]:
    """Jobs that this actor submitted under `key`, by number."""
    return tuple(state.keys.get((actor.tenant, actor.user, key), ()))


def check_feasible(state: State, spec: Job, user: str) -> JobRows:
    """The job's options. Raises InfeasibleError or DeniedError if it has none that could ever start."""
    tenant = state.tree.index[spec.tenant]
    rows = state.rows.of_job(spec, tenant, user)
    if not rows.rows:
        reasons = tuple(reason for _, reason in rows.excluded)
        if reasons and all(reason.code in RULED_OUT for reason in reasons):
            rules = ", ".join(dict.fromkeys(f"`{reason.who}`" for reason in reasons))
            problem = f"the rules {rules} never let `{spec.name}` run: {_listed(reasons)}"
            raise DeniedError(problem, "correct its labels, name another accelerator, or ask the operator")
        raise InfeasibleError(f"`{spec.name}` can never run on this fleet: {_listed(reasons)}", _advice(state))
    if state.tree.lends_all and any(state.rows.admits_alone(row) for row in rows.rows):
        return rows
    empty = Ledger(state.tree)
    shortages = [
        empty.shortages(tenant, user, row.option.chosen, row.option.charge, spec.job_class) for row in rows.rows
    ]
    if all(shortages):
        text = "; ".join(dict.fromkeys(_short(found[0]) for found in shortages))
        raise DeniedError(
            f"`{spec.name}` can never be admitted: {text}", "ask for fewer devices, another accelerator or more quota"
        )
    return rows


def _listed(reasons: tuple[Reason, ...]) -> str:
    if not reasons:
        return "it names no options and its model fits no accelerator of the fleet"
    parts = []
    for r in dict.fromkeys(reasons):
        amounts = (
            f" (needs {r.need}, at most {r.have})" if r.need and r.have else f" ({r.need} asked)" if r.need else ""
        )
        parts.append(f"{r.accelerator or 'any'}: {r.code.value.replace('_', ' ')}{amounts}")
    return "; ".join(parts)


def _short(shortage: Shortage) -> str:
    tenant = f"`{shortage.tenant}`" if shortage.tenant else "the whole fleet"
    tenant = f"production of {tenant}" if shortage.tier is JobClass.PRODUCTION else tenant
    if shortage.user:
        return f"one user of {tenant} may hold {shortage.limit} devices, and it needs {shortage.need}"
    if shortage.resource == MONEY:
        most, need = (f"{fen / 100:,.2f}" for fen in (shortage.limit, shortage.need))
        return f"{tenant} may spend {most} CNY an hour, and it needs {need}"
    if shortage.resource == COMPUTE_UNITS:
        most, need = (f"{units / WHOLE_DEVICE:g}" for units in (shortage.limit, shortage.need))
        return f"{tenant} may hold {most} compute units, and it needs {need}"
    return f"{tenant} may hold {shortage.limit} of {shortage.resource}, and it needs {shortage.need}"


def _advice(state: State) -> str:
    present = ", ".join(sorted(state.fleet.present))
    return f"the fleet has {present}" if present else "the fleet has no devices"


def within_time_limit(state: State, spec: Job) -> Job:
    """The job with the time limit of its tenant, or of the nearest one above that has one, if it asks for no less."""
    _, limit_us = _time_limit(state, state.tree.index[spec.tenant])
    if limit_us is None or (spec.time_limit_us is not None and spec.time_limit_us <= limit_us):
        return spec
    return msgspec.structs.replace(spec, time_limit_us=limit_us)


def _time_limit(state: State, tenant: int) -> tuple[str, int | None]:
    """The limit that binds the jobs of a tenant, in microseconds, and whose it is."""
    for level in state.tree.paths[tenant][:-1]:  # the root has none
        name = state.tree.names[level]
        limit_us = state.tenant_named(name).time_limit_us
        if limit_us is not None:
            return name, limit_us
    return "", None


def check_deadline(deadline_us: int | None, now_us: int) -> None:
    """Raises ConfigError for one that has passed."""
    if deadline_us is not None and deadline_us <= now_us:
        raise ConfigError("the deadline lies in the past", "move it, or leave it out", path="deadline")


def updated(state: State, job: JobRecord, wanted: JobUpdated, now_us: int) -> JobUpdated:
    """Raises ConflictError where the job has ended or cannot move so far, DeniedError for a time limit beyond that of
    its tenant, ConfigError for a deadline that has passed."""
    if job.terminal:
        raise ConflictError(f"job {job.id} has ended", "submit it again instead")
    checkpoint = job.spec.checkpoint
    if wanted.moves is Moves.ANY and not (checkpoint and checkpoint.portable):
        raise ConflictError(f"job {job.id} has no portable checkpoint", "allow moves within its family instead")
    check_deadline(wanted.deadline_us, now_us)
    tenant, most_us = _time_limit(state, state.tenant_of(job))
    if wanted.time_limit_us is not None and most_us is not None and wanted.time_limit_us > most_us:
        allowed, asked = (f"{us / US_PER_S:,.10g} s" for us in (most_us, wanted.time_limit_us))
        problem = f"`{tenant}` lets its jobs run for at most {allowed}, not {asked}"
        raise DeniedError(problem, "ask for no more, or have the tenant's time limit raised")
    return wanted


def _check_tenant(state: State, spec: Job) -> None:
    if spec.tenant not in state.tree.index:
        known = ", ".join(sorted(name for name in state.tree.names if name)) or "none"
        raise NotFoundError(f"there is no tenant `{spec.tenant}`", f"the tenants are: {known}")


def _check_load(state: State, spec: Job, actor: Actor) -> None:
    members = spec.array.last - spec.array.first + 1 if spec.array else 1
    if len(state.rows_of) + members > MAX_ACTIVE_JOBS:
        raise OverloadedError(f"{len(state.rows_of)} jobs have not ended, the limit is {MAX_ACTIVE_JOBS}", "try later")
    for level in state.tree.paths[state.tree.index[spec.tenant]][:-1]:  # the root has no limit
        tenant = state.tenant_named(state.tree.names[level])
        limit = tenant.per_user.max_waiting_jobs
        own = state.waiting_jobs(tenant.name, actor.user) if limit is not None else 0
        if limit is not None and own + members > limit:
            more = f" and would have {own + members}" if members > 1 else ""
            problem = f"`{actor.user}` has {own} waiting jobs in `{tenant.name}`{more}, the limit is {limit}"
            raise OverloadedError(problem, "wait until some have started, or cancel some")


def _resolved(state: State, spec: Job) -> Iterator[ResolvedDependency]:
    """Dependencies by number: a name means the newest job of that name in the tenant, an array all its members."""
    for dependency in spec.after:
        number = state.by_id.get(dependency.job, state.names.get((spec.tenant, dependency.job)))
        if number is None:
            raise NotFoundError(f"`{spec.name}` comes after `{dependency.job}`, which is no job of `{spec.tenant}`")
        array = state.jobs[number].spec.array
        is_head = array is not None and dependency.job == state.jobs[number].spec.name
        members = array.last - array.first + 1 if array is not None and is_head else 1
        for offset in range(members):
            yield ResolvedDependency(number + offset, dependency.on)


_APPLIES = {
    JobAction.CANCEL: frozenset(JobState) - {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED},
    JobAction.SUSPEND: frozenset({JobState.WAITING, JobState.STARTING, JobState.RUNNING, JobState.STOPPING}),
    JobAction.RESUME: frozenset({JobState.SUSPENDED}),
    JobAction.REQUEUE: frozenset({JobState.STARTING, JobState.RUNNING}),
}


def action(state: State, job: JobRecord, what: JobAction, actor: Actor) -> ActionRequested:
    """Raises ConflictError where the action means nothing in the job's state."""
    if job.state not in _APPLIES[what]:
        raise ConflictError(f"job {job.id} is {job.state.value} and cannot be told to {what.value}")
    return ActionRequested(job.number, what, actor)


def node_state(state: State, node: str, wanted: NodeState, actor: Actor, why: str = "") -> NodeStateChanged:
    """Raises NotFoundError for a node that the fleet does not have."""
    index = state.fleet.cluster.node_index(node)
    if index is None:
        raise NotFoundError(f"there is no node `{node}`", "`dualtrack fleet` lists them")
    return NodeStateChanged(index, wanted, actor, why)


def configured(state: State, config: Configured) -> Configured:
    """Raises ConflictError if live attempts hold an accelerator or a cell that `config` no longer has, or if a rule on
    what is installed refuses the devices that would enter service."""
    names = set(config.catalog.names)
    cells = {cell.name for cell in config.cluster.cells}
    for job in state.holding():
        attempt = job.attempt
        if attempt is None:
            continue
        missing = [c.accelerator for c in attempt.allocation.chosen if c.accelerator not in names]
        if missing or attempt.cell not in cells:
            gone = f"accelerator `{missing[0]}`" if missing else f"cell `{attempt.cell}`"
            raise ConflictError(f"job {job.id} runs on {gone}, which is not there any more", "drain it first")
    refused = entering_refused(state.config.cluster, config.cluster, config.rules, config.catalog)
    if refused:
        raise ConflictError(refused, "bring domestic devices into service first, or let the rule observe")
    return msgspec.structs.replace(config)
