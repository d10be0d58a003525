"""Gavel's scheduling in rounds, which benchmarks compare with: checked by hand on fleets of two devices."""

import numpy as np
import pytest

from benchmarks.gavel_rounds import fifo_perf, max_min_fairness_perf, max_sum_throughput_perf, replay
from scheduler.model.workload import Workload
from scheduler.simulator.readers.gavel import GavelJob, GavelRates, gavel_job

RATES = GavelRates({("a", 1): {"v100": 4.0, "p100": 1.0}, ("b", 1): {"v100": 2.0, "p100": 1.0}})


def workload(*jobs: tuple[str, float, float], restart_s: float = 0.0) -> Workload:
    made = [
        GavelJob(name=f"j{n}", arrival_s=at, job_type=kind, count=1, steps=steps)
        for n, (kind, at, steps) in enumerate(jobs)
    ]
    return Workload(name="w", arrivals=tuple(gavel_job(job, RATES, restart_s=restart_s) for job in made))


def test_the_largest_sum_gives_the_fast_type_to_who_gains_most():
    rate = np.array([[4.0, 1.0], [2.0, 1.0]])
    share = max_sum_throughput_perf(rate, np.ones(2), np.ones(2))
    assert share == pytest.approx(np.array([[1.0, 0.0], [0.0, 1.0]]), abs=1e-4)


def test_the_largest_least_share_is_even_between_equal_jobs():
    rate = np.array([[4.0, 1.0], [4.0, 1.0]])
    share = max_min_fairness_perf(rate, np.ones(2), np.ones(2))
    assert (share * rate).sum(axis=1) == pytest.approx(np.array([2.5, 2.5]), abs=1e-3)


def test_jobs_keep_devices_to_the_end_of_the_round():
    done = replay(workload(("a", 0, 40.0), ("b", 0, 20.0), ("a", 0, 40.0)), {"v100": 1}, "max_sum_throughput_perf", 60)
    # each is done within its round of 60 s, ten seconds in, whoever goes first
    assert sorted(done.ended_s.tolist()) == pytest.approx([10.0, 70.0, 130.0])
    assert done.restarts.tolist() == [0, 0, 0]


def test_a_job_that_comes_between_rounds_waits_for_the_next():
    done = replay(workload(("a", 61, 40.0)), {"v100": 1}, "max_sum_throughput_perf", 60)
    assert done.ended_s.tolist() == pytest.approx([130.0])


def test_equal_jobs_take_turns_and_pay_for_it():
    jobs = workload(("a", 0, 400.0), ("a", 0, 400.0), restart_s=10)
    done = replay(jobs, {"v100": 1}, "max_sum_throughput_perf", 60)
    assert done.restarts.sum() >= 1
    # 200 s of work, ten for each restart, and at most what the last round leaves idle between them
    assert done.ended_s.max() >= 200 + 10 * done.restarts.sum() - 1e-6
    first = replay(jobs, {"v100": 1}, "max_sum_throughput_perf", 60, load_first=True)
    assert first.ended_s.max() >= done.ended_s.max()


def test_in_order_of_arrival_each_has_its_fastest_type_up_to_the_first_that_fits_nowhere():
    rate = np.array([[1.0, 2.0], [3.0, 2.0], [1.0, 1.0], [1.0, 1.0]])
    share = fifo_perf(rate, np.array([1.0, 1.0, 2.0, 1.0]), np.array([2.0, 1.0]))
    assert share.tolist() == [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]


def test_in_order_of_arrival_nobody_is_passed_over_even_where_the_round_has_room():
    jobs = workload(("a", 0, 400.0), ("a", 0, 400.0), ("b", 0, 20.0))
    done = replay(jobs, {"v100": 1}, "fifo_perf", 60)
    # 100 s each and 10 s, every job from the beginning of the round after its predecessor's end
    assert done.ended_s.tolist() == pytest.approx([100.0, 220.0, 250.0])


def test_a_run_may_end_with_the_first_jobs():
    done = replay(workload(("a", 0, 40.0), ("b", 0, 20.0), ("a", 900, 40.0)), {"v100": 1}, "fifo_perf", 60, first=2)
    assert done.ended_s.tolist() == [10.0, 70.0, np.inf]
    assert done.rounds == 2


def test_between_two_allocations_newcomers_wait():
    jobs = workload(("b", 0, 2000.0), ("a", 30, 40.0))
    at_once = replay(jobs, {"v100": 1, "p100": 1}, "max_sum_throughput_perf", 60)
    later = replay(jobs, {"v100": 1, "p100": 1}, "fifo_perf", 60, resets_s=300)
    assert at_once.ended_s[1] == pytest.approx(70.0)
    assert later.ended_s[1] == pytest.approx(340.0)


@pytest.mark.parametrize("resets_s", [None, 120.0])
def test_shares_are_given_to_the_round_over_time(resets_s):
    jobs = workload(("a", 0, 4800.0), ("a", 0, 4800.0), ("a", 0, 4800.0))
    done = replay(jobs, {"v100": 1}, "max_min_fairness_perf", 60, resets_s=resets_s)
    # 1,200 s each: nobody is more than a round ahead of who has had least, so all end in the last rounds
    assert done.ended_s.max() == pytest.approx(3600.0)
    assert done.ended_s.min() >= 3600 - 3 * 60
