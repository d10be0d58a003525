"""The arithmetic of the report."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.simulator.figures import contention, cycle_times, gaps, jain, peak_rss_mib, quantiles


def test_no_durations_give_zeros_instead_of_an_error():
    assert quantiles([]).mean == 0.0
    assert cycle_times([]).max == 0.0


def test_quantiles_are_interpolated_between_the_durations():
    found = quantiles([0.0, 10.0])
    assert (found.mean, found.p50, found.p90) == (5.0, 5.0, pytest.approx(9.0))


def test_equal_shares_are_perfectly_fair_and_one_taker_of_four_is_not():
    assert jain([2.0, 2.0, 2.0]) == pytest.approx(1.0)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain([]) == 1.0


def column(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_a_job_alone_in_a_large_fleet_meets_no_contention():
    assert contention(column(0), column(10), column(4), 8).tolist() == [1.0]


def test_contention_is_the_mean_demand_over_the_jobs_life():
    # two jobs of 8 devices on 8 devices: alone for half of the first job's life, together for the other half
    assert contention(column(0, 10), column(20, 20), column(8, 8), 8).tolist() == [1.5, 2.0]


def test_a_job_that_lived_for_no_time_has_contention_one():
    assert contention(column(5, 0), column(5, 9), column(8, 8), 1).tolist()[0] == 1.0


@given(st.lists(st.floats(min_value=0.001, max_value=1e6), min_size=1, max_size=20))
def test_jains_index_lies_between_one_over_n_and_one(values: list[float]):
    assert 1 / len(values) - 1e-9 <= jain(values) <= 1 + 1e-9


def test_a_process_holds_some_memory():
    assert peak_rss_mib() > 1


def test_gaps_are_told_of_decisions_that_proved_one_and_not_at_all_where_none_did():
    assert gaps([]) is None
    found = gaps([0.0, 0.02, 0.01])
    assert (found.p50, found.max) == (0.01, 0.02)
    assert found.p99 == pytest.approx(0.0198)
