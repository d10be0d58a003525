"""The forecast: the same engine on a copy, held against what a simulation then does."""

import pytest
from msgspec import structs

from scheduler.engine.image import encode
from scheduler.engine.state import State
from scheduler.model.events import EpochStarted
from scheduler.model.jobs import Job
from scheduler.model.lifecycle import JobState
from scheduler.model.tenants import Tenant, Tenants
from scheduler.model.units import US_PER_S
from scheduler.model.workload import Arrival, Truth
from scheduler.simulator.driver import Driver
from scheduler.simulator.estimates import Basis
from scheduler.simulator.execution import Overheads
from scheduler.simulator.forecast import Budget, Pace, forecast
from tests.simulation.small import configured, plain_job

OVERHEADS = Overheads(start_us=3 * US_PER_S, stop_us=US_PER_S, restart_us=2 * US_PER_S, report_us=60 * US_PER_S)


def live(jobs: list[Job], now_s: int = 0, truth: Truth | None = None, gap_s: int = 0) -> Driver:
    """A scheduler on one node of eight h20-96 that has lived until `now_s`; jobs arrive `gap_s` apart."""
    driver = Driver(State.new(configured(nodes=1)), OVERHEADS)
    driver.feed(EpochStarted(1))
    driver.expect(Arrival(at_us=gap_s * n * US_PER_S, job=job, truth=truth or Truth()) for n, job in enumerate(jobs))
    driver.run(now_s * US_PER_S)
    driver.now_us = now_s * US_PER_S
    return driver


def test_a_forecast_leaves_the_state_as_it_was():
    driver = live([plain_job("a", devices=8), plain_job("b", devices=8)], now_s=100)
    before = encode(driver.state)
    forecast(driver.state, driver.now_us, overheads=OVERHEADS)
    assert encode(driver.state) == before


@pytest.mark.parametrize("now_s", [0, 1, 10, 500, 1500])
def test_the_forecast_of_a_world_that_keeps_to_its_rates_comes_true(now_s: int):
    jobs = [plain_job(f"j{n}", devices=4 + 2 * (n % 2), work=300.0 * (n + 1)) for n in range(5)]
    driver = live(jobs, now_s=now_s, gap_s=0)
    found = forecast(driver.state, driver.now_us, overheads=OVERHEADS)
    driver.run()
    assert found.complete
    for promised in found.jobs:
        job = driver.state.jobs[promised.job]
        assert promised.start_us == job.attempts[-1].allocated_us
        assert promised.finish_us == pytest.approx(job.ended_us, abs=US_PER_S)
    assert found.makespan_us == pytest.approx(max(job.ended_us or 0 for job in driver.state.jobs), abs=US_PER_S)


def test_a_running_job_goes_on_at_the_speed_that_was_observed():
    driver = live([plain_job("slow", work=1000.0)], now_s=600, truth=Truth(rate_factor={"h20-96": 0.5}))
    found = forecast(driver.state, driver.now_us, overheads=OVERHEADS).jobs[0]
    driver.run()
    assert found.finish_us == pytest.approx(driver.state.jobs[0].ended_us, abs=5 * US_PER_S)


def test_rates_of_jobs_that_do_not_run_yet_are_corrected_per_accelerator():
    driver = live([])
    found = forecast(
        driver.state, 0, [plain_job("new", work=1000.0)], overheads=OVERHEADS, rate_factor={"h20-96": 0.5}
    ).jobs[0]
    assert found.finish_us == pytest.approx((2000 + 3) * US_PER_S, rel=1e-6)


def test_extra_jobs_are_told_with_their_start_their_end_and_what_they_would_hold():
    driver = live([plain_job("running", devices=8, work=1000.0)], now_s=100)
    found = forecast(driver.state, driver.now_us, [plain_job("asked", devices=8, work=500.0)], overheads=OVERHEADS)
    assert found.extra == (1,)
    asked = found.of(1)
    assert asked is not None
    assert asked.state is JobState.SUCCEEDED
    assert [(part.accelerator, part.count) for part in asked.chosen] == [("h20-96", 8)]
    assert asked.start_us == found.jobs[0].finish_us
    assert asked.attempts == 1
    assert found.of(7) is None


def test_the_band_of_an_end_follows_the_band_of_the_rate():
    driver = live([])
    found = forecast(driver.state, 0, [plain_job("new", work=1000.0)], overheads=OVERHEADS).jobs[0]
    assert found.rate is not None
    assert found.finish_low_us is not None
    assert found.finish_high_us is not None
    assert found.finish_low_us < (found.finish_us or 0) < found.finish_high_us
    slowest_us = 1000.0 / found.rate.low * US_PER_S
    assert found.finish_high_us == pytest.approx(3 * US_PER_S + slowest_us, rel=1e-3)


def test_an_extra_job_that_would_be_refused_is_told_as_refused():
    driver = live([])
    found = forecast(driver.state, 0, [plain_job("huge", devices=64)], overheads=OVERHEADS)
    assert found.extra == ()
    assert "can never run" in str(found.refusals[0].error)


def test_without_declared_work_the_basis_says_how_the_run_time_was_estimated():
    bare = structs.replace(plain_job("bare-7", devices=1), work=structs.replace(plain_job("x").work, amount=None))
    driver = live([])
    assert forecast(driver.state, 0, [bare]).jobs[0].basis is Basis.NO_INFORMATION
    limited = structs.replace(bare, time_limit_us=600 * US_PER_S)
    assert forecast(driver.state, 0, [limited]).jobs[0].basis is Basis.TIME_LIMIT
    past = [structs.replace(bare, name=f"bare-{n}") for n in range(3)]
    driver = live(past, truth=Truth(run_us=50 * US_PER_S))
    driver.run()
    found = forecast(driver.state, driver.now_us, [Arrival(at_us=0, job=bare, user="user")], overheads=OVERHEADS)
    assert found.jobs[0].basis is Basis.LAST_RUNS
    assert found.jobs[0].finish_us == driver.now_us + (3 + 50) * US_PER_S


def test_a_tenants_default_is_used_before_an_hour():
    config = configured(nodes=1)
    tenants = Tenants(tenants=(Tenant(name="team", expected_run_us=90 * US_PER_S),))
    state = State.new(structs.replace(config, tenants=tenants))
    bare = structs.replace(plain_job("bare"), work=structs.replace(plain_job("x").work, amount=None))
    found = forecast(state, 0, [bare]).jobs[0]
    assert (found.basis, found.finish_us) == (Basis.TENANT_DEFAULT, 90 * US_PER_S)


def test_a_job_without_any_estimate_that_outlives_it_is_given_as_long_again():
    bare = structs.replace(plain_job("bare"), work=structs.replace(plain_job("x").work, amount=None))
    driver = live([bare], now_s=7200, truth=Truth(run_us=10**12))
    found = forecast(driver.state, driver.now_us, overheads=OVERHEADS).jobs[0]
    assert found.finish_us is not None
    assert found.finish_us > driver.now_us


def test_a_spent_budget_or_horizon_stops_the_forecast_and_says_so():
    driver = live([plain_job(f"j{n}", devices=8, work=1000.0) for n in range(5)])
    short = forecast(driver.state, 0, horizon_us=1500 * US_PER_S)
    assert (short.complete, short.stopped) == (False, "horizon")
    assert short.jobs[-1].finish_us is None
    assert forecast(driver.state, 0, budget=Budget(events=3)).stopped == "events"
    assert forecast(driver.state, 0, budget=Budget(cycles=1)).stopped == "cycles"
    assert forecast(driver.state, 0, budget=Budget(wall_s=0.0)).stopped == "wall"


def test_a_slow_world_starts_what_waits_later_and_a_fast_one_sooner():
    jobs = [plain_job("a", devices=8, work=1000.0), plain_job("b", devices=8, work=100.0)]
    driver = live(jobs, now_s=0)
    starts = [
        forecast(driver.state, 0, overheads=OVERHEADS, pace=pace).jobs[1].next_start_us or 0
        for pace in (Pace.FAST, Pace.EXPECTED, Pace.SLOW)
    ]
    assert starts == sorted(set(starts))


def test_an_undeclared_run_may_take_as_long_as_its_limit_allows():
    first = structs.replace(plain_job("a", devices=8, work=None), time_limit_us=2_000 * US_PER_S)
    driver = live([first, plain_job("b", devices=8)], now_s=0)
    slow, fast = (forecast(driver.state, 0, pace=pace).jobs[1].next_start_us for pace in (Pace.SLOW, Pace.FAST))
    assert slow == pytest.approx(2_000 * US_PER_S, rel=0.01)
    assert fast == pytest.approx(1_000 * US_PER_S, rel=0.01)


def test_a_forecast_of_one_start_looks_no_further():
    driver = live([plain_job(f"j{n}", devices=8, work=100.0) for n in range(9)], now_s=0)
    whole = forecast(driver.state, 0, overheads=OVERHEADS)
    part = forecast(driver.state, 0, overheads=OVERHEADS, until_started=2)
    assert part.stopped == "started"
    assert part.events < whole.events / 2
    assert part.jobs[2].next_start_us == whole.jobs[2].next_start_us
    assert part.jobs[8].next_start_us is None
