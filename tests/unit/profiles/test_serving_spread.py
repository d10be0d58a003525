"""Bands of serving times hold what they promise, and observations of a cell move and narrow them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.profiles.serving_spread import Spread, band, expected, fit_spread

KNOWN = Spread(level=0.2, stack=0.1, bend=0.1, reach=1.25, noise=0.05, tail=1.645, tail_seen=1.645, cells=50)


def world(rng, cells, rows=24, truth=KNOWN):
    """Residuals, cells, stacks and features drawn from a known spread."""
    place = np.repeat(np.arange(cells), rows)
    stack = 2 * place + rng.integers(0, 2, len(place))
    features = rng.normal(0, 1, (len(place), 3))
    residuals = rng.normal(0, truth.level, cells)[place] + rng.normal(0, truth.stack, 2 * cells)[stack]
    for cell in range(cells):
        own = np.flatnonzero(place == cell)
        apart = ((features[own][:, None] - features[own][None]) ** 2).sum(axis=-1)
        covariance = truth.bend**2 * np.exp(-apart / (2 * truth.reach**2)) + 1e-9 * np.eye(len(own))
        residuals[own] += rng.multivariate_normal(np.zeros(len(own)), covariance)
    return residuals + rng.normal(0, truth.noise, len(place)), place, stack, features


def test_the_spread_that_made_the_residuals_is_found_again():
    found = fit_spread(*world(np.random.default_rng(1), 80), np.random.default_rng(0))
    assert found.level == pytest.approx(KNOWN.level, rel=0.25)
    assert found.stack == pytest.approx(KNOWN.stack, rel=0.35)
    assert found.bend == pytest.approx(KNOWN.bend, rel=0.35)
    assert found.noise == pytest.approx(KNOWN.noise, rel=0.25)
    assert found.reach == KNOWN.reach
    assert found.tail == pytest.approx(1.645, rel=0.1)


@pytest.mark.parametrize("seen", [0, 3])
def test_ninety_per_cent_bands_of_new_cells_hold_ninety_per_cent(seen):
    rng = np.random.default_rng(4)
    spread = fit_spread(*world(rng, 40), np.random.default_rng(0))
    residuals, cells, stacks, features = world(rng, 150)
    inside = []
    for cell in range(150):
        own = np.flatnonzero(cells == cell)
        known, rest = own[:seen], own[seen:]
        said = expected(spread, features[rest], stacks[rest], residuals[known], features[known], stacks[known])
        low, high = said.interval(0.9)
        inside.append(((np.log(low) <= residuals[rest]) & (residuals[rest] <= np.log(high))).mean())
    assert 0.85 <= np.mean(inside) <= 0.95


@pytest.mark.parametrize("wild", [0.0, 0.02])
def test_one_broken_run_in_fifty_does_not_widen_every_band(wild):
    rng = np.random.default_rng(6)
    residuals, *rest = world(rng, 40)
    residuals[rng.random(len(residuals)) < wild] = 3.0
    assert band(fit_spread(residuals, *rest, np.random.default_rng(0)))[1] < 1.6


@given(st.floats(-1, 1), st.integers(1, 6))
def test_observations_move_the_expectation_towards_them_but_not_beyond(level, seen):
    here = np.zeros((1, 2))
    said = expected(KNOWN, here, np.zeros(1, int), np.full(seen, level), np.zeros((seen, 2)), np.zeros(seen, int))
    assert abs(said.mean[0]) <= abs(level) + 1e-12
    assert said.mean[0] * level >= 0
    assert said.scale[0] < expected(KNOWN, here, np.zeros(1, int)).scale[0]


def test_an_observation_that_cannot_be_moves_no_more_than_one_that_hardly_can():
    here, stack = np.zeros((1, 2)), np.zeros(1, int)
    means = [expected(KNOWN, here, stack, np.array([seen]), here, stack).mean[0] for seen in (0.7, 0.9, 50.0)]
    assert means[0] < means[1] == means[2] < 1


def test_what_is_seen_counts_more_at_the_same_batch_and_under_the_same_version():
    seen = (np.array([0.4]), np.zeros((1, 2)), np.zeros(1, int))
    near, far = np.zeros((1, 2)), np.full((1, 2), 9.0)
    means = [expected(KNOWN, at, np.array([stack]), *seen).mean[0] for at, stack in ((near, 0), (far, 0), (far, 1))]
    assert means[0] > means[1] > means[2] > 0


@pytest.mark.parametrize("cells", [1, 2, 3, 4, 5])
def test_few_cells_promise_less(cells):
    residuals, *rest = world(np.random.default_rng(2), 12)
    few = rest[0] < cells
    found = fit_spread(residuals[few], *(part[few] for part in rest), np.random.default_rng(0))
    assert found.tail >= {1: 6.3, 2: 6.3, 3: 2.9}.get(cells, 0.0)
    assert found.level > 0.05


def test_a_spread_is_a_function_of_its_inputs_and_seed():
    data = world(np.random.default_rng(3), 10)
    assert fit_spread(*data, np.random.default_rng(5)) == fit_spread(*data, np.random.default_rng(5))


def test_nothing_to_learn_from_is_refused():
    empty = np.zeros(0)
    with pytest.raises(ValueError, match="needs residuals"):
        fit_spread(empty, empty.astype(int), empty.astype(int), np.zeros((0, 2)), np.random.default_rng(0))
