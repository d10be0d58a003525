"""Sia's profiles and workloads: rates of placements, gradients accumulated, restart costs, gangs on many nodes."""

import pytest

from scheduler.errors import ConfigError
from scheduler.model.units import US_PER_S
from scheduler.simulator.readers.sia import SIA_FLEET, SiaNodes, SiaProfiles, read_sia_jobs, read_sia_profiles

HEADING = "application,cluster,placement,local_bsz,step_time,sync_time\n"
PROFILE = (
    HEADING
    + """bert,aws,24,32,1.0,0.2
bert,aws,24,64,2.0,0.2
bert,aws,222,64,4.0,0.2
bert,rtx,6,16,0.5,0.1
bert,rtx,6,32,0.9,0.1
"""
)
JOBS = (
    "workload,name,time,application,num_replicas,batch_size\n1,b,20,bert,6,384\n2,c,0,bert,6,384\n1,a,10,bert,6,384\n"
)


def profiles_of(folder, text: str = PROFILE) -> SiaProfiles:
    (folder / "profile.csv").write_text(text)
    return read_sia_profiles(folder / "profile.csv")


def test_a_rate_is_that_of_full_nodes_and_a_rest(tmp_path):
    # 384 over 6 devices is 64 each: on T4 in nodes of 4 that is 2 + 4, a step of 2 s, slowed down by 1.2
    assert profiles_of(tmp_path).steps_per_s("bert", SIA_FLEET["t4"], 6, 384) == pytest.approx(1 / (2.0 * 1.2))


def test_batches_in_between_are_interpolated(tmp_path):
    assert profiles_of(tmp_path).steps_per_s("bert", SIA_FLEET["t4"], 6, 288) == pytest.approx(1 / (1.5 * 1.2))


def test_a_batch_that_does_not_fit_is_accumulated_without_the_exchange(tmp_path):
    # 64 is twice what was measured on RTX: two passes of 32, and the first has no exchange
    rate = profiles_of(tmp_path).steps_per_s("bert", SIA_FLEET["rtx-2080-ti"], 6, 384)
    assert rate == pytest.approx(1 / ((0.9 + 0.8) * 1.2))


def test_what_was_not_measured_or_does_not_fit_has_no_rate(tmp_path):
    profiles = profiles_of(tmp_path)
    assert profiles.steps_per_s("bert", SIA_FLEET["a100"], 6, 384) is None
    assert profiles.steps_per_s("bert", SIA_FLEET["t4"], 6, 60) is None  # below the smallest batch
    assert profiles.steps_per_s("bert", SiaNodes("aws", 4, 1), 6, 384) is None


def test_a_gang_on_more_nodes_is_as_slow_as_was_measured(tmp_path):
    # on 2 nodes as forecast, on 3 half as fast, and on more as on 3; fewer than needed cannot happen
    assert profiles_of(tmp_path).spread("bert", SIA_FLEET["t4"], 6, 384) == pytest.approx((1, 1, 0.5, 0.5, 0.5, 0.5))


def test_a_workload_is_the_rows_of_its_number_by_time(tmp_path):
    (tmp_path / "jobs.csv").write_text(JOBS)
    workload = read_sia_jobs(tmp_path / "jobs.csv", profiles_of(tmp_path), 1)
    assert workload.name == "jobs-1"
    assert [(a.job.name, a.at_us) for a in workload.arrivals] == [("a", 10 * US_PER_S), ("b", 20 * US_PER_S)]
    job = workload.arrivals[0].job
    assert job.work.amount == 480
    assert job.checkpoint.restart_us == 120 * US_PER_S
    assert {m.accelerator: m.count for m in job.work.measured} == {"t4": 6, "rtx-2080-ti": 6}


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("1,d,5,bert,6,385", "application"),
        ("1,d,5,gpt,6,384", "application"),
        ("1,d,5,bert,7,384", "num_replicas"),
        ("1,d,-5,bert,6,384", "time"),
        ("x,d,5,bert,6,384", "workload"),
    ],
)
def test_a_wrong_job_is_refused_with_its_line(tmp_path, line, column):
    (tmp_path / "jobs.csv").write_text(JOBS + line + "\n")
    with pytest.raises(ConfigError) as caught:
        read_sia_jobs(tmp_path / "jobs.csv", profiles_of(tmp_path), 1)
    assert (caught.value.line, caught.value.path) == (5, column)


def test_a_number_that_no_workload_has_is_refused(tmp_path):
    (tmp_path / "jobs.csv").write_text(JOBS)
    with pytest.raises(ConfigError, match="no workload 3"):
        read_sia_jobs(tmp_path / "jobs.csv", profiles_of(tmp_path), 3)


@pytest.mark.parametrize(
    "row", ["bert,aws,2x,32,1,0.2", "bert,aws,20,32,1,0.2", "bert,aws,2,32,0,0.2", "bert,aws,2,nan,1,0"]
)
def test_a_wrong_profile_is_refused_with_its_line(tmp_path, row):
    with pytest.raises(ConfigError) as caught:
        profiles_of(tmp_path, PROFILE + row + "\n")
    assert caught.value.line == 7


def test_a_profile_without_rows_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no measured placement"):
        profiles_of(tmp_path, HEADING)
