"""A probe is worth what the better choice after it adds, and is made where that exceeds its cost."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.profiles.calibration import Belief
from scheduler.profiles.probes import Choice, best_probe, expected_gain

KNOWN = Choice(belief=Belief(math.log(10.0), 0.01))


def by_sampling(choices, place, draws=200_000, seed=3):
    """The gain by drawing truths, probes of them, and the better choice after each."""
    rng, choice = np.random.default_rng(seed), choices[place]
    sd, noise = choice.belief.sd, choice.probe_sd
    truth = rng.normal(choice.belief.mean, sd, draws)
    shown = truth + rng.normal(0, noise, draws)
    weight = sd**2 / (sd**2 + noise**2)
    mean, variance = choice.belief.mean + weight * (shown - choice.belief.mean), sd**2 * (1 - weight)
    after = choice.weight * np.exp(mean + variance / 2) - choice.price
    others = max(c.worth for at, c in enumerate(choices) if at != place)
    return np.maximum(after, others).mean() - max(others, choice.worth)


@pytest.mark.parametrize("mean", [8.0, 10.0, 12.0])
@pytest.mark.parametrize(("sd", "price"), [(0.3, 0.0), (0.8, 0.0), (0.5, 3.0)])
def test_the_gain_is_what_sampling_finds(mean, sd, price):
    choices = [KNOWN, Choice(belief=Belief(math.log(mean), sd), price=price, probe_sd=0.1)]
    assert expected_gain(choices, 1) == pytest.approx(by_sampling(choices, 1), abs=0.03)


def test_the_uncertain_rival_is_probed_and_not_the_certain_loser():
    choices = [KNOWN, Choice(belief=Belief(math.log(9.5), 0.5)), Choice(belief=Belief(math.log(1.0), 0.1))]
    assert best_probe(choices).place == 1


def test_a_probe_that_costs_more_than_it_tells_is_not_made():
    rival = Choice(belief=Belief(math.log(9.5), 0.5), cost=1e3)
    assert best_probe([Choice(belief=KNOWN.belief, cost=1e3), rival]) is None


def test_nothing_is_probed_where_there_is_no_choice():
    assert best_probe([]) is None
    assert best_probe([Choice(belief=Belief(0.0, 1.0))]) is None


@given(st.floats(-1, 1), st.floats(0.05, 1), st.floats(0.05, 1), st.floats(0.01, 1))
def test_a_sharper_probe_is_worth_no_less(mean, sd, rival_sd, probe_sd):
    rival = Choice(belief=Belief(0.0, rival_sd))
    sharp = expected_gain([rival, Choice(belief=Belief(mean, sd), probe_sd=probe_sd)], 1)
    blunt = expected_gain([rival, Choice(belief=Belief(mean, sd), probe_sd=2 * probe_sd)], 1)
    assert sharp >= blunt - 1e-12 >= -1e-12


def test_where_every_choice_is_worth_less_than_nothing_a_probe_may_still_pay():
    choices = [Choice(belief=Belief(0.0, 0.01), price=5.0), Choice(belief=Belief(0.0, 1.0), price=5.0)]
    assert expected_gain(choices, 1) > 0
