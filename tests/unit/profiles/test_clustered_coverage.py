"""Coverage of measurements that err together is less sure than their number says."""

import numpy as np
import pytest

from benchmarks._clustered import clustered_interval
from benchmarks._scores import binomial_interval


def interval(inside, clusters):
    return clustered_interval(np.asarray(inside, dtype=float), np.arange(len(inside)), [str(c) for c in clusters])


def test_measurements_that_each_stand_alone_have_nearly_the_binomial_interval():
    inside = np.arange(200) % 10 > 0
    assert interval(inside, np.arange(200)) == pytest.approx(binomial_interval(180, 200), abs=0.01)


def test_measurements_that_all_err_with_their_cluster_count_as_one_each():
    low, high = interval(np.repeat([1] * 9 + [0], 50), np.repeat(np.arange(10), 50))
    few, many = binomial_interval(9, 10), binomial_interval(450, 500)
    assert low < few[0] + 0.05 < many[0]
    assert high > many[1]


def test_one_cluster_says_nothing():
    assert interval([1, 1, 0], [0, 0, 0]) == (0.0, 1.0)


def test_several_predictions_of_one_measurement_are_not_several_measurements():
    inside, which, clusters = np.array([1.0, 1.0, 0.0, 1.0]), [0, 1, 2, 3], ["a", "b", "c", "d"]
    once = clustered_interval(inside, which, clusters)
    assert clustered_interval(np.tile(inside, 10), which * 10, clusters * 10) == once


@pytest.mark.parametrize("size", [5, 40])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(size):
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        chance = np.repeat(rng.beta(4.5, 0.5, 20), size)  # nine in ten, but by cluster
        low, high = interval(rng.random(len(chance)) < chance, np.repeat(np.arange(20), size))
        held += low <= 0.9 <= high
    assert held >= 180
