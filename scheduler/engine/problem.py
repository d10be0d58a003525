"""From a snapshot to the problem that policies solve: who takes part, what is open, what there is to give."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.carried import CARRY, named, shadow_prices
from scheduler.engine.claiming import claims_of, turns_of
from scheduler.engine.columns import CLASSES, NONE, STATES
from scheduler.engine.snapshot import Snapshot
from scheduler.engine.weighed import may_move, weighed
from scheduler.model.allocations import Grant
from scheduler.model.jobs import DependsOn
from scheduler.model.lifecycle import TERMINAL, JobState
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.tenants import JobClass
from scheduler.policies import WALKS
from scheduler.policies.problem import Problem

__all__ = ["Candidates", "available", "build", "candidates", "dependency_broken", "held_by"]

PRODUCTION = CLASSES.index(JobClass.PRODUCTION)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Who takes part in this cycle. `held_back` are waiting jobs that cannot start whatever is free, with the reason;
    `broken` those whose dependencies can no longer be met."""

    waiting: NDArray[np.int64]
    running: NDArray[np.int64]  # starting and running: they hold an option of the problem
    stopping: NDArray[np.int64]
    fixed: NDArray[np.int64]  # hold what the present configuration does not offer: they run on, untouched
    held_back: tuple[tuple[int, Reason], ...]
    broken: tuple[int, ...]


def candidates(snapshot: Snapshot, now_us: int) -> Candidates:
    columns = snapshot.columns
    waiting = columns.in_state(JobState.WAITING)
    held_back: list[tuple[int, Reason]] = []
    broken: list[int] = []
    early = columns.job("not_before_us")[waiting] > now_us
    for number in waiting[early].tolist():
        until_us = snapshot.jobs[number].not_before_us
        held_back.append((number, Reason(code=ReasonCode.BACKOFF, until_us=until_us)))
    waiting = waiting[~early]
    gated = columns.job("gated")[waiting]
    refused = set()
    begun: dict[int, int] = {}
    for number in waiting[gated].tolist():
        if dependency_broken(snapshot, number):
            broken.append(number)
            refused.add(number)
            continue
        reason = _gate(snapshot, number, begun)
        if reason is not None:
            held_back.append((number, reason))
            refused.add(number)
    if refused:
        waiting = waiting[~np.isin(waiting, list(refused))]
    running = columns.in_state(JobState.STARTING, JobState.RUNNING)
    current = columns.job("current")[running]
    fixed, running = running[current == NONE], running[current != NONE]
    stopping = columns.in_state(JobState.STOPPING)
    return Candidates(waiting, running, stopping, fixed, tuple(held_back), tuple(broken))


def dependency_broken(snapshot: Snapshot, number: int) -> bool:
    """True once a job that this one comes after has ended in a way that never satisfies it."""
    for dependency in snapshot.jobs[number].after:
        other = snapshot.jobs[dependency.job]
        if other.state in TERMINAL and dependency.on is not DependsOn.END:
            wanted = JobState.SUCCEEDED if dependency.on is DependsOn.SUCCESS else JobState.FAILED
            if other.state is not wanted:
                return True
    return False


def _gate(snapshot: Snapshot, number: int, begun: dict[int, int]) -> Reason | None:
    job = snapshot.jobs[number]
    for dependency in job.after:
        other = snapshot.jobs[dependency.job]
        if other.state not in TERMINAL:
            return Reason(code=ReasonCode.DEPENDENCY, who=other.id)
    array = job.spec.array
    if array is None or job.array is None or not array.max_running:
        return None
    head = job.array.head
    holds = snapshot.array_held.get(head, 0) + begun.get(head, 0)
    if holds >= array.max_running:
        most = array.max_running
        return Reason(code=ReasonCode.ARRAY_LIMIT, need=most, have=holds, limit=most, used=holds)
    if _could_ever_start(snapshot, number):  # one that cannot must not keep its array's turn for ever
        begun[head] = begun.get(head, 0) + 1
    return None


def _could_ever_start(snapshot: Snapshot, number: int) -> bool:
    """Whether some option that the job may still take stays within the limits when nothing else counts against them."""
    rows, columns = snapshot.rows, snapshot.columns
    allowed = columns.option("allowed")[int(columns.job("first")[number]) :]
    return any(
        allowed[place]
        and all(u < rows.capacity_rows or amount <= rows.limit[u - rows.capacity_rows] for u, amount in option.uses)
        for place, option in enumerate(snapshot.rows_of[number].rows)
    )


def build(
    snapshot: Snapshot,
    who: Candidates,
    numbers: NDArray[np.int64],
    masked: Collection[tuple[int, int]],
    now_us: int,
    beside: NDArray[np.int64] | None = None,
) -> Problem:
    """The problem over `numbers` (running and waiting, ascending). `masked` are (number, position of option) pairs.

    `beside` is int64[rows], what others hold within their tenants' quota who are not among `numbers`.
    """
    columns, policy = snapshot.columns, snapshot.config.policy
    gathered = columns.gather(numbers)
    stopping = columns.job("state")[numbers] == STATES.index(JobState.STOPPING)
    held = np.where(stopping, NONE, columns.job("current")[numbers])
    opens_us = columns.option("after_us")[gathered.option] + np.repeat(
        columns.job("submitted_us")[numbers], np.diff(gathered.ptr)
    )
    current = np.where(held == NONE, NONE, gathered.ptr[:-1] + held)
    is_open = columns.option("allowed")[gathered.option] & (opens_us <= now_us)
    is_open &= may_move(snapshot, numbers, gathered, current)
    place = {int(n): i for i, n in enumerate(numbers.tolist())} if masked else {}
    for number, position in masked:
        is_open[gathered.ptr[place[number]] + position] = False
    seasoned = columns.job("started_us")[numbers] <= now_us - policy.min_run_us
    job_class = columns.job("job_class")[numbers].astype(np.int64)
    elastic = columns.job("elastic")[numbers]
    displaceable = seasoned & (job_class != PRODUCTION) & policy.preemption
    pinned = (held != NONE) & ~displaceable & ~(elastic & seasoned)
    rank = columns.option("rank")[gathered.option]
    claim = claims_of(snapshot, numbers, gathered, current, pinned, is_open, rank, beside)
    return Problem(
        number=numbers,
        job_class=job_class,
        priority=columns.job("priority")[numbers],
        submitted_us=columns.job("submitted_us")[numbers],
        current=current,
        pinned=pinned,
        displaceable=displaceable,
        elastic=elastic,
        resizable=elastic & seasoned,
        ptr=gathered.ptr,
        rate=columns.option("rate")[gathered.option],
        rank=rank,
        open=is_open,
        use_ptr=gathered.use_ptr,
        use_row=gathered.use_row,
        use_amount=gathered.use_amount,
        available=available(snapshot, who),
        capacity_rows=snapshot.rows.capacity_rows,
        resize_gain=policy.resize_gain,
        prices=_prices(snapshot),
        settings=policy,
        carried={name.removeprefix(CARRY): value for name, value in named(CARRY, snapshot.prices)},
        **({} if policy.name in WALKS else weighed(snapshot, numbers, gathered, current, now_us)),
        claim=claim,
        turn=turns_of(snapshot, numbers, claim, current, now_us),
    )


def _prices(snapshot: Snapshot) -> dict[int, float]:
    """By row, from the names under which they were carried over."""
    if not snapshot.prices:
        return {}
    rows = snapshot.rows
    known = rows.numbers()
    return {known[name]: price for name, price in shadow_prices(snapshot.prices) if name in known}


def available(snapshot: Snapshot, who: Candidates) -> NDArray[np.int64]:
    """int64[rows]: what the candidates together may take: idle devices, what they hold, and what is on its way out."""
    fleet, room = snapshot.fleet, snapshot.room
    usable = room.usable_at()
    ours = np.where(usable, fleet.devices & ~room.foreign, fleet.devices & ~room.foreign & ~room.free)
    devices = np.bincount(fleet.shelf, weights=np.bitwise_count(ours), minlength=fleet.shelf_count).astype(np.int64)
    devices += room.slots_beside_shares()
    limits = snapshot.rows.limits(snapshot.ledger.limits)
    for number in who.stopping.tolist() if not usable.all() else ():
        for grant in _grants(snapshot, number):
            if not usable[grant.node]:
                devices[fleet.shelf[grant.node]] -= grant.count
    for number in who.fixed.tolist():
        job = snapshot.jobs[number]
        for grant in _grants(snapshot, number):
            devices[fleet.shelf[grant.node]] -= grant.count
        if job.attempt is not None:
            tenant, user = snapshot.tenant_of(job), job.actor.user
            for row, amount in snapshot.rows.limits_used(job.attempt.allocation, tenant, user):
                limits[row - snapshot.rows.capacity_rows] -= amount
    return np.concatenate((devices, limits + _drift(snapshot, who)))


def _drift(snapshot: Snapshot, who: Candidates) -> NDArray[np.int64]:
    """int64[limits]: by how much the options that candidates hold count for more at today's prices and weights than
    what was frozen when they were granted, so that nobody has to leave because a price rose."""
    rows, columns = snapshot.rows, snapshot.columns
    found = np.zeros(len(rows.limit), dtype=np.int64)
    frozen = rows.frozen
    if not len(frozen) or not len(who.running):
        return found
    counted = held_by(snapshot, who.running, columns.job("current")[who.running], rows.capacity_rows + len(found))
    found[frozen] = counted[rows.capacity_rows + frozen] - rows.held(snapshot.ledger.held)[frozen]
    known = np.zeros(len(found), dtype=np.bool_)
    known[frozen] = True
    for number in (*who.fixed.tolist(), *who.stopping.tolist()):
        job = snapshot.jobs[number]
        if job.attempt is not None:
            for row, amount in rows.limits_used(job.attempt.allocation, snapshot.tenant_of(job), job.actor.user):
                found[row - rows.capacity_rows] += amount if known[row - rows.capacity_rows] else 0
    return found


def held_by(snapshot: Snapshot, numbers: NDArray[np.int64], places: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """int64[rows]: what the options at `places` of the jobs `numbers` take together."""
    row, amount = snapshot.columns.uses_of(snapshot.columns.job("first")[numbers] + places)
    return np.bincount(row, weights=amount, minlength=rows).astype(np.int64)


def _grants(snapshot: Snapshot, number: int) -> tuple[Grant, ...]:
    attempt = snapshot.jobs[number].attempt
    return attempt.allocation.grants if attempt is not None else ()
