"""What measurements teach: each is foreseen from those before it, never from itself, and sizes without a model stay
apart."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from scheduler.model.accelerators import Provenance
from scheduler.model.rates import Cell, Metric, Observation, Stack
from scheduler.profiles.learning import cell_at_size, learn, scatter
from scheduler.profiles.store import Store
from scheduler.profiles.table import Rate

CELL = Cell(family="m", accelerator="h200", metric=Metric.TOKENS, stack=Stack(framework="vllm 0.12"))


def seen(value, batch=1.0, provenance=Provenance.MEASURED):
    return Observation(cell=CELL, value=value, batch=batch, provenance=provenance)


def said(value):
    return Rate(value, value * 0.7, value / 0.7, Provenance.MODELLED)


def test_a_model_that_is_always_a_fifth_too_high_is_corrected_from_the_second_figure_on():
    sizes = [1, 2, 4, 8, 16, 32]
    found = learn([seen(100.0 * n, n) for n in sizes], [said(120.0 * n) for n in sizes], Store())
    (score,) = found.scores
    assert (score.n, score.foreseen_before, score.foreseen_after) == (6, 6, 6)
    assert score.error_before == pytest.approx(20.0)
    assert 20 / 6 <= score.error_after < 8  # the first is foreseen by the model alone
    assert score.covered_after == 1.0


def test_jobs_that_no_model_knows_are_told_apart_by_their_size():
    found = learn([seen(10.0, 1), seen(10.2, 1), seen(40.0, 4)], [None] * 3, Store())
    names = {score.cell.family: score for score in found.scores}
    assert set(names) == {"m@x1-b1", "m@x1-b4"}
    assert (names["m@x1-b1"].foreseen_after, names["m@x1-b4"].foreseen_after) == (1, 0)
    assert names["m@x1-b4"].error_after is None


def test_nothing_is_foreseen_from_itself():
    found = learn([seen(10.0)], [None], Store())
    assert found.scores[0].error_after is None
    assert found.store.rate(cell_at_size(seen(10.0), predicted=False)).value == pytest.approx(10.0)


def test_published_figures_keep_their_provenance_and_are_doubted_more():
    own = learn([seen(10.0)], [None], Store()).store
    read = learn([seen(10.0, provenance=Provenance.PUBLISHED)], [None], Store()).store
    cell = cell_at_size(seen(10.0), predicted=False)
    assert read.rate(cell).provenance is Provenance.PUBLISHED
    assert read.rate(cell).high > own.rate(cell).high


@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=10))
@settings(max_examples=40)
def test_a_store_goes_on_from_where_it_stopped(factors):
    figures = [seen(100 * f, n + 1) for n, f in enumerate(factors)]
    at_once = learn(figures, [said(100.0)] * len(figures), Store()).store
    half = learn(figures[:1], [said(100.0)], Store()).store
    later = learn(figures[1:], [said(100.0)] * (len(figures) - 1), half).store
    assert later == at_once
    assert math.isfinite(later.rate(CELL, said(100.0)).value)


def test_steps_of_a_run_count_as_one_run_without_its_warm_up_and_stragglers():
    steps = [0.5, 5.0, 8.0, *[10.0] * 20, 2.0, *[10.0] * 4]
    figures = [structs.replace(seen(value), run="a.csv:1") for value in steps]
    figures += [structs.replace(seen(value), run="a.csv:2") for value in [1.0, 1.0, 1.0, *[11.0] * 10]]
    found = learn(figures, [None] * len(figures), Store())
    (entry,) = found.store
    assert entry.belief.runs == 2
    assert 10.0 <= math.exp(entry.belief.mean) <= 11.0
    assert found.scores[0].error_after == pytest.approx(100 / 11, rel=0.01)


def test_a_run_that_is_all_warm_up_tells_nothing():
    figures = [structs.replace(seen(value), run="r") for value in (1.0, 2.0)]
    assert len(learn(figures, [None, None], Store()).store) == 0


def figures_of(chips, rng, between, within):
    """Figures of two jobs on some chips, where a model of 100 is wrong by chip and by figure."""
    found = []
    for n in range(chips):
        off = rng.normal(0, between)
        for job in ("a", "b"):
            cell = structs.replace(CELL, accelerator=f"chip-{n}", family=job)
            factors = np.exp(off + rng.normal(0, within, 6))
            found += [structs.replace(seen(100 * float(f)), cell=cell) for f in factors]
    return found


def test_what_models_are_wrong_by_is_told_apart_by_chip_and_figure():
    figures = figures_of(30, np.random.default_rng(1), 0.4, 0.05)
    (one,) = scatter(figures, [said(100.0)] * len(figures))
    assert one.accelerators == pytest.approx(0.4, rel=0.25)
    assert one.within == pytest.approx(0.05, rel=0.2)
    assert one.jobs < 0.1 and one.cells < 0.1
    assert one.seen == (30, 2, 60)


def test_three_chips_that_agree_promise_little_of_a_fourth():
    figures = figures_of(3, np.random.default_rng(2), 0.0, 0.02)
    (one,) = scatter(figures, [said(100.0)] * len(figures))
    assert one.accelerators >= 0.25
    assert one.high / one.low > 3


def test_one_cell_alone_or_no_model_tells_nothing_of_scatter():
    assert scatter([seen(1.0), seen(2.0)], [said(1.0)] * 2) == ()
    assert scatter([seen(1.0)], [None]) == ()
