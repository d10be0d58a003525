"""Whole simulations: the report, its window, refusals, faults and the limits of a run."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from scheduler.engine.state import State
from scheduler.model.events import Configured
from scheduler.model.jobs import Array, Checkpoint, JobType, Moves, Service
from scheduler.model.lifecycle import TERMINAL, JobState
from scheduler.model.policy import Policy
from scheduler.model.rules import Licence, Lot, Price, Rules
from scheduler.model.units import US_PER_S
from scheduler.model.workload import Arrival, Truth, Workload
from scheduler.simulator.execution import Overheads
from scheduler.simulator.faults import Faults, draw
from scheduler.simulator.report import SimulationReport
from scheduler.simulator.simulate import SimulationResult, reproducible, simulate
from tests.simulation.schedules import schedule
from tests.simulation.small import configured, plain_job


def workload(*arrivals: Arrival) -> Workload:
    return Workload(name="w", arrivals=arrivals)


def run(
    *arrivals: Arrival, config: Configured | None = None, window: tuple[int, int] | None = None
) -> SimulationResult:
    return simulate(config or configured(nodes=1), workload(*arrivals), check_invariants=True, window=window)


def at(seconds: float, name: str, devices: int = 8, work: float = 100.0, **truth: object) -> Arrival:
    job = plain_job(name, devices=devices, work=work)
    return Arrival(at_us=round(seconds * US_PER_S), job=job, truth=Truth(**truth))


def test_two_jobs_that_fill_the_fleet_run_one_after_the_other():
    report = run(at(0, "a"), at(0, "b")).report
    assert (report.jobs, report.finished, report.unfinished, report.refused) == (2, 2, 0, 0)
    assert report.jct_s.mean == pytest.approx(150.0)
    assert report.wait_s.mean == pytest.approx(50.0)
    assert report.makespan_s == pytest.approx(200.0)
    assert report.utilization == {"h20-96": pytest.approx(1.0)}
    assert (report.preemptions, report.restarts, report.lost_work_s) == (0, 0, 0.0)


def test_a_finish_time_ratio_of_one_is_an_equal_share():
    fairness = run(at(0, "a"), at(0, "b")).report.fairness
    # demand is twice the fleet for 100 s, then once: b waits 200 s for 100 s of work, at a mean contention of 1.5
    assert fairness.finish_time_rho_max == pytest.approx(200 / (100 * 1.5))
    assert 0.5 < fairness.jain <= 1.0


def test_an_idle_half_of_the_fleet_shows_in_the_utilisation():
    report = run(at(0, "a", devices=4)).report
    assert report.utilization == {"h20-96": pytest.approx(0.5)}


def test_goodput_counts_what_the_devices_are_worth_in_h20s():
    on_h20 = run(at(0, "a", devices=1)).report
    assert on_h20.goodput_h20_equivalents == pytest.approx(1.0)
    fast = plain_job("a", accelerator="h200")
    on_h200 = run(Arrival(at_us=0, job=fast), config=configured(accelerator="h200")).report
    assert on_h200.goodput_h20_equivalents == pytest.approx(5.0, rel=1e-3)


def test_device_time_on_domestic_chips_makes_the_domestic_share():
    assert run(at(0, "a")).report.domestic_share == 0.0
    job = plain_job("a", accelerator="ascend-910c")
    assert run(Arrival(at_us=0, job=job), config=configured(accelerator="ascend-910c")).report.domestic_share == 1.0


def test_a_window_counts_its_jobs_by_order_of_arrival_while_all_are_simulated():
    arrivals = [at(0, "a"), at(1, "b"), at(2, "c"), at(3, "d")]
    whole, part = run(*arrivals).report, run(*reversed(arrivals), window=(1, 3)).report
    assert part.jobs == 2
    assert part.makespan_s == pytest.approx(299.0)
    assert (part.events, part.utilization) == (whole.events, whole.utilization)


def test_a_job_that_the_fleet_can_never_run_is_counted_as_refused():
    result = run(at(0, "a"), at(1, "huge", devices=64))
    assert (result.report.jobs, result.report.unfinished, result.report.refused) == (2, 1, 1)
    assert "can never run" in str(result.refusals[0].error)


def test_a_failure_is_finished_and_its_unsaved_work_lost():
    report = run(at(0, "a", fails_at=0.5)).report
    assert (report.finished, report.lost_work_s) == (1, pytest.approx(50.0))


def test_a_preempted_job_resumes_from_its_save_and_the_restart_counts():
    low = structs.replace(
        plain_job("low", devices=8, work=1000.0),
        priority=0,
        checkpoint=Checkpoint(path="c", save_us=10 * US_PER_S, restart_us=20 * US_PER_S),
    )
    high = structs.replace(plain_job("high", devices=8, work=100.0), priority=1000)
    config = structs.replace(configured(nodes=1), policy=Policy(min_run_us=60 * US_PER_S))
    report = run(Arrival(at_us=0, job=low), Arrival(at_us=300 * US_PER_S, job=high), config=config).report
    assert (report.preemptions, report.restarts) == (1, 1)
    assert report.lost_work_s == 0.0
    assert report.makespan_s == pytest.approx(1000 + 10 + 100 + 20)


def test_an_array_counts_each_member():
    job = structs.replace(plain_job("many", devices=8), array=Array(first=0, last=4, max_running=1))
    report = run(Arrival(at_us=0, job=job)).report
    assert (report.jobs, report.finished) == (5, 5)


def test_a_service_that_never_ends_does_not_keep_the_simulation_alive():
    service = structs.replace(
        plain_job("serve", devices=1, work=None), type=JobType.INFERENCE, service=Service(), moves=Moves.NEVER
    )
    result = run(Arrival(at_us=0, job=service), at(0, "a", devices=1))
    assert result.state.jobs[0].state is JobState.RUNNING
    assert (result.report.finished, result.report.unfinished) == (1, 1)
    watched = structs.replace(service, no_progress_timeout_us=60 * US_PER_S)
    assert run(Arrival(at_us=0, job=watched)).state.jobs[0].state is JobState.RUNNING


def test_a_simulation_until_a_time_counts_what_is_unfinished_by_then():
    result = simulate(configured(nodes=1), workload(at(0, "a"), at(0, "b")), until_us=150 * US_PER_S)
    assert (result.report.finished, result.report.unfinished) == (1, 1)
    assert result.report.utilization["h20-96"] == pytest.approx(1.0)


def test_an_empty_workload_gives_a_report_of_zeros():
    report = run().report
    assert (report.jobs, report.makespan_s, report.fairness.jain) == (0, 0.0, 1.0)


def test_a_reproducible_report_leaves_out_what_the_machine_decides():
    report = run(at(0, "a")).report
    full, bare = (msgspec.json.decode(msgspec.json.encode(r)) for r in (report, reproducible(report)))
    assert set(full) - set(bare) == {"wall_s", "cycle_ms", "peak_rss_mib"}
    contract = {"schema", "jobs", "finished", "unfinished", "jct_s", "wait_s", "makespan_s", "utilization"}
    contract |= {"goodput_h20_equivalents", "preemptions", "restarts", "lost_work_s", "domestic_share", "fairness"}
    assert contract | {"events", "cycles"} <= set(bare)
    assert set(full["jct_s"]) == {"mean", "p50", "p90", "p99"}
    assert set(full["cycle_ms"]) == {"p50", "p99", "max"}
    assert set(full["fairness"]) == {"jain", "finish_time_rho_max"}


def test_cycles_that_are_spaced_out_delay_starts_by_no_more_than_the_spacing():
    jobs = [at(n, f"j{n}", devices=1) for n in range(20)]
    spaced = simulate(configured(nodes=4), workload(*jobs), overheads=Overheads(cycle_us=30 * US_PER_S)).report
    exact = simulate(configured(nodes=4), workload(*jobs)).report
    assert spaced.cycles < exact.cycles
    assert spaced.wait_s.p99 <= 30.0
    assert spaced.finished == exact.finished


def test_faults_stop_when_they_are_told_to_and_every_job_still_ends():
    faults = Faults(node_losses_per_h=60.0, lost=0.3, unknown=0.2, delayed=0.3, until_us=3600 * US_PER_S)
    jobs = [at(60 * n, f"j{n}", devices=4, work=600.0) for n in range(12)]
    jobs = [
        structs.replace(a, job=structs.replace(a.job, retries=structs.replace(a.job.retries, limit=10**6)))
        for a in jobs
    ]
    result = simulate(configured(), workload(*jobs), seed=3, faults=faults, check_invariants=True)
    assert result.report.finished == 12
    assert result.report.restarts > 0


def reports(seed: int) -> tuple[SimulationReport, str]:
    plan = schedule(seed)
    found = simulate(
        plan.configured,
        workload(*plan.arrivals),
        seed=seed,
        faults=structs.replace(draw(seed), until_us=7200 * US_PER_S),
        overheads=plan.overheads,
        digest=True,
    )
    return reproducible(found.report), found.digest


def test_the_same_seed_gives_the_same_report_and_events():
    assert reports(11) == reports(11)
    assert reports(11)[1] != reports(12)[1]


def test_every_kind_of_fault_is_absent_from_some_seeds_and_present_in_others():
    drawn = [draw(seed) for seed in range(60)]
    for name in structs.fields(Faults):
        if not name.name.endswith("_us"):
            assert {getattr(faults, name.name) > 0 for faults in drawn} == {True, False}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 8), st.integers(1, 400)), min_size=1, max_size=12))
def test_device_time_is_conserved(shapes: list[tuple[int, int, int]]):
    """What is held is what the jobs ask for: device-seconds held equal work times devices, when nothing is lost."""
    arrivals = [at(t, f"j{n}", devices=d, work=float(w)) for n, (t, d, w) in enumerate(shapes)]
    report = run(*arrivals).report
    first = min(t for t, _, _ in shapes)
    asked = sum(d * w for _, d, w in shapes)
    assert report.finished == len(shapes)
    assert report.utilization["h20-96"] * 8 * report.makespan_s == pytest.approx(asked, rel=1e-6)
    assert report.makespan_s >= max(t + w for t, _, w in shapes) - first - 1e-6


def test_a_job_needs_what_it_really_needs_whatever_it_declares():
    assert run(at(0, "a", work=100.0, amount=150.0)).report.makespan_s == pytest.approx(150.0)
    assert run(at(0, "a", work=100.0, amount=50.0)).report.makespan_s == pytest.approx(50.0)


def test_a_job_that_declares_no_work_does_what_it_really_needs_at_its_rate():
    arrival = at(0, "a", amount=150.0)
    job = structs.replace(arrival.job, work=structs.replace(arrival.job.work, amount=None))
    assert run(structs.replace(arrival, job=job)).report.makespan_s == pytest.approx(150.0)


def test_a_run_can_be_stopped_once_enough_has_ended():
    arrivals = (at(0, "a"), at(0, "b"), at(0, "c"))

    def first_ended(state: State) -> bool:
        return bool(state.jobs) and state.jobs[0].state in TERMINAL

    result = simulate(configured(nodes=1), workload(*arrivals), stop=first_ended)
    assert [job.state in TERMINAL for job in result.state.jobs] == [True, False, False]


def test_rounds_follow_at_once_when_what_was_told_to_leave_has_left():
    low = structs.replace(at(0, "low").job, priority=100, checkpoint=Checkpoint(path="c", save_us=5 * US_PER_S))
    high = structs.replace(at(0, "high").job, priority=900)
    arrivals = (Arrival(at_us=0, job=low), Arrival(at_us=30 * US_PER_S, job=high))
    config = configured(nodes=1)
    config = msgspec.structs.replace(config, policy=structs.replace(config.policy, min_run_us=0))
    done = simulate(config, workload(*arrivals), overheads=Overheads(round_us=60 * US_PER_S)).state
    # the round at 60 s tells `low` to leave; it saves for 5 s, and `high` does not wait for the round at 120 s
    assert done.jobs[1].attempts[0].allocated_us == 65 * US_PER_S


def test_a_gang_on_more_nodes_runs_at_the_speed_that_the_world_knows():
    spread = {"h20-96": (1.0, 0.5)}
    together = simulate(configured(nodes=2), workload(at(0, "a", spread_factor=spread)))
    apart = simulate(configured(nodes=2), workload(at(0, "a", devices=16, spread_factor=spread)))
    assert together.report.makespan_s == pytest.approx(100.0)
    assert apart.report.makespan_s == pytest.approx(200.0)


def test_first_starts_load_too_where_the_overheads_say_so():
    arrival = at(0, "a")
    job = structs.replace(arrival.job, checkpoint=Checkpoint(path="c", restart_us=7 * US_PER_S))
    for load_first, makespan_s in ((False, 100.0), (True, 107.0)):
        run_of = simulate(
            configured(nodes=1), workload(structs.replace(arrival, job=job)), overheads=Overheads(load_first=load_first)
        )
        assert run_of.report.makespan_s == pytest.approx(makespan_s)


START_US = 20_000 * 86_400 * US_PER_S


def under_licence(until_us: int) -> Configured:
    """One node, of a lot whose licence ends."""
    config = configured(nodes=1)
    (cell,) = config.cluster.cells
    pools = tuple(structs.replace(pool, lot="first") for pool in cell.pools)
    cluster = structs.replace(config.cluster, cells=(structs.replace(cell, pools=pools),))
    licence = Licence(ref="x", valid_until_us=until_us)
    lots = (Lot(id="first", accelerator="h20-96", licence=licence),)
    return structs.replace(config, cluster=cluster, rules=Rules(lots=lots))


def begun(start_us: int, config: Configured, *arrivals: Arrival) -> SimulationResult:
    return simulate(config, structs.replace(workload(*arrivals), start_us=start_us), check_invariants=True)


def test_dates_of_rules_are_held_against_the_calendar_that_the_workload_sets():
    jobs = at(0, "before"), at(60, "after")
    config = under_licence(until_us=START_US + 50 * US_PER_S)
    assert begun(START_US, config, *jobs).report.finished == 1
    assert begun(START_US - 3600 * US_PER_S, config, *jobs).report.finished == 2


def test_when_a_workload_begins_changes_no_figure_where_nothing_has_a_date():
    jobs = at(0, "a"), at(30, "b"), at(40, "c", devices=4)
    early, late = (reproducible(begun(start, configured(nodes=1), *jobs).report) for start in (0, START_US))
    assert early == late


def test_dates_after_the_last_job_do_not_count_as_idle_time():
    dated = (Price(of="h20-96", fen_per_device_hour=100), Price(of="h20-96", fen_per_device_hour=90, from_us=START_US))
    priced = structs.replace(configured(nodes=1), rules=Rules(prices=dated))
    report = begun(START_US - 300 * US_PER_S, priced, at(0, "a"), at(0, "b")).report
    assert report.utilization == {"h20-96": pytest.approx(1.0)}


def test_the_report_says_how_far_decisions_were_from_the_optimum_where_the_policy_proves_it():
    jobs = at(0, "a"), at(0, "b"), at(0, "c", devices=4)
    priced = structs.replace(configured(nodes=1), policy=Policy(name="balanced"))
    gap = run(*jobs, config=priced).report.gap
    assert 0 <= gap.p50 <= gap.p99 <= gap.max <= priced.policy.gap
    assert run(*jobs, config=structs.replace(priced, policy=Policy(name="fifo-best-type"))).report.gap is None
