"""Coefficients of additive times."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from scheduler.profiles.fitting import fit_nonnegative


def drawn(seed, rows=30, terms=4, noise=0.0):
    draw = np.random.default_rng(seed)
    shape = draw.lognormal(0, 1, (rows, terms)) * 10.0 ** draw.integers(-6, 6, terms)
    true = draw.lognormal(0, 1, terms) / shape.mean(axis=0) * draw.integers(0, 2, terms)
    true[draw.integers(terms)] = 1.0 / shape.mean()
    return shape, true, shape @ true * draw.lognormal(0, noise, rows)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.05, 0.5]))
def test_the_least_relative_error_is_that_of_a_reference_solver(seed, noise):
    terms, _, times = drawn(seed, noise=noise)
    found = fit_nonnegative(terms, times)
    shares = terms / times[:, None]
    size = np.sqrt((shares**2).sum(axis=0))
    _, least = nnls(shares / size, np.ones(len(times)))
    assert (found >= 0).all()
    assert np.linalg.norm(shares @ found - 1) <= least + 1e-7


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_exact_times_give_the_coefficients_back_whatever_their_units(seed):
    terms, true, times = drawn(seed)
    assert fit_nonnegative(terms, times) * terms.mean(axis=0) == pytest.approx(
        true * terms.mean(axis=0), rel=1e-4, abs=1e-5 * times.mean()
    )


def test_a_measurement_that_went_wrong_is_not_followed_when_robust():
    terms, _, times = drawn(3, noise=0.01)
    spoilt = times.copy()
    spoilt[:3] *= 3.0
    firm, pulled = (
        np.abs(terms @ fit_nonnegative(terms, spoilt, robust=r) / times - 1)[3:].mean() for r in (True, False)
    )
    assert firm < 0.02 < pulled


def test_a_prior_holds_where_nothing_was_measured_and_yields_where_much_was():
    terms = np.array([[1.0, 0.0]] * 50)
    times = np.full(50, 2.0)
    found = fit_nonnegative(terms, times, prior=np.array([1.0, 7.0]), prior_weight=1.0)
    assert found[1] == pytest.approx(7.0)
    assert found[0] == pytest.approx(2.0, rel=0.1)
    assert fit_nonnegative(terms[:0], times[:0], prior=np.array([1.0, 7.0]), prior_weight=1.0) == pytest.approx([1, 7])


def test_weights_count_a_row_as_often_as_they_say():
    terms, _, times = drawn(5, noise=0.3)
    twice = fit_nonnegative(np.vstack([terms, terms[:5]]), np.concatenate([times, times[:5]]))
    weighed = fit_nonnegative(terms, times, weights=np.where(np.arange(30) < 5, 2.0, 1.0))
    assert weighed == pytest.approx(twice)


@pytest.mark.parametrize(
    ("terms", "times"),
    [
        (np.ones((3, 2)), np.ones(2)),
        (np.ones((2, 2)), np.zeros(2)),
        (-np.ones((2, 2)), np.ones(2)),
        (np.full((2, 2), np.nan), np.ones(2)),
    ],
)
def test_what_no_time_can_be_is_refused(terms, times):
    with pytest.raises(ValueError, match="times"):
        fit_nonnegative(terms, times)
