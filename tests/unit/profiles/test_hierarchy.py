"""Intervals of log residuals hold what they promise, from few groups as from many."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scheduler.profiles.hierarchy import fit_effects, predict
from scheduler.profiles.student import student_quantile

CELLS, REPEATS = 4, 3


def simulated(rng, devices, between, within, noise):
    """Residuals (n,) and groups (n, 2) of devices with CELLS cells of REPEATS observations."""
    device = np.repeat(np.arange(devices), CELLS * REPEATS)
    cell = np.repeat(np.arange(devices * CELLS), REPEATS)
    drawn = rng.normal(0, between, devices)[device] + rng.normal(0, within, devices * CELLS)[cell]
    return drawn + rng.normal(0, noise, len(device)), np.stack([device, cell], axis=1)


def coverage(devices, scatter, floors, seen, worlds=160, seed=7):
    """Of worlds, how many 90 % intervals of a new device's observation hold it, after `seen` observations there."""
    rng, held = np.random.default_rng(seed), 0
    for _ in range(worlds):
        residuals, groups = simulated(rng, devices + 1, *scatter)
        new = groups[:, 0] == devices
        effects = fit_effects(residuals[~new], groups[~new], floors=floors)
        expected = predict(effects, groups[new][-1:], residuals[new][:seen], groups[new][:seen])
        low, high = expected.interval(0.9)
        held += bool(low[0] <= math.exp(residuals[new][-1]) <= high[0])
    return held


@pytest.mark.parametrize("devices", [3, 6, 20])
@pytest.mark.parametrize("seen", [0, 1])
@pytest.mark.parametrize("scatter", [(0.5, 0.1, 0.1), (0.1, 0.1, 0.2)])
def test_ninety_per_cent_intervals_hold_ninety_per_cent(devices, seen, scatter):
    worlds = 160 if devices < 20 else 80
    low, high = stats.binom.interval(0.99, worlds, 0.9)
    assert low <= coverage(devices, scatter, (0.0, 0.0), seen, worlds) <= high


@pytest.mark.parametrize("devices", [3, 6])
@pytest.mark.parametrize("between", [0.0, 0.1, 0.25])
def test_with_the_floor_few_devices_never_promise_too_much(devices, between):
    low, _ = stats.binom.interval(0.99, 100, 0.9)
    assert coverage(devices, (between, 0.1, 0.1), (0.25, 0.0), seen=0, worlds=100) >= low


def test_the_scatter_found_is_that_of_the_residuals_when_groups_are_many():
    residuals, groups = simulated(np.random.default_rng(3), 120, 0.4, 0.2, 0.1)
    effects = fit_effects(residuals, groups, floors=(0.25, 0.0))
    assert effects.scales == pytest.approx([0.4, 0.2], rel=0.15)
    assert effects.noise == pytest.approx(0.1, rel=0.15)
    assert effects.dofs == pytest.approx([119, 360])


def test_a_balanced_design_gives_the_analysis_of_variance():
    rng = np.random.default_rng(11)
    group = np.repeat(np.arange(30), 5)
    residuals = rng.normal(0, 0.5, 30)[group] + rng.normal(0, 0.2, 150)
    table = residuals.reshape(30, 5)
    within = table.var(axis=1, ddof=1).mean()
    between = table.mean(axis=1).var(ddof=1) - within / 5
    effects = fit_effects(residuals, group[:, None], floors=(0.0,))
    assert effects.noise**2 == pytest.approx(within, rel=1e-3)
    assert effects.scales[0] ** 2 == pytest.approx(between * (1 + 0.5 / 29), rel=1e-3)


def test_observations_shrink_their_cell_as_normal_conjugacy_has_it():
    effects = fit_effects(np.zeros(0), np.zeros((0, 1), dtype=np.int64), floors=(0.3,), mean=0.0)
    seen = np.array([0.2, 0.4, 0.3])
    found = predict(effects, np.array([[5]]), seen, np.full((3, 1), 5))
    noise = effects.noise**2
    variance = 1 / (1 / 0.3**2 + 3 / noise)
    assert found.mean[0] == pytest.approx(variance * seen.sum() / noise)
    assert found.scale[0] ** 2 == pytest.approx(variance + noise)


def test_what_was_seen_elsewhere_says_nothing_where_the_mean_is_known():
    effects = fit_effects(np.zeros(0), np.zeros((0, 1), dtype=np.int64), floors=(0.3,), mean=0.0)
    found = predict(effects, np.array([[1]]), np.array([2.0]), np.array([[0]]))
    assert found.mean[0] == pytest.approx(0.0)
    assert found.scale[0] ** 2 == pytest.approx(0.3**2 + effects.noise**2)


def test_a_belief_worth_many_groups_outweighs_three_that_were_seen():
    residuals, groups = simulated(np.random.default_rng(0), 3, 0.02, 0.02, 0.02)
    effects = fit_effects(residuals, groups, floors=(0.3, 0.0), prior_dof=1000.0)
    assert effects.scales[0] == pytest.approx(0.3, rel=0.01)
    assert effects.dofs[0] == 1002


def test_levels_that_cannot_be_told_apart_are_counted_once():
    device = np.repeat(np.arange(8), 2)
    residuals = np.random.default_rng(4).normal(0, 0.3, 8)[device]
    once = fit_effects(residuals, device[:, None], floors=(0.0,))
    twice = fit_effects(residuals, np.stack([device, device], axis=1), floors=(0.0, 0.0))
    assert twice.scales == pytest.approx([once.scales[0], 0.0], rel=0.3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_rows_in_another_order_and_groups_by_another_name_give_the_same(seed, devices, cells):
    rng = np.random.default_rng(seed)
    groups = np.stack([rng.integers(0, devices, 20), rng.integers(0, devices * cells, 20)], axis=1)
    residuals, order = rng.normal(0, 0.3, 20), rng.permutation(20)
    names = rng.permutation(1000)
    plain = predict(fit_effects(residuals, groups, floors=(0.2, 0.0)), groups)
    other = predict(fit_effects(residuals[order], names[groups[order]], floors=(0.2, 0.0)), names[groups])
    for one, two in zip(plain.interval(), other.interval(), strict=True):
        assert one == pytest.approx(two, rel=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_more_observations_of_a_cell_never_widen_its_interval(seed, most):
    rng = np.random.default_rng(seed)
    residuals, groups = simulated(rng, 5, 0.3, 0.2, 0.1)
    effects, target = fit_effects(residuals, groups, floors=(0.25, 0.0)), np.array([[9, 99]])
    scales = [predict(effects, target, rng.normal(0, 0.3, k), np.tile(target, (k, 1))).scale[0] for k in range(most)]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(scales))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_residual_that_is_no_number_is_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        fit_effects(np.array([bad]), np.zeros((1, 1), dtype=np.int64), floors=(0.1,))


def test_residuals_without_their_groups_are_refused():
    with pytest.raises(ValueError, match="do not go with"):
        fit_effects(np.zeros(3), np.zeros((2, 1), dtype=np.int64), floors=(0.1,))


@given(st.floats(0.005, 0.995), st.lists(st.floats(1, 1e5), min_size=1, max_size=4))
def test_quantiles_are_students(probability, dofs):
    expected = stats.t.ppf(probability, dofs)
    assert student_quantile(probability, np.array(dofs)) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("probability", [0.0, 1.0, -1.0])
def test_a_probability_outside_its_range_is_refused(probability):
    with pytest.raises(ValueError, match="between 0 and 1"):
        student_quantile(probability, np.array([3.0]))
