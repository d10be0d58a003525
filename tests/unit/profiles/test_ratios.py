"""Rates on a new chip from those on known ones: exact where chips differ by one factor, wide where families are new."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from scheduler.profiles.ratios import KnownJobs, Ratios, fit_ratios, predict_ratios


def jobs(families=3, batches=(16, 32, 64), gangs=(1, 2, 4), seed=0):
    """Made-up jobs on two known chips; every family has its own ratio between them."""
    rng, rows = np.random.default_rng(seed), []
    for family in range(families):
        ratio, slope = rng.normal(0, 0.3), rng.uniform(0.5, 0.9)
        for batch in batches:
            one = 50 * batch**-slope
            rows += [(f"f{family}", f"f{family}-{batch}", batch, gang, one * gang**0.9, one, ratio) for gang in gangs]
    families_, types, batch, gang, rate, alone, ratio = zip(*rows, strict=True)
    rates = np.array(rate)[:, None] * np.exp(np.array(ratio)[:, None] * np.array([0.0, 1.0]))
    return KnownJobs(
        families=families_,
        types=types,
        batch=np.array(batch, dtype=float),
        gang=np.array(gang, dtype=float),
        rates=rates,
        spread=np.full(rates.shape, np.nan),
        alone=np.array(alone)[:, None] * np.exp(np.array(ratio)[:, None] * np.array([0.0, 1.0])),
        first=np.ones(len(rates)),
    )


def mean(known):
    return np.exp(np.log(known.rates).mean(axis=1))


def held(known, name):
    return np.array([family == name for family in known.families])


def test_a_chip_that_is_a_multiple_of_the_others_is_predicted_so():
    known = jobs()
    new = held(known, "f0")
    fit = fit_ratios(known.where(~new), 3 * mean(known)[~new])
    said, _ = predict_ratios(fit, known.where(new))
    assert said == pytest.approx(3 * mean(known)[new], rel=0.03)


def test_a_family_never_seen_has_a_wider_band_than_one_that_was():
    known = jobs()
    rates = mean(known) * np.exp(np.array([{"f0": 0.0, "f1": 0.6, "f2": -0.5}[name] for name in known.families]))
    new = held(known, "f0")
    one_type = np.array([name == "f0-16" for name in known.types])
    fresh = predict_ratios(fit_ratios(known.where(~new), rates[~new]), known.where(one_type))[1]
    seen = predict_ratios(fit_ratios(known.where(~one_type), rates[~one_type]), known.where(one_type))[1]
    assert (fresh.scale > 2 * seen.scale).all()
    assert (fresh.dof < 3).all()


def test_one_observation_of_the_type_carries_over_to_another_gang():
    known = jobs()
    rates = 2 * mean(known) * np.where(held(known, "f0"), 3.0, 1.0)
    new = held(known, "f0")
    fit = fit_ratios(known.where(~new), rates[~new])
    wanted, seen = np.flatnonzero(new)[1:3], np.flatnonzero(new)[:1]
    before, doubt = predict_ratios(fit, known.where(wanted))
    after, sure = predict_ratios(fit, known.where(wanted), known.where(seen), rates[seen])
    assert np.abs(np.log(after / rates[wanted])).max() < 0.15 < np.abs(np.log(before / rates[wanted])).min()
    assert (sure.scale < doubt.scale).all()


@given(st.floats(0.01, 100.0))
@settings(max_examples=25, deadline=None)
def test_the_unit_of_the_rates_does_not_matter(factor):
    known = jobs()
    new = held(known, "f1")
    rates = mean(known) * np.where(new, 1.3, 1.0)
    plain, doubt = predict_ratios(fit_ratios(known.where(~new), rates[~new]), known.where(new))
    other, same = predict_ratios(fit_ratios(known.where(~new), factor * rates[~new]), known.where(new))
    assert other == pytest.approx(factor * plain, rel=1e-2 * (1 + abs(math.log(factor))))
    assert same.scale == pytest.approx(doubt.scale, rel=0.1)


def test_bands_hold_what_follows_where_families_differ_as_believed():
    inside = total = 0
    for seed in range(12):
        rng, known = np.random.default_rng(seed), jobs(families=5, seed=seed)
        factor = {f"f{n}": rng.normal(0, 0.35) for n in range(5)}
        rates = mean(known) * np.exp([factor[name] + rng.normal(0, 0.05) for name in known.families])
        for name in factor:
            new = held(known, name)
            said, expected = predict_ratios(fit_ratios(known.where(~new), rates[~new]), known.where(new))
            low, high = expected.interval(0.9)
            inside += ((said * low <= rates[new]) & (rates[new] <= said * high)).mean()
            total += 1
    assert 0.8 <= inside / total <= 0.99  # 60 families: 0.9, and 2.6 standard deviations below


def test_what_errors_exceed_is_what_leaving_out_each_group_shows():
    rng, known = np.random.default_rng(3), jobs(families=4)
    factor = {f"f{n}": rng.normal(0, 0.8) for n in range(4)}
    rates = mean(known) * np.exp([factor[name] + rng.normal(0, 0.1) for name in known.families])
    fit = fit_ratios(known, rates)
    blind, told = [], []
    for name in factor:
        new = held(known, name)
        rest = Ratios(known.where(~new), fit.ratios[~new], fit.scales, np.ones((2, 2)))
        said, expected = predict_ratios(rest, known.where(new))
        blind.append(np.mean((np.log(rates[new] / said) / expected.scale) ** 2))
        errors = []
        for seen in np.flatnonzero(new):
            others = [n for n in np.flatnonzero(new) if n != seen and known.types[n] == known.types[seen]]
            rows = np.array(others), np.array([seen])
            said, expected = predict_ratios(rest, known.where(rows[0]), known.where(rows[1]), rates[rows[1]])
            errors.extend((np.log(rates[others] / said) / expected.scale) ** 2)
        told.append(np.mean(errors))
    assert fit.excess[0] == pytest.approx([(1 + sum(blind)) / 5, (1 + sum(told)) / 5], rel=1e-6)


def test_families_whose_names_share_a_stem_are_taken_for_relatives():
    known = jobs(families=5)
    rates = mean(known) * np.where(held(known, "f0"), 3.0, 1.0)
    new = held(known, "f1")
    fit = fit_ratios(known.where(~new), rates[~new])
    said = []
    for names in (("net-50", "net-18"), ("net-50", "other-18")):
        called = dict(zip(("f0", "f1"), names, strict=True))
        rename = {f"f{n}": called.get(f"f{n}", "abcde"[n]) for n in range(5)}
        named = structs.replace(known, families=[rename[name] for name in known.families])
        fit = fit_ratios(named.where(~new), rates[~new])
        said.append(predict_ratios(fit, named.where(new))[0] / mean(known)[new])
    assert (said[0] > 1.1 * said[1]).all()


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_a_rate_that_is_none_is_refused(bad):
    known = jobs()
    with pytest.raises(ValueError, match="above 0"):
        fit_ratios(known, np.full(len(known.types), bad))
