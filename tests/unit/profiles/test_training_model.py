"""A fitted training model: times, bands, and what it says of what it never saw."""

import numpy as np
import pytest
from msgspec import structs

from scheduler.profiles.siblings import Belief
from scheduler.profiles.training_model import Places, Steps, fit_training, predict_steps, reach_of, software_of

BELIEFS = (Belief(1.0, 1.0, ((0.0, 0.3),), (0.05, 0.1, 0.09)),) * 2
MODELS = tuple(f"model-{n}" for n in range(6))


def drawn(devices, families=None, rows=60, noise=0.03, shift=0.04, seed=0, vendor="one"):
    """Rows of `devices`, each its own family unless told, with errors of their own and of their models'."""
    draw = np.random.default_rng(seed)
    of_model = dict(zip(MODELS, draw.normal(0, shift, len(MODELS)), strict=True))
    of_device = dict(zip(devices, draw.normal(0, 0.05, len(devices)), strict=True))
    names = tuple(np.repeat(devices, rows).tolist())
    models = tuple(draw.choice(MODELS, len(names)).tolist())
    terms = draw.lognormal(0, 0.7, (len(names), 2))
    steps = Steps(
        terms=terms,
        covariates=np.zeros((len(names), 1)),
        devices=names,
        engines=("engine",) * len(names),
        models=models,
        kinds=("dense",) * len(names),
        families=tuple((families or {}).get(name, name) for name in names),
        vendors=(vendor,) * len(names),
        counts=np.full(len(names), 8),
        noise=np.full(len(names), 0.03),
    )
    off = np.array([of_model[m] + of_device[d] for m, d in zip(models, names, strict=True)])
    return steps, terms.sum(axis=1) * np.exp(off + draw.normal(0, noise, len(names)))


def covered(predicted, times):
    return float(((predicted.low <= times) & (times <= predicted.high)).mean())


def test_bands_hold_nine_in_ten_of_models_never_seen():
    steps, times = drawn(("a", "b", "c"), rows=200)
    held = np.array(steps.models) == "model-0"
    model = fit_training(steps.where(~held), times[~held], beliefs=BELIEFS)
    predicted = predict_steps(model, steps.where(held))
    assert predicted.extrapolates.all()
    assert 0.75 <= covered(predicted, times[held]) <= 1.0
    assert np.median(predicted.high / predicted.low) < 1.4


def test_bands_in_sample_hold_nine_in_ten_and_are_no_wider_than_out_of_sample():
    steps, times = drawn(("a", "b", "c"), rows=200)
    model = fit_training(steps, times, beliefs=BELIEFS)
    predicted = predict_steps(model, steps)
    assert 0.88 <= covered(predicted, times) <= 0.93
    assert not predicted.extrapolates.any()
    assert {"dense", "a dense", "a engine dense", "c engine dense"} <= set(model.known_reach)
    assert all(reach <= model.new_reach[cell] for cell, reach in model.known_reach.items())


def test_a_device_never_seen_has_a_wider_band_and_observations_narrow_it():
    steps, times = drawn(("a", "b", "c"))
    new = np.array(steps.devices) == "c"
    base = fit_training(steps.where(~new), times[~new], beliefs=BELIEFS)
    first = new & (np.cumsum(new) <= 3)
    after = fit_training(steps.where(~new | first), times[~new | first], beliefs=BELIEFS, bands=base)
    rest = steps.where(new & ~first)
    blind, informed = predict_steps(base, rest), predict_steps(after, rest)
    known = predict_steps(base, steps.where(~new))
    assert blind.extrapolates.all()
    assert np.median(known.high / known.low) < np.median(informed.high / informed.low)
    assert np.median(informed.high / informed.low) < np.median(blind.high / blind.low)
    observed = times[new & ~first]
    assert np.abs(informed.times / observed - 1).mean() < np.abs(blind.times / observed - 1).mean()


def test_a_vendor_never_seen_is_doubted_more():
    steps, times = drawn(("a", "b"))
    model = fit_training(steps, times, beliefs=BELIEFS)
    relative, stranger = (predict_steps(model, drawn(("z",), vendor=v)[0]) for v in ("one", "other"))
    assert np.median(stranger.high / stranger.low) > 1.2 * np.median(relative.high / relative.low)


def test_a_device_of_a_family_that_was_measured_is_doubted_less_than_another():
    steps, times = drawn(("a", "b", "c"), families={"a": "big", "b": "big"})
    model = fit_training(steps, times, beliefs=BELIEFS)
    akin, stranger = (predict_steps(model, drawn(("z",), families={"z": f})[0]) for f in ("big", "z"))
    assert akin.extrapolates.all()
    assert np.median(np.log(stranger.high / stranger.low)) > 1.2 * np.median(np.log(akin.high / akin.low))


def test_a_device_takes_after_its_family():
    steps, times = drawn(("a", "b", "c", "d"), families={"a": "slow", "b": "slow", "c": "fast", "d": "fast"})
    slow = np.isin(steps.devices, ("a", "b"))
    model = fit_training(steps, times * np.where(slow, 1.3, 1.0), beliefs=BELIEFS)
    one, other = (predict_steps(model, drawn(("z",), families={"z": f})[0]).times for f in ("slow", "fast"))
    assert (one / other > 1.1).all()


def test_a_family_of_which_only_doubtful_rows_are_known_does_not_count_as_seen():
    steps, times = drawn(("a", "b"))
    assert (
        fit_training(structs.replace(steps, noise=np.full(len(times), 0.15)), times, beliefs=BELIEFS).places.families
        == ()
    )


def test_counts_far_beyond_those_seen_are_marked():
    steps, times = drawn(("a", "b"))
    model = fit_training(steps, times, beliefs=BELIEFS)
    many = Steps(
        terms=steps.terms,
        covariates=steps.covariates,
        devices=steps.devices,
        engines=steps.engines,
        models=steps.models,
        kinds=steps.kinds,
        families=steps.families,
        vendors=steps.vendors,
        counts=steps.counts * 64,
        noise=steps.noise,
    )
    assert predict_steps(model, many).extrapolates.all()


def test_a_handful_of_measurements_gets_the_band_of_what_models_differ_by():
    steps, times = drawn(("a",), rows=4)
    model = fit_training(steps, times, beliefs=BELIEFS)
    assert model.new_reach == {"dense": 0.4}
    assert (predict_steps(model, steps).high / times > 1.2).all()


def test_kinds_of_models_whose_errors_differ_have_bands_of_their_own():
    steps, times = drawn(("a", "b"))
    wild = structs.replace(steps, kinds=("mixture",) * len(times), models=tuple(f"wild {m}" for m in steps.models))
    both = Steps(**{name: _beside(getattr(steps, name), getattr(wild, name)) for name in Steps.__struct_fields__})
    odd = np.concatenate([times, times * np.random.default_rng(5).lognormal(0, 0.5, len(times))])
    model = fit_training(both, odd, beliefs=BELIEFS)
    assert model.new_reach["mixture"] > 3 * model.new_reach["dense"]
    assert reach_of(model.new_reach, "z engine mixture", "mixture") == model.new_reach["mixture"]
    assert reach_of(model.new_reach, "z engine other", "other") == 0.4
    tame, open_ = predict_steps(model, steps), predict_steps(model, wild)
    assert np.median(open_.high / open_.low) > 2 * np.median(tame.high / tame.low)


def _beside(first, second):
    return first + second if isinstance(first, tuple) else np.concatenate([first, second])


def test_versions_of_software_share_what_it_is_good_at():
    assert software_of("owner/trainer 25.11") == software_of("owner/trainer") == "owner/trainer"
    steps, times = drawn(("a", "b"))
    model = fit_training(structs.replace(steps, engines=("trainer 1",) * len(times)), times, beliefs=BELIEFS)
    assert model.places == Places(("a", "b"), ("trainer",), ("a", "b"), ("trainer 1 dense",), ("one",))
    same, next_, other = (
        predict_steps(model, structs.replace(steps, engines=(name,) * len(times)))
        for name in ("trainer 1", "trainer 2", "another")
    )
    widths = [np.median(p.high / p.low) for p in (same, next_, other)]
    assert widths[0] < widths[1] < widths[2]
    assert next_.extrapolates.all() and not same.extrapolates.any()


def test_a_version_that_is_slow_at_one_kind_is_not_taken_to_be_so_at_another():
    steps, times = drawn(("a", "b"))
    half = np.arange(len(times)) % 2 == 0
    kinds = tuple("mixture" if h else "dense" for h in half)
    versions = tuple("trainer 2" if h else "trainer 1" for h in half)
    mixed = structs.replace(steps, kinds=kinds, engines=versions)
    model = fit_training(mixed, np.where(half, 1.5 * times, times), beliefs=BELIEFS)
    fresh = structs.replace(steps, engines=("trainer 2",) * len(times))
    assert np.median(predict_steps(model, fresh).times / times) < 1.3


def test_times_that_cannot_be_are_refused():
    steps, times = drawn(("a",), rows=4)
    with pytest.raises(ValueError, match="above 0"):
        fit_training(steps, times * 0, beliefs=BELIEFS)
