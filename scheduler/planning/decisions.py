"""A decision made again: the journal up to a record gives the state that the cycle saw, and the cycle is pure.

Nothing is stored for it but the history. The record of an allocation therefore costs nothing, and what it says of
prices, options and victims is what the engine did, not what somebody wrote down.
"""

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from scheduler.engine.apply import decisions
from scheduler.engine.carried import shadow_prices
from scheduler.engine.cycle import cycle
from scheduler.engine.engine import Engine
from scheduler.engine.explain import OptionReport, explain
from scheduler.engine.image import encode
from scheduler.engine.snapshot import take
from scheduler.engine.state import State
from scheduler.errors import NotFoundError
from scheduler.model.allocations import Allocation
from scheduler.model.events import (
    Allocated,
    AttemptEnded,
    CarriedOver,
    Configured,
    DependencyBroken,
    ReasonsChanged,
    Record,
    StopOrdered,
)
from scheduler.model.plan import Plan
from scheduler.model.rules import Mode
from scheduler.planning.market import worth_of

__all__ = ["DecisionTrace", "OptionWeighed", "decisions_of"]

DECIDED: Final = (StopOrdered, Allocated, ReasonsChanged, CarriedOver, DependencyBroken, AttemptEnded)
"""Kinds of events that a cycle may give rise to; ends come from executors as well."""


class OptionWeighed(Struct, frozen=True, kw_only=True):
    """An option as the cycle saw it, before any was found without room. `share` is its rate over the job's best one.

    `worth` is what the policy weighed it at and `paid` the shadow prices of all that it takes, both in the cell where
    most is left of the one after the other: the policy chooses by that. None and 0 under policies that weigh nothing,
    and None for an option that was not open. `chosen` where it was granted.
    """

    report: OptionReport
    share: float
    worth: float | None
    paid: float
    chosen: bool


class DecisionTrace(Struct, frozen=True, kw_only=True):
    """One allocation with what led to it. `inputs` is a digest of the state that the cycle saw, at `version`.

    `same`: made again, the cycle gave exactly the events on record. `together` counts the jobs that started in the same
    cycle, `victims` are jobs that were told to leave in it or before it for this one; `rules` are those that act.
    """

    seq: int
    time_us: int
    job: int
    attempt: int
    version: int
    inputs: str
    policy: str
    placement: str
    rounds: int
    allocation: Allocation
    prices: tuple[tuple[str, float], ...]
    options: tuple[OptionWeighed, ...]
    victims: tuple[int, ...]
    rules: tuple[str, ...]
    together: int
    same: bool


def decisions_of(
    records: Iterable[Record], state: State | None = None, seqs: Collection[int] | None = None
) -> Iterator[DecisionTrace]:
    """The allocations of a history, made again in order: all, or those of the records `seqs`.

    `records` are dense; they begin with the configuration, or follow `state`, which is changed.
    """
    engine = None if state is None else Engine(state)
    for run in _runs(records):
        if engine is None:
            engine = _begun(run[0])
            continue
        wanted = {r.seq for r in run if isinstance(r.event, Allocated) and (seqs is None or r.seq in seqs)}
        if wanted:
            yield from _made_again(engine, run, wanted)
            continue
        for record in run:
            engine.fold(record.event, record.time_us)


def _begun(first: Record) -> Engine:
    if not isinstance(first.event, Configured):
        raise NotFoundError(f"the history begins with record {first.seq}, not with a configuration")
    return Engine(State.new(first.event))


def _runs(records: Iterable[Record]) -> Iterator[list[Record]]:
    """What may be of one cycle together: decided events in a row, of one time. Other records stand alone."""
    run: list[Record] = []
    for record in records:
        if run and not (_follows(run[-1], record)):
            yield run
            run = []
        run.append(record)
    if run:
        yield run


def _follows(before: Record, record: Record) -> bool:
    decided = isinstance(record.event, DECIDED) and isinstance(before.event, DECIDED)
    return decided and record.time_us == before.time_us


def _made_again(engine: Engine, run: Sequence[Record], wanted: Collection[int]) -> Iterator[DecisionTrace]:
    """A run holds ends that executors told, then the events of a cycle, perhaps of several. A cycle begins where
    deciding gives the events that follow; an allocation that no cycle gives is told as one that is not the same."""
    at, state = 0, engine.state
    while at < len(run):
        now_us = run[at].time_us
        snapshot = take(state, now_us)
        plan = cycle(snapshot, now_us)
        events = decisions(state, plan)
        part = run[at : at + max(1, len(events))]
        same = bool(events) and tuple(record.event for record in part) == events
        if not same:
            part = run[at : at + 1]
        traces = [_trace(state, plan, record, part, same=same) for record in part if record.seq in wanted]
        for number in snapshot.due if same else ():
            state.touch(state.jobs[number], now_us)
        for record in part:
            engine.fold(record.event, record.time_us)
        yield from traces
        at += len(part)


def _trace(state: State, plan: Plan, record: Record, part: Sequence[Record], *, same: bool) -> DecisionTrace:
    event = record.event
    if not isinstance(event, Allocated):
        raise NotFoundError(f"record {record.seq} is no allocation")
    return DecisionTrace(
        seq=record.seq,
        time_us=record.time_us,
        job=event.job,
        attempt=event.attempt,
        version=plan.version,
        inputs=hashlib.sha256(encode(state)).hexdigest()[:16],
        policy=state.config.policy.name,
        placement=state.config.policy.placement,
        rounds=plan.rounds,
        allocation=event.allocation,
        prices=shadow_prices(plan.prices),
        options=tuple(_weighed(state, event, record.time_us)),
        victims=tuple(_victims(state, event.job, part)),
        rules=tuple(_acting(state)),
        together=sum(isinstance(other.event, Allocated) for other in part),
        same=same,
    )


def _weighed(state: State, event: Allocated, now_us: int) -> Iterator[OptionWeighed]:
    rows = state.rows_of[event.job].rows
    best = max((row.option.rate.value for row in rows), default=0.0)
    weighed = worth_of(state, event.job, now_us)
    for report in explain(state, event.job, now_us):
        mine = [pair for row, pair in zip(rows, weighed, strict=False) if row.option.chosen == report.chosen]
        worth, paid = max(mine, key=lambda pair: pair[0] - pair[1], default=(-math.inf, 0.0))
        yield OptionWeighed(
            report=report,
            share=report.rate.value / best if report.rate is not None and best > 0 else 0.0,
            worth=worth if math.isfinite(worth) else None,
            paid=paid,
            chosen=report.chosen == event.allocation.chosen,
        )


def _victims(state: State, number: int, part: Sequence[Record]) -> Iterator[int]:
    since_us = state.jobs[number].waiting_since_us
    for job in state.jobs:
        if any(attempt.stop_for == number and attempt.stop_us >= since_us for attempt in job.attempts):
            yield job.number
    for record in part:
        if isinstance(record.event, StopOrdered) and record.event.for_job == number:
            yield record.event.job


def _acting(state: State) -> Iterator[str]:
    """Rules that may hold or price a start."""
    rules = state.config.rules
    modes = [(share.id, share.mode) for share in rules.domestic_shares]
    modes += [(rule.id, rule.mode) for rule in rules.eligibility]
    yield from (id_ for id_, mode in modes if mode is not Mode.OBSERVE)
