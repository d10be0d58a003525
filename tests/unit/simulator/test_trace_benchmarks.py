"""The programs that compare on public traces print one object with the promised figures, here for a few jobs."""

import json

import pytest

from benchmarks import gavel_trace, mixed_fleet, sia_trace
from scheduler.config import load_catalog
from tests.unit.simulator.test_gavel_reader import LIST, TABLE
from tests.unit.simulator.test_sia_reader import JOBS, PROFILE


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    for name, text in {"rates": TABLE, "list": LIST, "profile": PROFILE, "jobs": JOBS}.items():
        (tmp_path / f"{name}.csv").write_text(text)
    monkeypatch.chdir(tmp_path)

    def call(program, *words):
        monkeypatch.setattr("sys.argv", ["benchmark", *words, "-o", "json"])
        program.main()
        found = json.loads(capsys.readouterr().out)
        assert {"schema", "command", "machine", "versions", "results"} <= set(found)
        return found["results"]

    return call


GAVEL = (
    "--throughputs",
    "rates.csv",
    "--jobs",
    "list.csv",
    "--cluster",
    "v100=1,p100=2",
    "--policies",
    "fifo-best-type",
)

POLICY_AND_RIVAL = ("fifo-best-type", "gavel/fifo_perf")


def test_windows_count_their_own_jobs_of_one_and_the_same_run(printed):
    whole, last = printed(gavel_trace, *GAVEL, "--window", "0:3,2:3")
    # ends at 100, 210 and 230 s, submitted at 0, 10 and 10 s; alone they need 100, 100 and 20 s
    assert whole["mean_jct_h"] * 3600 == pytest.approx((100 + 200 + 220) / 3)
    assert whole["p50_jct_h"] * 3600 == pytest.approx(200.0)
    assert whole["makespan_h"] * 3600 == pytest.approx(230.0)
    assert whole["slowest_over_best"] == pytest.approx(220 / 20)
    assert whole["worst_excess_h"] * 3600 == pytest.approx(220 - 10 * 20)
    assert (last["jobs"], last["makespan_h"] * 3600) == (1, pytest.approx(220.0))
    assert whole["restarts"] == 0


def test_a_static_list_has_its_bound_beside(printed):
    (row,) = printed(gavel_trace, *GAVEL, "--static")
    assert row["bound_h"] <= row["makespan_h"]
    assert row["over_bound"] == pytest.approx(row["makespan_h"] / row["bound_h"])


def test_the_same_list_by_gavel_s_rounds_stands_beside(printed):
    rows = printed(gavel_trace, *GAVEL, "--window", "0:3,1:3", "--against", "fifo_perf,max_min_fairness_perf")
    ours, theirs = ([r["mean_jct_h"] for r in rows if r["policy"] == name] for name in POLICY_AND_RIVAL)
    assert len(ours) == len(theirs) == 2
    found = gavel_trace.compared(rows)
    assert {row["policy"]: row["cases"] for row in found} == {
        "fifo-best-type": 2,
        "gavel/fifo_perf": 2,
        "gavel/max_min_fairness_perf": 2,
    }
    least = min(row["mean_over_best"] for row in found if row["policy"].startswith("gavel/"))
    assert least == pytest.approx(1.0)
    assert theirs[0] * 3600 >= (100 + 200 + 220) / 3  # rounds of 360 s never start anybody sooner


def test_wrong_sizes_change_what_is_told_and_not_what_is_true(printed):
    known, wrong, unknown = (
        printed(gavel_trace, *GAVEL, *more)[0] for more in ((), ("--size-error", "0.7"), ("--sizes", "unknown"))
    )
    # first come, first served asks for no size: the schedule is the same
    assert known["mean_jct_h"] == wrong["mean_jct_h"] == unknown["mean_jct_h"]


def test_a_row_for_each_policy_and_workload_and_their_mean(printed):
    rows = printed(sia_trace, "--profiles", "profile.csv", "--jobs", "jobs.csv")
    found = {(row["policy"], row["workload"]): row for row in rows}
    names = {"gavel/max_sum_throughput_perf", "balanced"}
    assert set(found) == {(name, f"jobs{part}") for name in names for part in ("-1", "-2", " all")}
    one, two, both = (found["balanced", f"jobs{part}"]["mean_jct_h"] for part in ("-1", "-2", " all"))
    assert both == pytest.approx((one + two) / 2)
    # alone on an empty fleet: 480 steps at the rate of the RTX, and 120 s to load
    assert two * 3600 == pytest.approx(480 * 1.7 * 1.2 + 120)


def test_no_scheduler_beats_the_bound_of_a_mixed_fleet(printed):
    fleet = ("--fleet", "h200=8,h20-96=16,ascend-910c=8", "--loads", "1.0", "--spreads", "0.15", "--seeds", "0:2")
    rows = [row for row in printed(mixed_fleet, *fleet) if "seed" in row]
    assert {row["policy"] for row in rows} == {*mixed_fleet.SCHEDULERS, "sustainable"}
    for row in rows:
        if row["policy"] != "sustainable":
            assert row["h20_equivalents"] <= row["bound"] * (1 + 1e-9)
        else:
            assert row["best_mix"] >= row["same_mix"] * (1 - 1e-9)


def test_the_same_mix_on_one_type_is_the_best_mix():
    catalog = load_catalog()
    fleet = {"h20-96": 16}
    same, best = mixed_fleet.sustainable(mixed_fleet.drawn(catalog, fleet, 1.0, 0.0, 0), fleet)
    assert same == pytest.approx(16.0)
    assert best == pytest.approx(16.0)
