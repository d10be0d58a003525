"""Coefficients of many devices at once."""

import numpy as np
import pytest

from scheduler.profiles.siblings import Belief, fit_siblings

BELIEFS = (Belief(1.0, 1.0, ((0.0, 0.5),), own_sd=0.3), Belief(1.0, 1.0, ((0.0, 0.5),), own_sd=0.3))


def drawn(own, slope=0.5, rows=40, noise=0.01, seed=0, engines=None):
    """Times of `len(own)` devices whose coefficients are exp(own + slope * covariate)."""
    draw = np.random.default_rng(seed)
    device = np.repeat(np.arange(len(own)), rows)
    engine = np.zeros_like(device) if engines is None else draw.integers(0, len(engines), len(device))
    covariate = (device - (len(own) - 1) / 2)[:, None] / 2
    terms = draw.lognormal(0, 1, (len(device), 2))
    truth = np.exp(np.asarray(own)[device] + slope * covariate)
    times = (terms * truth).sum(axis=1) * draw.lognormal(0, noise, len(device))
    if engines is not None:
        times *= np.exp(np.asarray(engines)[engine])
    return terms, times, device, engine, covariate


OWN = [[0.3, -0.2], [0.0, 0.1], [-0.2, 0.2], [0.1, 0.0]]


def test_what_was_measured_much_is_found_again():
    terms, times, device, engine, covariate = drawn(OWN)
    fit = fit_siblings(terms, times, device, engine, covariate, beliefs=BELIEFS)
    said, scale = fit.predict(terms, device, engine, covariate)
    assert np.abs(said / times - 1).mean() < 0.012
    assert (scale < 0.02).all()
    truth = np.exp(np.array(OWN)[[0, 3]] + 0.5 * covariate[[0, -1]])
    assert fit.coefficients(np.array([0, 3]), covariate[[0, -1]]) == pytest.approx(truth, rel=0.03)


def test_a_device_measured_little_lies_near_its_siblings():
    terms, times, device, engine, covariate = drawn([[0.0, 0.0]] * 4 + [[1.0, 1.0]], slope=0.0)
    few = (device < 4) | (np.arange(len(device)) == 160)
    fit = fit_siblings(terms[few], times[few], device[few], engine[few], covariate[few], beliefs=BELIEFS, noise=0.3)
    shrunk = fit.coefficients(np.array([4]), covariate[-1:])[0]
    assert (shrunk > 1.05).any()
    assert (shrunk < np.e * 0.9).all()


def test_a_device_never_seen_follows_the_slope_and_gets_a_wide_band():
    terms, times, device, engine, covariate = drawn([[0.0, 0.0]] * 5)
    seen = device != 4
    fit = fit_siblings(terms[seen], times[seen], device[seen], engine[seen], covariate[seen], beliefs=BELIEFS)
    stranger = np.full((~seen).sum(), -1)
    said, scale = fit.predict(terms[~seen], stranger, engine[~seen], covariate[~seen])
    assert np.abs(said / times[~seen] - 1).mean() < 0.1
    _, known = fit.predict(terms[seen], device[seen], engine[seen], covariate[seen])
    assert scale.min() > 3 * known.max()


def test_devices_that_hardly_differ_promise_that_another_will_not_either():
    alike = fit_siblings(*drawn([[0.0, 0.0]] * 6, slope=0.0), beliefs=BELIEFS)
    apart = fit_siblings(*drawn(np.random.default_rng(1).normal(0, 0.6, (6, 2)), slope=0.0), beliefs=BELIEFS)
    assert (alike.own_sd < 0.2).all()
    assert (apart.own_sd > 0.35).all()


def test_software_is_told_apart_from_devices():
    terms, times, device, engine, covariate = drawn(OWN, engines=[-0.2, 0.2])
    fit = fit_siblings(terms, times, device, engine, covariate, beliefs=BELIEFS)
    assert fit.engines[1] - fit.engines[0] == pytest.approx(0.4, abs=0.03)
    said, scale = fit.predict(terms[:1], device[:1], np.array([-1]), covariate[:1])
    assert scale[0] > 0.15
    assert said[0] == pytest.approx(times[0] * np.exp(-fit.engines[engine[0]]), rel=0.1)


def test_measurements_that_went_wrong_hardly_matter():
    terms, times, device, engine, covariate = drawn(OWN)
    spoilt = times.copy()
    spoilt[::15] *= 2.0
    fit = fit_siblings(terms, spoilt, device, engine, covariate, beliefs=BELIEFS)
    said, _ = fit.predict(terms, device, engine, covariate)
    assert np.abs(said / times - 1).mean() < 0.02


def test_without_measurements_the_beliefs_stand():
    nothing, none = np.zeros((0, 2)), np.zeros(0, dtype=np.int64)
    fit = fit_siblings(nothing, np.zeros(0), none, none, np.zeros((0, 1)), beliefs=BELIEFS)
    said, scale = fit.predict(np.ones((1, 2)), np.array([-1]), np.array([-1]), np.zeros((1, 1)))
    assert said[0] == pytest.approx(2.0)
    assert scale[0] > 0.7


@pytest.mark.parametrize("spoil", [lambda t: t * 0, lambda t: -t, lambda t: t * np.nan])
def test_what_no_time_can_be_is_refused(spoil):
    terms, times, device, engine, covariate = drawn(OWN)
    with pytest.raises(ValueError, match="above 0"):
        fit_siblings(terms, spoil(times), device, engine, covariate, beliefs=BELIEFS)
