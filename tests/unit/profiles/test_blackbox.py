"""Step times of jobs of which only step times are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from scheduler.profiles.blackbox import BlackBox, fit_black_box

TRUE = BlackBox(
    compute_fixed_s=0.05,
    compute_sample_s=0.01,
    local_fixed_s=0.03,
    local_replica_s=0.002,
    cross_fixed_s=0.2,
    cross_replica_s=0.01,
    overlap=2.0,
)


def grid(most_nodes=4, per_node=4):
    rows = [(b, r, n) for b in (2, 4, 8, 16, 32) for n in range(1, most_nodes + 1) for r in range(n, n * per_node + 1)]
    batch, replicas, nodes = np.array(rows).T
    return batch.astype(float), replicas, nodes


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0.2, 5), min_size=6, max_size=6),
    st.floats(1.2, 6),
)
def test_times_of_the_form_are_found_again(factors, overlap):
    names = TRUE.__struct_fields__[:6]
    changed = {name: getattr(TRUE, name) * factor for name, factor in zip(names, factors, strict=True)}
    true = structs.replace(TRUE, **changed, overlap=overlap)
    times = true.step_s(*grid())
    found = fit_black_box(*grid(), times)
    assert np.abs(found.step_s(*grid()) / times - 1).mean() < 0.02


def test_outliers_are_held_back():
    draw = np.random.default_rng(0)
    times = TRUE.step_s(*grid()) * draw.lognormal(0, 0.02, len(grid()[0]))
    spoilt = times.copy()
    spoilt[::12] *= 3
    found = fit_black_box(*grid(), spoilt)
    assert np.median(np.abs(found.step_s(*grid()) / times - 1)) < 0.03
    assert found.error > 0.1


def test_more_replicas_than_seen_follow():
    batch, replicas, nodes = grid()
    few = replicas <= 8
    found = fit_black_box(batch[few], replicas[few], nodes[few], TRUE.step_s(batch[few], replicas[few], nodes[few]))
    assert found.step_s(*grid()) == pytest.approx(TRUE.step_s(*grid()), rel=0.1)


def test_a_job_that_never_shared_is_taken_to_talk_for_free():
    batch, one = np.array([2.0, 4, 8, 16]), np.ones(4, dtype=int)
    found = fit_black_box(batch, one, one, TRUE.step_s(batch, one, one))
    together = found.step_s(batch, 4 * one, one)
    assert together == pytest.approx(found.step_s(batch, one, one))


def test_across_nodes_talks_no_faster_than_within_where_one_of_both_was_seen():
    batch, replicas, nodes = grid(most_nodes=1)
    found = fit_black_box(batch, replicas, nodes, TRUE.step_s(batch, replicas, nodes))
    assert found.cross_fixed_s == pytest.approx(1.1 * found.local_fixed_s)
    across = grid()[2] > 1
    batch, replicas, nodes = (column[across] for column in grid())
    found = fit_black_box(batch, replicas, nodes, TRUE.step_s(batch, replicas, nodes))
    assert found.local_fixed_s == pytest.approx(found.cross_fixed_s / 1.1)


@pytest.mark.parametrize("bend", [0.0, 0.4])
def test_bands_hold_nine_in_ten_of_more_replicas_whether_or_not_they_follow_the_form(bend):
    draw = np.random.default_rng(1)
    batch, replicas, nodes = grid()
    times = TRUE.step_s(batch, replicas, nodes) * draw.lognormal(0, 0.02, len(batch)) * np.sqrt(replicas) ** bend
    few = replicas <= 6
    found = fit_black_box(batch[few], replicas[few], nodes[few], times[few])
    more = ~few
    off = np.abs(np.log(times[more] / found.step_s(batch[more], replicas[more], nodes[more])))
    assert (off <= found.log_reach(replicas[more])).mean() > 0.8
    assert found.most_replicas == 6


def test_the_band_grows_with_replicas_beyond_those_seen_and_faster_where_steps_did_not_follow():
    batch, replicas, nodes = grid()
    times = TRUE.step_s(batch, replicas, nodes)
    true = fit_black_box(batch, replicas, nodes, times)
    odd = fit_black_box(batch, replicas, nodes, times * np.where(replicas % 4 > 1, 1.5, 1.0))
    counts = np.array([1, 16, 32, 64])
    reach = odd.log_reach(counts)
    assert reach[0] == reach[1] == pytest.approx(odd.reach)
    assert (np.diff(reach[1:]) > 0).all()
    assert (reach > 2 * true.log_reach(counts)).all()


def test_a_job_of_one_size_is_doubted_as_usual_at_others():
    batch, one = np.array([2.0, 4, 8, 16]), np.ones(4, dtype=int)
    assert fit_black_box(batch, one, one, TRUE.step_s(batch, one, one)).drift == 0.15


@given(st.floats(1, 64), st.integers(1, 64), st.integers(1, 8))
def test_larger_batches_and_more_replicas_never_take_less(batch, replicas, nodes):
    nodes = min(nodes, replicas)
    here = TRUE.step_s(batch, replicas, nodes)
    assert TRUE.step_s(2 * batch, replicas, nodes) >= here
    assert TRUE.step_s(batch, replicas + 1, nodes) >= here
    assert TRUE.step_s(batch, replicas, nodes, accumulations=3) == pytest.approx(here + 3 * (0.05 + 0.01 * batch))


def test_computing_and_talking_take_at_least_the_longer_and_at_most_both():
    times = TRUE.step_s(*grid())
    alone = structs.replace(TRUE, overlap=1.0).step_s(*grid())
    hidden = structs.replace(TRUE, overlap=10.0).step_s(*grid())
    assert (hidden <= times).all()
    assert (times <= alone).all()


@pytest.mark.parametrize(
    ("batch", "replicas", "times"),
    [([1.0], [1], [0.0]), ([0.0], [1], [1.0]), ([1.0], [0], [1.0]), ([1.0, 2.0], [1], [1.0]), ([], [], [])],
)
def test_what_no_job_can_be_is_refused(batch, replicas, times):
    nodes = np.ones(len(replicas), dtype=int)
    with pytest.raises(ValueError, match=r"above 0|as many"):
        fit_black_box(np.array(batch), np.array(replicas, dtype=int), nodes, np.array(times))
