"""A misbehaving surrounding, one fault at a time."""

import pytest
from msgspec import structs

from scheduler.engine.state import State
from scheduler.errors import InvariantError
from scheduler.model.cluster import NodeState
from scheduler.model.events import EpochStarted
from scheduler.model.jobs import Job, Retries
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.units import US_PER_S
from scheduler.model.workload import Arrival
from scheduler.simulator.execution import Overheads
from scheduler.simulator.faults import Faults
from scheduler.simulator.faulty import FaultyDriver
from tests.simulation.small import configured, plain_job

MINUTE = 60 * US_PER_S


def sick(faults: Faults, jobs: int = 6, seed: int = 1) -> FaultyDriver:
    """Two nodes of eight devices, and jobs of four devices that run for ten minutes each."""
    driver = FaultyDriver(State.new(configured()), Overheads(start_us=US_PER_S), faults, seed)
    driver.feed(EpochStarted(1))
    driver.expect(Arrival(at_us=n * MINUTE, job=patient(f"j{n}")) for n in range(jobs))
    return driver


def patient(name: str) -> Job:
    return structs.replace(plain_job(name, devices=4, work=600.0), retries=Retries(limit=10**6))


def ended(driver: FaultyDriver, jobs: int) -> bool:
    return len(driver.state.jobs) == jobs and not driver.state.active


def states(driver: FaultyDriver) -> set[JobState]:
    return {job.state for job in driver.state.jobs}


def test_reports_that_are_lost_are_read_at_the_next_poll():
    driver = sick(Faults(lost=1.0, poll_us=30 * US_PER_S))
    driver.run(stop=lambda: ended(driver, 6))
    assert states(driver) == {JobState.SUCCEEDED}
    delays = [(job.ended_us or 0) - (job.attempts[0].allocated_us + 601 * US_PER_S) for job in driver.state.jobs]
    assert all(0 <= delay <= 30 * US_PER_S for delay in delays)


def test_reports_that_come_twice_and_late_change_nothing_twice():
    driver = sick(Faults(repeated=1.0, delayed=0.5))
    driver.run(stop=lambda: ended(driver, 6))
    assert states(driver) == {JobState.SUCCEEDED}
    assert all(len(job.attempts) == 1 for job in driver.state.jobs)


def test_commands_with_an_unknown_outcome_are_settled_by_asking_the_executors():
    driver = sick(Faults(unknown=0.7), jobs=10)
    driver.run(stop=lambda: ended(driver, 10))
    assert states(driver) == {JobState.SUCCEEDED}
    driver.heal()
    assert not driver.world.executions, "what has ended is released in the end"


def test_a_scheduler_that_keeps_dying_adopts_what_runs():
    driver = sick(Faults(restarts_per_h=60.0))
    driver.run(stop=lambda: ended(driver, 6))
    assert states(driver) == {JobState.SUCCEEDED}
    assert driver.restarts > 5
    assert driver.state.epoch == driver.restarts + 1
    assert all(len(job.attempts) == 1 for job in driver.state.jobs)


def test_jobs_on_a_lost_node_run_again_elsewhere():
    driver = sick(Faults(node_losses_per_h=6.0))
    driver.run(2 * 3600 * US_PER_S, stop=lambda: ended(driver, 6))
    driver.heal()
    driver.run(stop=driver.is_over)
    assert states(driver) == {JobState.SUCCEEDED}
    assert any(attempt.how is AttemptEnd.LOST for job in driver.state.jobs for attempt in job.attempts)


def test_healing_brings_every_node_back():
    driver = sick(Faults(node_losses_per_h=60.0, node_orders_per_h=60.0))
    driver.run(1800 * US_PER_S)
    driver.heal()
    room = driver.state.room
    assert {room.state_of(n) for n in range(2)} == {NodeState.READY}


def test_a_state_that_its_journal_does_not_tell_is_found_out():
    driver = sick(Faults())
    driver.run(5 * MINUTE)
    driver.replayed()
    driver.state.jobs[0].priority += 1
    with pytest.raises(InvariantError, match="I20"):
        driver.replayed()
