"""Coefficients of many devices at once."""

import numpy as np
import pytest

from scheduler.profiles.siblings import Belief, fit_siblings

BELIEFS = (Belief(1.0, 1.0, ((0.0, 0.5),), (0.3,)),) * 2


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
    return terms, times, device[:, None], engine[:, None], covariate


def fitted(*drawn, beliefs=BELIEFS, **how):
    return fit_siblings(*drawn, beliefs=beliefs, shift_sds=(0.2,), **how)


OWN = [[0.3, -0.2], [0.0, 0.1], [-0.2, 0.2], [0.1, 0.0]]


def test_what_was_measured_much_is_found_again():
    terms, times, device, engine, covariate = drawn(OWN)
    fit = fitted(terms, times, device, engine, covariate)
    said, scale = fit.predict(terms, device, engine, covariate)
    assert np.abs(said / times - 1).mean() < 0.012
    assert (scale < 0.02).all()
    truth = np.exp(np.array(OWN)[[0, 3]] + 0.5 * covariate[[0, -1]])
    assert fit.coefficients(np.array([[0], [3]]), covariate[[0, -1]]) == pytest.approx(truth, rel=0.03)


def test_a_device_measured_little_lies_near_its_siblings():
    terms, times, device, engine, covariate = drawn([[0.0, 0.0]] * 4 + [[1.0, 1.0]], slope=0.0)
    few = (device[:, 0] < 4) | (np.arange(len(device)) == 160)
    fit = fitted(terms[few], times[few], device[few], engine[few], covariate[few], noise=0.3)
    shrunk = fit.coefficients(np.array([[4]]), covariate[-1:])[0]
    assert (shrunk > 1.05).any()
    assert (shrunk < np.e * 0.9).all()


def test_a_device_never_seen_follows_the_slope_and_gets_a_wide_band():
    terms, times, device, engine, covariate = drawn([[0.0, 0.0]] * 5)
    seen = device[:, 0] != 4
    fit = fitted(terms[seen], times[seen], device[seen], engine[seen], covariate[seen])
    stranger = np.full(((~seen).sum(), 1), -1)
    said, scale = fit.predict(terms[~seen], stranger, engine[~seen], covariate[~seen])
    assert np.abs(said / times[~seen] - 1).mean() < 0.1
    _, known = fit.predict(terms[seen], device[seen], engine[seen], covariate[seen])
    assert scale.min() > 3 * known.max()


def test_many_devices_that_hardly_differ_promise_that_another_will_not_either():
    alike = fitted(*drawn([[0.0, 0.0]] * 6, slope=0.0))
    apart = fitted(*drawn(np.random.default_rng(1).normal(0, 0.6, (6, 2)), slope=0.0))
    assert (alike.own_sds < 0.2).all()
    assert (apart.own_sds > 0.35).all()


def test_few_devices_promise_nothing_better_than_was_believed():
    assert (fitted(*drawn([[0.0, 0.0]] * 3, slope=0.0)).own_sds >= 0.3).all()


def test_software_is_told_apart_from_devices():
    terms, times, device, engine, covariate = drawn(OWN, engines=[-0.2, 0.2])
    fit = fitted(terms, times, device, engine, covariate)
    assert fit.shifts[0][1] - fit.shifts[0][0] == pytest.approx(0.4, abs=0.03)
    said, scale = fit.predict(terms[:1], device[:1], np.array([[-1]]), covariate[:1])
    assert scale[0] > 0.15
    assert said[0] == pytest.approx(times[0] * np.exp(-fit.shifts[0][engine[0, 0]]), rel=0.1)


def test_measurements_that_went_wrong_hardly_matter():
    terms, times, device, engine, covariate = drawn(OWN)
    spoilt = times.copy()
    spoilt[::15] *= 2.0
    fit = fitted(terms, spoilt, device, engine, covariate)
    said, _ = fit.predict(terms, device, engine, covariate)
    assert np.abs(said / times - 1).mean() < 0.02


def test_without_measurements_the_beliefs_stand():
    nothing, none = np.zeros((0, 2)), np.zeros((0, 1), dtype=np.int64)
    fit = fitted(nothing, np.zeros(0), none, none, np.zeros((0, 1)))
    said, scale = fit.predict(np.ones((1, 2)), np.array([[-1]]), np.array([[-1]]), np.zeros((1, 1)))
    assert said[0] == pytest.approx(2.0)
    assert scale[0] > 0.7


@pytest.mark.parametrize("spoil", [lambda t: t * 0, lambda t: -t, lambda t: t * np.nan])
def test_what_no_time_can_be_is_refused(spoil):
    terms, times, device, engine, covariate = drawn(OWN)
    with pytest.raises(ValueError, match="above 0"):
        fitted(terms, spoil(times), device, engine, covariate)


def test_software_may_be_good_at_one_term_and_bad_at_another():
    draw = np.random.default_rng(2)
    terms = draw.lognormal(0, 1, (200, 2))
    groups = np.stack([np.arange(200) % 2, np.arange(200) // 2 % 2], axis=1)
    of_software = np.array([[0.4, -0.4], [-0.4, 0.4]])
    times = (terms * np.exp(of_software[groups[:, 1]])).sum(axis=1) * draw.lognormal(0, 0.01, 200)
    none, flat = np.zeros((200, 0), dtype=np.int64), np.zeros((200, 0))
    beliefs = (Belief(1.0, 1.0, (), (0.1, 0.5)),) * 2
    fit = fit_siblings(terms, times, groups, none, flat, beliefs=beliefs, shift_sds=())
    assert fit.own[1] == pytest.approx(of_software, abs=0.06)
    assert np.abs(fit.own[0]).max() < 0.05
    said, _ = fit.predict(terms, groups, none, flat)
    assert np.abs(said / times - 1).mean() < 0.012
