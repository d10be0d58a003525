"""What running jobs show corrects the rates of their kind, by as much as they have shown."""

import math
import random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler.model.accelerators import Provenance
from scheduler.profiles.observed import NOISE, STEP, Correction, corrected, corrections, scale_of
from scheduler.profiles.table import Rate

MODELLED = Rate(10.0, 6.0, 15.0, Provenance.MODELLED)
MEASURED = Rate(10.0, 9.5, 10.5, Provenance.MEASURED)
WIDE = {"h200": 0.4, "h20-96": 0.4}
ratios = st.lists(st.floats(-1.5, 1.5), max_size=6)


def test_nothing_seen_corrects_nothing():
    assert corrections(WIDE, {}) == {name: Correction(0.0, 0.4, 0) for name in WIDE}


def test_what_was_seen_on_a_chip_is_believed_there():
    found = corrections(WIDE, {"h200": [math.log(0.67)] * 3})
    assert math.exp(found["h200"].mean) == pytest.approx(0.67, rel=0.03)
    assert found["h200"].attempts == 3


def test_other_chips_follow_by_less_and_stay_less_sure():
    found = corrections(WIDE, {"h200": [math.log(0.67)] * 3})
    assert 0.67 < math.exp(found["h20-96"].mean) < 0.9
    assert found["h20-96"].scale > 3 * found["h200"].scale


def test_a_measured_rate_hardly_moves_where_a_guess_does():
    scales = {"h200": scale_of(MEASURED), "h20-96": scale_of(MODELLED)}
    seen = {"h200": [-0.3], "h20-96": [-0.3]}
    found = corrections(scales, seen)
    assert found["h200"].mean > 0.5 * found["h20-96"].mean


def test_one_straggler_among_many_changes_little():
    fair = corrections(WIDE, {"h200": [0.1] * 9})
    with_straggler = corrections(WIDE, {"h200": [0.1] * 9 + [-2.0]})
    assert with_straggler["h200"].mean == pytest.approx(fair["h200"].mean, abs=0.03)


def test_the_band_of_a_corrected_rate_narrows_with_what_was_seen():
    widths = []
    for count in (0, 1, 5):
        rate = corrected(MODELLED, corrections(WIDE, {"h200": [-0.2] * count})["h200"])
        widths.append(rate.high / rate.low)
    assert widths == sorted(widths, reverse=True)
    assert rate.provenance is Provenance.MEASURED
    assert rate.value / rate.learned == pytest.approx(MODELLED.value)


@given(ratios, ratios)
def test_the_order_of_what_was_seen_does_not_matter(here, there):
    shuffled = random.Random(1).sample(here, len(here))
    assert corrections(WIDE, {"h200": here, "h20-96": there}) == corrections(WIDE, {"h200": shuffled, "h20-96": there})


@given(ratios, ratios)
def test_seeing_more_never_makes_less_sure(here, there):
    before = corrections(WIDE, {"h200": here, "h20-96": there})
    after = corrections(WIDE, {"h200": [*here, 0.0], "h20-96": there})
    for name, scale in WIDE.items():
        assert after[name].scale <= before[name].scale <= scale + 0.02


def test_nine_of_ten_next_attempts_lie_in_the_band():
    rng = random.Random(7)
    inside = trials = 0
    for _ in range(600):
        common, own = rng.gauss(0, 1), rng.gauss(0, 1)
        truth = 0.4 * (math.sqrt(0.7) * common + math.sqrt(0.3) * own)
        seen = [truth + rng.gauss(0, NOISE) for _ in range(rng.choice([0, 1, 3]))]
        rate = corrected(MODELLED, corrections(WIDE, {"h200": seen})["h200"])
        following = MODELLED.value * math.exp(truth + rng.gauss(0, NOISE))
        inside += rate.low <= following <= rate.high
        trials += 1
    assert 0.88 <= inside / trials <= 0.96


def test_a_bound_far_below_what_is_believed_tells_nothing():
    assert corrections(WIDE, {}, {"h200": [-3.0]}) == {
        name: Correction(0.0, scale, 0, int(name == "h200")) for name, scale in WIDE.items()
    }


@given(st.floats(-2, 2), st.floats(-1, 1))
def test_a_bound_raises_what_is_believed_and_makes_it_surer(bound, seen):
    without = corrections(WIDE, {"h200": [seen]})
    found = corrections(WIDE, {"h200": [seen]}, {"h200": [bound]})
    for name in WIDE:
        assert found[name].mean >= without[name].mean - STEP
        assert found[name].scale <= without[name].scale + STEP
    assert (found["h200"].attempts, found["h200"].bounds) == (1, 1)


@given(st.floats(-0.5, 1.5))
def test_a_bound_leaves_the_moments_of_the_normal_above_it(bound):
    """Against sampling: a rate with the prior's spread, of which only those count that can do as much."""
    scale = WIDE["h200"]
    draws = np.random.default_rng(0).normal(size=(2, 400_000))
    true = scale * draws[0]
    kept = true[true + NOISE * draws[1] >= bound]
    assume(len(kept) > 2000)
    found = corrections({"h200": scale}, {}, {"h200": [bound]})["h200"]
    assert found.mean == pytest.approx(float(kept.mean()), abs=0.02 + STEP / 2)
    assert found.scale == pytest.approx(float(kept.std()), abs=0.02 + STEP)


def test_a_bound_on_one_chip_raises_the_others_by_less():
    found = corrections(WIDE, {}, {"h200": [0.5]})
    assert found["h200"].mean > found["h20-96"].mean > 0


def test_a_bound_that_the_model_cannot_explain_moves_the_belief_there():
    assert corrections(WIDE, {}, {"h200": [4.0]})["h200"].mean == pytest.approx(4.0, abs=0.3)
