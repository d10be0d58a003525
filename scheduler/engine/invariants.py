"""What must hold after every event. Checked in tests and simulations after each one, sampled in the running service.

Numbers are those of the list that the design names: I1 to I25; those that need a world, a journal or a clock to check
(I14 to I23) are properties of tests.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from scheduler.engine.columns import NONE, STATES
from scheduler.engine.learned import Learned
from scheduler.engine.records import JobRecord
from scheduler.engine.state import State
from scheduler.errors import InvariantError
from scheduler.model.allocations import Grant
from scheduler.model.lifecycle import JobState
from scheduler.model.units import WHOLE_DEVICE
from scheduler.quota.ledger import Ledger

__all__ = [
    "arrays_keep_their_limit",
    "check",
    "CHECKS",
    "columns_show_what_is_held",
    "devices_are_held_once",
    "ledger_is_the_sum_of_allocations",
    "no_job_is_lost",
    "placements_meet_what_was_asked",
    "rules_count_what_is_held",
    "states_and_attempts_agree",
    "what_was_learned_follows_from_the_records",
]

_HOLDING: Final = (JobState.STARTING, JobState.RUNNING, JobState.STOPPING)


def check(state: State) -> None:
    """Raises InvariantError for the first invariant that does not hold."""
    for rule in CHECKS:
        rule(state)


def _require(holds: object, invariant: str, problem: str) -> None:
    if not holds:
        raise InvariantError(invariant, problem)


def devices_are_held_once(state: State) -> None:
    """I1, I2: no device in two allocations; what is free is what nobody holds; CPU and memory never below zero."""
    held = np.zeros_like(state.room.free)
    shares: dict[tuple[int, int], int] = {}
    for job in state.holding():
        for grant in _grants(job):
            if grant.thousandths < WHOLE_DEVICE:
                place = grant.node, grant.devices
                shares[place] = shares.get(place, 0) + grant.thousandths
                continue
            _require(not int(held[grant.node]) & grant.devices, "I1", f"job {job.number} shares a device")
            held[grant.node] |= grant.devices
    for (node, device), thousandths in shares.items():
        _require(not int(held[node]) & device and thousandths <= WHOLE_DEVICE, "I1", f"node {node} shares too much")
        left = state.room.thousandths_left(np.array([node]))[0, device.bit_length() - 1]
        beside = WHOLE_DEVICE - thousandths if state.fleet.share_row[node] >= 0 else 0  # a pool shared no longer
        _require(left == beside, "I1", f"node {node} has another share left than nobody holds")
        held[node] |= device
    free = state.fleet.devices & ~held & ~state.room.foreign
    _require(np.array_equal(free, state.room.free), "I1", "free devices are not those that nobody holds")
    _require((state.room.cpu_milli >= 0).all(), "I2", "a node has granted more CPU than it has")
    _require((state.room.memory_mib >= 0).all(), "I2", "a node has granted more memory than it has")


def placements_meet_what_was_asked(state: State) -> None:
    """I4, I5: each role holds the whole count it chose, of the accelerator it chose, all in the attempt's cell."""
    fleet = state.fleet
    for job in state.holding():
        attempt = job.attempt
        if attempt is None or state.columns.job("current")[job.number] == NONE:
            continue
        for role, chosen in enumerate(attempt.allocation.chosen):
            grants = [g for g in attempt.allocation.grants if g.role == role]
            count = sum(g.count for g in grants)
            _require(count == chosen.count, "I5", f"job {job.number} holds {count} of {chosen.count} devices")
            for grant in grants:
                name = fleet.accelerators[fleet.accelerator[grant.node]]
                _require(name == chosen.accelerator, "I4", f"job {job.number} was put on {name}")
                cell = fleet.cells[fleet.cell[grant.node]]
                _require(cell == attempt.cell, "I5", f"job {job.number} spans cells")


def ledger_is_the_sum_of_allocations(state: State) -> None:
    """I7: usage recomputed from the allocations equals the ledger at every level of the tree, and for every user."""
    fresh = Ledger(state.tree)
    for job in state.holding():
        if job.attempt is not None:
            fresh.add(state.tenant_of(job), job.actor.user, job.attempt.allocation)
    _require(np.array_equal(fresh.held, state.ledger.held), "I7", "the ledger is not the sum of the allocations")
    _require(fresh.user_devices == state.ledger.user_devices, "I7", "the users' ledger is not the sum")


def states_and_attempts_agree(state: State) -> None:
    """I11, I12: attempts are numbered from 1; only the last may be live, and it is exactly in the holding states."""
    for job in state.jobs:  # messages are made only for what fails: this runs after every event of a simulation
        if (job.ended_us is not None) != job.terminal:
            raise InvariantError("I11", f"job {job.number} is {job.state}")
        last = len(job.attempts)
        for place, attempt in enumerate(job.attempts, start=1):
            if attempt.n != place:
                raise InvariantError("I12", f"attempt {place} of job {job.number} is numbered {attempt.n}")
            if attempt.ended_us is None and place != last:
                raise InvariantError("I12", f"an older attempt of job {job.number} is live")
        if (job.attempt is not None) != (job.state in _HOLDING):
            raise InvariantError("I12", f"job {job.number} is {job.state} with live attempt {job.attempt}")


def no_job_is_lost(state: State) -> None:
    """I13: every accepted job is in exactly one state, under its id, in the indexes that its state asks for."""
    _require(len(state.by_id) == len(state.jobs), "I13", "two jobs share an id")
    column = state.columns.job("state").tolist()
    for number, job in enumerate(state.jobs):
        if job.number != number or state.by_id[job.id] != number:
            raise InvariantError("I13", f"job {number} is misplaced")
        if (number in state.rows_of) == job.terminal:
            raise InvariantError("I13", f"job {number} is not indexed as {job.state}")
        if STATES[column[number]] is not job.state:
            raise InvariantError("I13", f"job {number} is {job.state}, its column says {STATES[column[number]]}")


def columns_show_what_is_held(state: State) -> None:
    """The column of current options points at the option that the attempt holds."""
    current = state.columns.job("current")
    for number, job_rows in state.rows_of.items():
        held, attempt = int(current[number]), state.jobs[number].attempt
        if held != NONE:
            _require(attempt is not None, "I13", f"job {number} holds an option without an attempt")
            option = job_rows.rows[held].option
            same = attempt is not None and option.chosen == attempt.allocation.chosen
            _require(same, "I13", f"job {number} holds another option than its column says")


def arrays_keep_their_limit(state: State) -> None:
    """At most `max_running` members of an array hold devices."""
    held: dict[int, int] = {}
    for job in state.holding():
        if job.array is not None:
            held[job.array.head] = held.get(job.array.head, 0) + 1
            array = job.spec.array
            limit = array.max_running if array else 0
            within = not limit or held[job.array.head] <= limit
            _require(within, "I5", f"array {job.array.head} holds more than {limit} at once")
    counted = {head: count for head, count in state.array_held.items() if count}
    _require(held == counted, "I13", "the count of running array members drifted")


def rules_count_what_is_held(state: State) -> None:
    """What runs by the books of a rule on use is the sum over the allocations of the tenants that it counts."""
    for share in state.book.shares:
        held = [0, 0]
        for job in state.holding():
            if job.attempt is not None and share.counts(job.spec.tenant):
                amounts = share.amounts(job.attempt.allocation, *state.book.amounts(job.attempt.allocation))
                held = [held[0] + amounts[0], held[1] + amounts[1]]
        _require(held == share.running, "I7", f"rule {share.rule.id} counts {share.running} of {held}")


def what_was_learned_follows_from_the_records(state: State) -> None:
    """Corrections of rates recomputed from the attempts equal those in force: a restart knows the same."""
    fresh = Learned(state.config.catalog, state.fleet.present, state.fleet.emulated)
    fresh.note_all(state.jobs)
    _require(list(fresh.told()) == list(state.learned.told()), "I20", "what was learned is not what attempts tell")


def _grants(job: JobRecord) -> tuple[Grant, ...]:
    return job.attempt.allocation.grants if job.attempt is not None else ()


CHECKS: Final[tuple[Callable[[State], None], ...]] = (
    devices_are_held_once,
    placements_meet_what_was_asked,
    ledger_is_the_sum_of_allocations,
    states_and_attempts_agree,
    no_job_is_lost,
    columns_show_what_is_held,
    arrays_keep_their_limit,
    rules_count_what_is_held,
    what_was_learned_follows_from_the_records,
)
