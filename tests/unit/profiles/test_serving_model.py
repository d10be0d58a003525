"""A model fitted to points of several cells predicts cells never seen, with bands, and learns from observations."""

import itertools
from functools import cache

import msgspec
import numpy as np
import pytest
from msgspec import structs

from scheduler.profiles.serving_fit import tpot_s, ttft_s
from scheduler.profiles.serving_model import (
    Phase,
    Points,
    ServingModel,
    fit_serving_model,
    forecast,
    outside,
    predicted_s,
)
from tests.unit.profiles.serving_cases import demand, fleet, replica
from tests.unit.profiles.test_serving_fit import truth

NAMES = ("llama-3.1-70b", "qwen3-32b", "qwen3-30b-a3b", "qwen3-235b-a22b")
CHIPS = ("h100", "h200", "b200")
LOADS = tuple(itertools.product((1, 4, 16, 64), (500, 4000), (500,)))


@cache
def points(level=0.15, noise=0.03, seed=0):
    """Twelve cells of 16 points each, each cell off by a level of its own."""
    rng = np.random.default_rng(seed)
    rows = [(name, chip, {"tensor": n}, load) for name, chip, n, load in itertools.product(NAMES, CHIPS, (2, 4), LOADS)]
    columns = fleet([(name, chip, "fp8", split) for name, chip, split, _ in rows])
    asked = demand(*np.array([row[3] for row in rows], dtype=float).T)
    cells = tuple(f"{chip} {name} vllm" for name, chip, _, _ in rows)
    own = {cell: rng.normal(0, level) for cell in sorted(set(cells))}
    off = np.array([own[cell] for cell in cells]) + rng.normal(0, noise, len(rows))
    return Points(
        served=columns,
        demand=asked,
        engines=("vllm",) * len(rows),
        cells=cells,
        stacks=("1.0",) * len(rows),
        tpot=tpot_s(columns, asked, "vllm", truth()) * np.exp(off),
        ttft=ttft_s(columns, asked, "vllm", truth(), queueing=True) * np.exp(off),
    )


@cache
def without(cell):
    kept = np.array([name != cell for name in points().cells])
    return fit_serving_model(points().where(kept), np.random.default_rng(1)), points().where(~kept)


CELLS = sorted(set(points().cells))


def error(said, there):
    return float(np.abs(said.value / there.tpot - 1).mean())


def test_a_cell_never_seen_is_predicted_within_what_cells_differ_by():
    errors = [error(forecast(model, there, Phase.TPOT), there) for model, there in map(without, CELLS[::2])]
    assert np.mean(errors) < 0.25


def test_three_observations_of_a_cell_bring_the_others_near():
    before, after = [], []
    for model, there in map(without, CELLS[::2]):
        seen, rest = there.where(np.array([0, 5, 10])), there.where(np.arange(len(there)) % 2 == 1)
        before.append(error(forecast(model, rest, Phase.TPOT), rest))
        after.append(error(forecast(model, rest, Phase.TPOT, seen), rest))
    assert np.mean(after) < 0.6 * np.mean(before)
    assert np.mean(after) < 0.09


def test_bands_of_cells_never_seen_hold_most_of_their_points_and_observations_narrow_them():
    inside, widths = [], []
    for model, there in map(without, CELLS[::2]):
        plain = forecast(model, there, Phase.TPOT)
        seen = forecast(model, there, Phase.TPOT, there.where(np.array([0, 5, 10])))
        inside.append(((plain.low <= there.tpot) & (there.tpot <= plain.high)).mean())
        widths.append((np.median(plain.high / plain.low), np.median(seen.high / seen.low)))
        assert (plain.low < plain.value).all() and (plain.value < plain.high).all()
    assert np.mean(inside) >= 0.75
    assert all(after < before for before, after in widths)


def test_observations_of_one_cell_say_nothing_of_another():
    model, there = without(CELLS[0])
    others = points().where(np.array([name == CELLS[1] for name in points().cells]))
    alone, told = forecast(model, there, Phase.TPOT), forecast(model, there, Phase.TPOT, others)
    assert told.value == pytest.approx(alone.value)


def test_without_observation_the_prediction_is_that_of_the_terms():
    model, there = without(CELLS[2])
    for phase in Phase:
        assert forecast(model, there, phase).value == pytest.approx(predicted_s(there, model.coefficients, phase))


def test_times_to_the_first_token_without_queueing_are_those_of_small_batches():
    quiet = np.isfinite(points().observed(Phase.TTFT))
    assert (np.asarray(points().demand.batch)[quiet] <= 4).all()
    assert quiet.sum() == len(points()) / 2
    assert np.isfinite(points().observed(Phase.TTFT_QUEUED)).all()


def test_dense_models_and_mixtures_have_bands_of_their_own_where_there_are_enough_cells():
    model = fit_serving_model(points(), np.random.default_rng(1))
    tpot = model.spreads["tpot"]
    assert (tpot["dense"].cells, tpot["mixture"].cells) == (6, 6)
    few = np.array([name.split()[1] in ("qwen3-32b", "qwen3-30b-a3b") for name in points().cells])
    shared = fit_serving_model(points().where(few), np.random.default_rng(1)).spreads["tpot"]
    assert shared["dense"].cells == shared["mixture"].cells == 6


def test_the_same_points_and_seed_give_the_same_model():
    kept = points().where(np.arange(len(points())) % 4 == 0)
    one, other = (fit_serving_model(kept, np.random.default_rng(3)) for _ in range(2))
    assert one == other


def test_a_prediction_outside_of_what_was_measured_says_so():
    model, _ = without(CELLS[0])
    near = replica("qwen3-32b", "h200", "fp8", tensor=4)
    assert outside(model, near, demand(16, 1000, 500)) == ()
    assert outside(model, near, demand(500, 1000, 9000)) == ("batch", "output")
    assert outside(model, replica("qwen3-32b", "h20-96", "fp8", tensor=2), demand(16, 1000, 500)) == ("product_s",)
    assert "layers" in outside(model, replica("llama-3.1-405b", "b200", "fp8", tensor=4), demand(16, 1000, 500))


def test_a_model_survives_a_file():
    model, _ = without(CELLS[0])
    assert msgspec.convert(msgspec.to_builtins(model), ServingModel) == model


def test_a_phase_that_was_never_measured_is_refused_when_asked_for():
    model, there = without(CELLS[0])
    with pytest.raises(ValueError, match="no ttft was measured"):
        forecast(structs.replace(model, spreads={"tpot": model.spreads["tpot"]}), there, Phase.TTFT)
