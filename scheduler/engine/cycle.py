"""One cycle: from a snapshot to a plan. Pure: equal snapshots and times give equal plans, byte for byte.

Policies choose, placement places; a choice that finds no room is masked and the policy chooses again, at most four
times; then what is still without a place takes any of its options that fits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.between import Between, at_standing_prices, lacks, prices_between, prices_whole, since_whole
from scheduler.engine.carried import CARRY
from scheduler.engine.deadlines import overdue
from scheduler.engine.problem import Candidates, build, candidates
from scheduler.engine.reasons import key_of
from scheduler.engine.rounds import is_turn, with_turn
from scheduler.engine.ruled import Ruled, apply_rules
from scheduler.engine.seating import FIRST, Seating
from scheduler.engine.shifting import make_room
from scheduler.engine.snapshot import Snapshot
from scheduler.engine.sparing import without_needless_moves
from scheduler.engine.standing import reasons_known, reasons_stand
from scheduler.engine.waiting import limits_left, reason_for
from scheduler.model.cluster import NodeState
from scheduler.model.lifecycle import JobState, StopCause
from scheduler.model.plan import Plan, PlannedStop
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.placement.room import NODE_STATES
from scheduler.policies import NONE, POLICIES, Choice, Policy, Problem, keep

__all__ = ["cycle"]

MAX_ROUNDS: Final = 4

WORTH_FINDING_AT_ONCE: Final = 32
"""For fewer jobs reasons are looked up one by one, which costs less."""


def cycle(snapshot: Snapshot, now_us: int) -> Plan:
    """What should change now, and why each waiting job waits."""
    stops, lost = _forced(snapshot, now_us)
    who = candidates(snapshot, now_us)
    leaving = {stop.job for stop in stops} | set(lost)
    who = _without(who, leaving)
    returning = _returning(snapshot, who)
    numbers = np.sort(np.concatenate((who.running, who.waiting, returning)))
    between = since_whole(snapshot, who, returning, now_us)
    found = _settled(snapshot, who, leaving, numbers, between, now_us)
    lack = found.lack
    if between is not None:
        lack += between.lack
        if lack + between.freed > between.most_lack:
            between, found = None, _settled(snapshot, who, leaving, numbers, None, now_us)
            lack = found.lack
    choice, seating = found.choice, found.seating
    awaited = {*seating.pending, *seating.moving, *returning.tolist()}
    carried = with_turn(snapshot, found.problem, choice, awaited, now_us)
    carry = {name: value for name, value in carried.items() if not name.startswith(FIRST)}
    carry |= {f"{FIRST}{number}": float(place) for number, place in seating.firsts.items() if number in seating.pending}
    if between is not None:
        prices, may_lack, bound = prices_between(snapshot, lack), lack + between.freed, between.bound
    else:
        prices = (*_prices(snapshot, found.ruled, choice), *prices_whole(snapshot, len(numbers), choice, lack, now_us))
        may_lack, bound = lack, choice.certificate.bound if choice.certificate else 0.0
    return Plan(
        version=snapshot.version,
        now_us=now_us,
        stops=tuple(stops) + seating.stops(),
        starts=tuple(seating.starts),
        lost=tuple(lost),
        broken=who.broken,
        reasons=tuple(_changed(snapshot, _reasons(snapshot, who, found, between, now_us))),
        prices=tuple(sorted((*prices, *((CARRY + name, value) for name, value in carry.items())))),
        wake_us=snapshot.next_alarm_us,
        rounds=found.rounds,
        whole=between is None,
        gap=None if choice.certificate is None else float(may_lack / bound) if bound > 0 else 0.0,
        choice_gap=choice.certificate.gap if choice.certificate and between is None else None,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What choice and placement agreed on. The value of what is seated may be below the bound by `lack`."""

    problem: Problem
    ruled: Ruled
    choice: Choice
    seating: Seating
    rounds: int
    lack: float


def _settled(
    snapshot: Snapshot,
    who: Candidates,
    leaving: set[int],
    numbers: NDArray[np.int64],
    between: Between | None,
    now_us: int,
) -> _Found:
    """The policy chooses and placement places until they agree: for newcomers alone, or for all `numbers`."""
    choose = POLICIES[snapshot.config.policy.name] if is_turn(snapshot, now_us) else keep
    masked: set[tuple[int, int]] = set()
    rounds = 0
    while True:
        rounds += 1
        if between is None:
            problem = build(snapshot, who, numbers, masked, now_us)
            ruled = apply_rules(snapshot, problem, now_us)
        else:
            problem = between.problem(snapshot, who, masked, now_us)
            ruled = apply_rules(snapshot, problem, now_us, between.multipliers(snapshot))
        choice = without_needless_moves(snapshot, problem, choose(ruled.problem))
        seating = Seating(snapshot, who, leaving, now_us)
        homeless = seating.seat(problem, choice)
        masked |= homeless
        alone = choice.certificate is not None and len(numbers) >= snapshot.config.policy.many_jobs
        if not homeless or rounds == MAX_ROUNDS or alone:
            break
    option = choice.option
    if homeless and alone and rounds < MAX_ROUNDS:
        option, homeless, asked = _asked_again(ruled.problem, choice, seating, choose, masked)
        rounds += asked
    if homeless:
        seating.seat_greedily(ruled.strict(), {number for number, _ in homeless})
    if between is None:
        make_room(snapshot, seating, masked, now_us)
    lack = lacks(problem, choice, option, seating)
    return _Found(problem, ruled, replace(choice, option=option), seating, rounds, lack)


def _asked_again(
    whole: Problem, first: Choice, seating: Seating, choose: Policy, masked: set[tuple[int, int]]
) -> tuple[NDArray[np.int64], set[tuple[int, int]], int]:
    """Where jobs are many, those of `masked` choose again at the prices that were found, as long as some find no place;
    the others do not. The options of all, who has found none, and how often they were asked.

    `masked` grows by what found no place.
    """
    option, shut = first.option.copy(), whole.open.copy()
    homeless, asked = set(masked), 0
    while homeless and asked < MAX_ROUNDS - 1:
        asked += 1
        places = dict(homeless)
        jobs = np.flatnonzero(np.isin(whole.number, list(places)))
        shut[whole.ptr[jobs] + [places[n] for n in whole.number[jobs].tolist()]] = False
        option[jobs] = NONE
        part = at_standing_prices(replace(whole, open=shut), first, option, jobs)
        again = choose(part)
        option[jobs] = np.where(again.option == NONE, NONE, again.option - part.ptr[:-1] + whole.ptr[jobs])
        homeless = seating.seat(part, again)
        masked |= homeless
    return option, homeless, asked


def _returning(snapshot: Snapshot, who: Candidates) -> NDArray[np.int64]:
    """Jobs on their way to other devices: the place that they move to is kept for them while they stop."""
    stops = {number: snapshot.jobs[number].attempt for number in who.stopping.tolist()}
    found = [number for number, attempt in stops.items() if attempt and attempt.stop is StopCause.RESIZE]
    return np.array(found, dtype=np.int64)


def _without(who: Candidates, leaving: set[int]) -> Candidates:
    if not leaving:
        return who
    gone = np.array(sorted(leaving), dtype=np.int64)
    stays = ~np.isin(who.running, gone)
    stopping = np.union1d(who.stopping, who.running[~stays])
    return Candidates(who.waiting, who.running[stays], stopping, who.fixed, who.held_back, who.broken)


def _forced(snapshot: Snapshot, now_us: int) -> tuple[list[PlannedStop], list[int]]:
    """Stops that no policy decides: limits, hung attempts, nodes that drain or are down; and attempts past hope."""
    policy = snapshot.config.policy
    stops: dict[int, PlannedStop] = {}
    lost: list[int] = []
    for number in snapshot.due:
        job = snapshot.jobs[number]
        cause = overdue(job, policy, now_us)
        if cause is None:
            continue
        if job.state is JobState.STOPPING and _out_of_reach(snapshot, number):
            lost.append(number)
        else:
            patient = job.state is JobState.RUNNING and cause is StopCause.TIME_LIMIT
            stops[number] = PlannedStop(number, cause, now_us + (policy.notice_min_us if patient else 0))
    for stop in _leaving_nodes(snapshot, now_us):
        stops.setdefault(stop.job, stop)
    return [stops[number] for number in sorted(stops)], lost


def _out_of_reach(snapshot: Snapshot, number: int) -> bool:
    """True where no executor can tell any more: a node of the attempt is down, or its cell does not answer."""
    attempt = snapshot.jobs[number].attempt
    nodes = {grant.node for grant in attempt.allocation.grants} if attempt else set()
    room, fleet = snapshot.room, snapshot.fleet
    return any(room.state_of(n) is NodeState.DOWN or not room.reachable[fleet.cell[n]] for n in nodes)


def _leaving_nodes(snapshot: Snapshot, now_us: int) -> Iterator[PlannedStop]:
    policy = snapshot.config.policy
    state = snapshot.room.state
    draining = state == NODE_STATES.index(NodeState.DRAINING)
    down = state == NODE_STATES.index(NodeState.DOWN)
    if not (draining.any() or down.any()):
        return
    for number in snapshot.columns.in_state(JobState.STARTING, JobState.RUNNING).tolist():
        job = snapshot.jobs[number]
        attempt = job.attempt
        nodes = [grant.node for grant in attempt.allocation.grants] if attempt else []
        if down[nodes].any():
            yield PlannedStop(number, StopCause.NODE_DOWN, now_us)
        elif draining[nodes].any():
            yield PlannedStop(number, StopCause.DRAIN, now_us + _notice(snapshot, number, policy.notice_max_us))


def _notice(snapshot: Snapshot, number: int, longest_us: int) -> int:
    job, policy = snapshot.jobs[number], snapshot.config.policy
    save_us = job.spec.checkpoint.save_us if job.spec.checkpoint else 0
    return min(max(2 * save_us, policy.notice_min_us), longest_us)


def _prices(snapshot: Snapshot, ruled: Ruled, choice: Choice) -> tuple[tuple[str, float], ...]:
    """By name: of rows, and the multipliers of rules as `rule:<id>`."""
    rows = ((snapshot.rows.name(row), price) for row, price in sorted(choice.prices.items()) if row < ruled.first_row)
    return (*rows, *((f"rule:{rule}", price) for rule, price in ruled.prices))


def _reasons(
    snapshot: Snapshot, who: Candidates, found: _Found, between: Between | None, now_us: int
) -> Iterator[tuple[int, Reason]]:
    problem, ruled, choice, seating = found.problem, found.ruled, found.choice, found.seating
    yield from who.held_back
    started = {start.job for start in seating.starts}
    unknown = (problem.current == NONE) & ~np.isin(problem.number, who.stopping)
    if between is not None:
        unknown &= between.new
    if not is_turn(snapshot, now_us):  # they wait for what they waited for when the policy was asked
        unknown &= snapshot.columns.job("reason")[problem.number] == 0
    if not snapshot.book.any_ended(now_us):
        unknown &= ~reasons_stand(snapshot, problem, choice)
    waiting = np.flatnonzero(unknown)
    few = len(waiting) < WORTH_FINDING_AT_ONCE or snapshot.book.any_ended(now_us)
    known = {} if few else reasons_known(snapshot, problem, choice)
    left = limits_left(problem, choice)
    for i in waiting.tolist():
        number = int(problem.number[i])
        if number in started:
            continue
        if number in seating.pending:
            allocation = seating.pending[number]
            chosen = allocation.chosen[0]
            code = ReasonCode.WAITING_FOR_PREEMPTED
            yield number, Reason(code=code, accelerator=chosen.accelerator, need=chosen.count)
        else:
            reason = known.get(i) or ruled.reason(snapshot, choice, i, now_us)
            yield number, reason or reason_for(snapshot, problem, choice, left, i, now_us)


def _changed(snapshot: Snapshot, reasons: Iterator[tuple[int, Reason]]) -> Iterator[tuple[int, Reason]]:
    given = snapshot.columns.job("reason")
    for number, reason in sorted(reasons, key=lambda pair: pair[0]):
        if key_of(reason) != given[number]:
            yield number, reason
