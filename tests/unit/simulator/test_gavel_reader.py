"""Gavel's tables as workloads: exact rates, gangs on one type, bad input with its place; drawn lists by their rule."""

import gzip
import itertools
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.config import load_catalog
from scheduler.config.readers.table import Limits, read_table
from scheduler.errors import ConfigError, UsageError
from scheduler.model.events import Configured
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.tenants import Tenant, Tenants
from scheduler.model.units import US_PER_S, to_s
from scheduler.model.workload import Workload
from scheduler.profiles.options import expand
from scheduler.simulator.execution import Overheads
from scheduler.simulator.readers.fleet import cluster_of, parse_counts
from scheduler.simulator.readers.gavel import GavelRates, read_gavel_jobs, read_gavel_rates
from scheduler.simulator.readers.gavel_lists import draw_gavel_jobs
from scheduler.simulator.readers.makespan import makespan_bound_s
from scheduler.simulator.simulate import SimulationResult, simulate

HEADING = "gpu_type,job_type,scale_factor,colocated_job_type,colocated_scale_factor,steps_per_s,colocated_steps_per_s"
TABLE = f"""{HEADING}
v100,A,1,,,4.0,
p100,A,1,,,2.0,
k80,A,1,,,0.0,
v100,A,1,A,1,1.5,1.5
v100,B,2,,,10.0,
p100,B,2,,,12.0,
v100_unconsolidated,B,2,,,7.0,
"""
LIST = """job_id,arrival_s,job_type,scale_factor,total_steps,v100_duration_s
0,0.0,A,1,400,100
1,10.0,A,1,400,100
2,10.0,B,2,240,24
"""
CATALOG = load_catalog()


def rates_of(folder: Path, text: str = TABLE, **more: bool) -> GavelRates:
    path = folder / "rates.csv"
    path.write_text(text)
    return read_gavel_rates(path, **more)


def jobs_of(folder: Path, text: str = LIST, **more: float) -> Workload:
    path = folder / "jobs.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return read_gavel_jobs(path, rates_of(folder), **more)


def run(workload: Workload, fleet: str, overheads: Overheads | None = None) -> SimulationResult:
    cluster = cluster_of(parse_counts(fleet), CATALOG)
    policy = Policy(name="fifo-best-type", min_run_us=0)
    configured = Configured(CATALOG, cluster, Tenants(tenants=(Tenant(name="gavel"),)), Rules(), policy)
    return simulate(configured, workload, check_invariants=True, overheads=overheads)


def test_rates_are_those_of_jobs_alone_and_a_rate_of_zero_is_no_option(tmp_path):
    rates = rates_of(tmp_path)
    assert rates.of("A", 1) == {"v100": 4.0, "p100": 2.0}
    assert rates.of("B", 2) == {"v100": 10.0, "p100": 12.0}
    assert rates.of("B", 4) == {}
    assert rates.job_types == ("A", "B")


def test_rates_of_scattered_workers_are_read_when_asked_for(tmp_path):
    assert rates_of(tmp_path, consolidated=False).of("B", 2) == {"v100": 7.0}


def test_a_job_expands_to_the_exact_rates_of_the_table(tmp_path):
    workload = jobs_of(tmp_path)
    options = expand(workload.arrivals[2].job, CATALOG, {"v100", "p100", "k80"}).options
    found = {option.chosen[0].accelerator: (option.rate.value, option.chosen[0].count) for option in options}
    assert found == {"v100": (10.0, 2), "p100": (12.0, 2)}
    assert options[0].chosen[0].accelerator == "p100"  # the fastest ranks first
    assert all(option.rate.absolute for option in options)


def test_a_small_list_ends_when_arithmetic_says(tmp_path):
    done = run(jobs_of(tmp_path), "v100=1,p100=2")
    ends = [to_s(job.ended_us) for job in done.state.jobs]
    # 0 takes the V100 for 400 / 4 s; 1 one P100 for 400 / 2 s; 2 needs both P100s for 240 / 12 s and waits for them
    assert ends == [pytest.approx(100.0), pytest.approx(10 + 200.0), pytest.approx(210 + 20.0)]


def test_in_rounds_nothing_starts_between_two_of_them(tmp_path):
    done = run(jobs_of(tmp_path), "v100=1,p100=2", Overheads(round_us=60 * US_PER_S))
    starts = [to_s(job.attempts[0].allocated_us) for job in done.state.jobs]
    ends = [to_s(job.ended_us) for job in done.state.jobs]
    assert starts == [0.0, 60.0, 300.0]  # the devices that 1 leaves at 260 s are given out at the next round
    assert ends == [pytest.approx(100.0), pytest.approx(260.0), pytest.approx(320.0)]


def test_the_restart_is_declared_by_every_job_and_nothing_is_lost_by_it(tmp_path):
    checkpoint = jobs_of(tmp_path, restart_s=60).arrivals[0].job.checkpoint
    assert (checkpoint.restart_us, checkpoint.save_us, checkpoint.portable) == (60 * US_PER_S, 0, True)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        (LIST + "3,5.0,A,1,10,1\n", 5, "arrival_s"),  # before the line above
        (LIST + "3,11,C,1,10,1\n", 5, "job_type"),
        (LIST + "3,11,A,2,10,1\n", 5, "job_type"),  # not in the table with two devices
        (LIST + "3,11,A,1,-10,1\n", 5, "total_steps"),
        (LIST + "3,11,A,1.5,10,1\n", 5, "scale_factor"),
        (LIST + "3,inf,A,1,10,1\n", 5, "arrival_s"),
        (LIST + "3,later,A,1,10,1\n", 5, "arrival_s"),
        (LIST + ",11,A,1,10,1\n", 5, "job_id"),
        (LIST + "3,11,A\n", 5, ""),
        ("job_id,arrival_s\n", 1, ""),
    ],
)
def test_a_wrong_list_is_refused_with_its_line_and_column(tmp_path, text, line, column):
    with pytest.raises(ConfigError) as caught:
        jobs_of(tmp_path, text)
    assert (caught.value.line, caught.value.path) == (line, column)
    assert caught.value.file.endswith("jobs.csv.gz")


@pytest.mark.parametrize(
    ("text", "line"),
    [(TABLE + "v100,A,1,,,3.0,\n", 9), (TABLE + "v100,A,x,,,3.0,\n", 9), (TABLE + "k80,B,2,,,-1,\n", 9)],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path, text, line):
    with pytest.raises(ConfigError) as caught:
        rates_of(tmp_path, text)
    assert caught.value.line == line


def test_a_table_without_a_rate_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no rate"):
        rates_of(tmp_path, HEADING + "\n")


def test_a_file_that_is_missing_cut_off_or_binary_is_refused(tmp_path):
    whole = gzip.compress(LIST.encode() * 50)
    for name, content in (("cut.csv.gz", whole[: len(whole) // 2]), ("binary.csv", b"\xff\xfe\x00,\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=name):
            list(read_table(tmp_path / name, ("job_id",)))
    with pytest.raises(ConfigError, match="cannot be read"):
        list(read_table(tmp_path / "none.csv", ("job_id",)))


@pytest.mark.parametrize("limits", [Limits(lines=3), Limits(line_chars=20), Limits(unpacked_bytes=70)])
def test_a_file_beyond_its_limits_is_refused_while_it_is_read(tmp_path, limits):
    (tmp_path / "jobs.csv").write_text(LIST)
    with pytest.raises(ConfigError):
        list(read_table(tmp_path / "jobs.csv", ("job_id",), limits))


@given(st.binary(max_size=300))
def test_whatever_bytes_a_file_holds_the_only_error_is_a_refusal(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "jobs.csv"
    path.write_bytes(b"job_id,arrival_s\n" + content)
    try:
        lines = list(read_table(path, ("job_id", "arrival_s")))
    except ConfigError as error:
        assert str(path) in str(error)
    else:
        assert all(set(line.values) == {"job_id", "arrival_s"} for line in lines)


@pytest.mark.parametrize("text", ["v100", "v100=", "v100=0", "v100=-3", "v100=2,v100=3", "=4", "v100=4;k80=2", ""])
def test_a_fleet_that_cannot_be_meant_is_refused(text):
    with pytest.raises(UsageError):
        parse_counts(text)


def test_a_fleet_has_all_its_devices_whatever_the_nodes_hold():
    assert cluster_of({"v100": 36, "k80": 5}, CATALOG, {"v100": 8}).device_count() == 41
    assert [p.devices_per_node for p in cluster_of({"v100": 36}, CATALOG, 8).pools] == [8, 4]
    with pytest.raises(UsageError, match="catalog"):
        cluster_of({"v101": 1}, CATALOG)
    with pytest.raises(UsageError, match="node"):
        cluster_of({"v100": 100}, CATALOG, 64)


def whole_table() -> GavelRates:
    """One type that runs on one device only, one on all sizes."""
    alone = {("alone", 1): {"v100": 2.0}}
    return GavelRates(alone | {("spread", n): {"v100": float(n), "k80": 0.1 * n} for n in (1, 2, 4, 8)})


def test_drawn_lists_follow_the_published_rule():
    arrivals = draw_gavel_jobs(whole_table(), 20_000, mean_gap_s=1800, seed=7).arrivals
    sizes = Counter(a.job.work.measured[0].count for a in arrivals)
    for size, share in ((1, 0.7), (2, 0.1), (4, 0.15), (8, 0.05)):
        assert sizes[size] / 20_000 == pytest.approx(share, abs=0.01)
    types = Counter(a.job.labels["job-type"] for a in arrivals if a.job.work.measured[0].count == 1)
    assert types["alone"] / sizes[1] == pytest.approx(0.5, abs=0.02)
    minutes = [a.job.work.amount / a.job.work.measured[0].rate / 60 for a in arrivals]
    assert min(minutes) >= 10**1.5
    assert max(minutes) <= 10**4
    short = [math.log10(m) for m in minutes if m < 1000]
    assert len(short) / 20_000 == pytest.approx(0.8, abs=0.01)
    assert sum(short) / len(short) == pytest.approx(2.25, abs=0.02)
    gaps = [to_s(b.at_us - a.at_us) for a, b in itertools.pairwise(arrivals)]
    assert sum(gaps) / len(gaps) == pytest.approx(1800, rel=0.03)
    assert sum(g > 1800 for g in gaps) / len(gaps) == pytest.approx(math.exp(-1), abs=0.02)


def test_equal_seeds_draw_equal_lists_and_others_do_not():
    lists = [draw_gavel_jobs(whole_table(), 30, mean_gap_s=60, seed=seed) for seed in (3, 3, 4)]
    assert lists[0] == lists[1] != lists[2]
    still = draw_gavel_jobs(whole_table(), 30, mean_gap_s=0, seed=3)
    assert {a.at_us for a in still.arrivals} == {0}


def test_a_list_that_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(UsageError):
        draw_gavel_jobs(whole_table(), 0, mean_gap_s=60, seed=0)
    with pytest.raises(UsageError, match="4 devices"):
        draw_gavel_jobs(rates_of(tmp_path), 5, mean_gap_s=60, seed=0)


def test_the_bound_on_the_makespan_is_that_of_the_work_or_of_the_longest_job(tmp_path):
    workload = jobs_of(tmp_path)
    # one V100 and no more: all work of A in turn (200 s); B of two devices cannot run, so the bound is of A alone
    only_a = Workload(name="a", arrivals=workload.arrivals[:2])
    assert makespan_bound_s(only_a, {"v100": 1}) == pytest.approx(200.0)
    assert makespan_bound_s(only_a, {"v100": 8}) == pytest.approx(100.0)
    # V100 and P100 share 800 steps at 4 and 2 steps a second, both busy to the end
    assert makespan_bound_s(only_a, {"v100": 1, "p100": 1}) == pytest.approx(800 / 6)
    done = run(workload, "v100=2,p100=2")
    assert makespan_bound_s(workload, {"v100": 2, "p100": 2}) <= done.report.makespan_s + 1e-6
