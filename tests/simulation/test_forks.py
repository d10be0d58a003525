"""A copy of a state for hypotheses is what comes back through its bytes; what is done to it never reaches the state."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine import Engine, State, invariants
from scheduler.engine.image import decode, encode
from scheduler.model.events import EpochStarted, JobUpdated
from scheduler.model.jobs import Moves
from scheduler.planning import Asked, Effort, counterfactuals
from scheduler.simulator.faulty import FaultyDriver
from scheduler.simulator.forecast import Budget, forecast
from tests.simulation.schedules import schedule
from tests.simulation.small import configured, plain_job
from tests.support.harness import Table

PLACES = {"first", "use_first", "stamp"}
"""Columns that say where something lies and not what it is."""


def played(seed: int, events: int) -> FaultyDriver:
    """A schedule with faults, up to that many events."""
    plan = schedule(seed)
    driver = FaultyDriver(State.new(plan.configured), plan.overheads, plan.faults, seed)
    driver.feed(EpochStarted(1))
    driver.expect(plan.arrivals)
    driver.run(stop=lambda: driver.tally.events >= events)
    return driver


def jobs_as_columns(state: State) -> dict[str, list[object]]:
    live = list(state.rows_of)
    return {name: state.columns.job(name)[live].tolist() for name in state.columns.jobs.array if name not in PLACES}


@given(st.integers(0, 400), st.integers(5, 400))
@settings(max_examples=30, deadline=None)
def test_a_fork_is_what_comes_back_through_the_image(seed: int, events: int) -> None:
    driver = played(seed, events)
    state, now_us = driver.state, driver.clock_us()
    before, known = encode(state), decode(encode(state))
    fork = state.fork()
    invariants.check(fork)
    assert encode(fork) == before
    assert jobs_as_columns(fork) == jobs_as_columns(known)
    assert np.array_equal(fork.room.free, known.room.free)
    assert np.array_equal(fork.ledger.held, known.ledger.held)
    assert np.array_equal(fork.accounts.past.faded(now_us), known.accounts.past.faded(now_us))
    assert fork.alarms.at(now_us) == known.alarms.at(now_us)
    assert Engine(fork).decide(now_us).events == Engine(known).decide(now_us).events


@given(st.integers(0, 400), st.integers(5, 400))
@settings(max_examples=20, deadline=None)
def test_what_is_done_to_a_fork_stays_in_it(seed: int, events: int) -> None:
    driver = played(seed, events)
    state, now_us = driver.state, driver.clock_us()
    before, columns = encode(state), jobs_as_columns(state)
    after = [forecast(state, now_us, budget=Budget(events=300, wall_s=1e9)) for _ in range(2)]
    assert after[0] == after[1]
    assert encode(state) == before
    assert jobs_as_columns(state) == columns
    invariants.check(state)


@pytest.mark.parametrize("seed", range(0, 60, 10))
def test_questions_have_the_answers_that_they_had_when_each_trial_read_the_whole_state(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = played(seed, 60)
    image, now_us = encode(driver.state), driver.clock_us()
    waiting = [number for number in driver.state.active if driver.state.jobs[number].attempt is None]
    effort = Effort(candidates=12, forecasts=3, budget=Budget(events=2_000, cycles=300, wall_s=1e9))
    answers = [counterfactuals(image, Asked(number=number), now_us, effort=effort) for number in waiting[:3]]
    monkeypatch.setattr(State, "fork", lambda state: decode(encode(state)))
    again = [counterfactuals(image, Asked(number=number), now_us, effort=effort) for number in waiting[:3]]
    assert msgspec.json.encode(answers) == msgspec.json.encode(again)


def test_where_a_job_may_move_is_the_same_after_a_restart_as_before() -> None:
    table = Table(configured())
    accepted = table.submit(plain_job("train"))
    table.tell(JobUpdated(accepted.number, accepted.actor, moves=Moves.NEVER))
    assert jobs_as_columns(decode(encode(table.state)))["moves"] == jobs_as_columns(table.state)["moves"]
