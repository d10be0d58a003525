"""Whatever the model, chip and layout: training predictions obey what physics and arithmetic demand."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import structs

from scheduler.config import load_catalog, load_models, shipped
from scheduler.config.profiles import load_fit
from scheduler.errors import UsageError
from scheduler.profiles.layout_search import search_layouts
from scheduler.profiles.layouts import Layout, Recompute, check_layout
from scheduler.profiles.steps import chips_of, models_of
from scheduler.profiles.training_rates import TrainingCoefficients, training_rate
from scheduler.profiles.work import active_parameters

CATALOG = load_catalog()
CHIPS = [a for a in CATALOG if a.bf16_tflops is not None and a.bandwidth_tb_per_s is not None]
MODELS = [m for m in load_models() if m.hidden <= 16384]
FIT = load_fit(shipped("profiles", "training"), "training", TrainingCoefficients)
POWERS = st.sampled_from([1, 2, 4, 8])


@st.composite
def runs(draw):
    """A model, a chip, a layout that divides, a batch and a length."""
    model, chip = draw(st.sampled_from(MODELS)), draw(st.sampled_from(CHIPS))
    layout = Layout(
        data=draw(st.sampled_from([1, 2, 4, 8, 16, 64])),
        tensor=draw(POWERS),
        pipeline=draw(POWERS),
        context=draw(st.sampled_from([1, 2])),
        zero=draw(st.integers(0, 3)),
        recompute=draw(st.sampled_from(Recompute)),
        micro_batch=draw(POWERS),
    )
    seq_len = draw(st.sampled_from([512, 2048, 8192, 65536]))
    batch = layout.data * layout.micro_batch * draw(st.sampled_from([1, 3, 16]))
    try:
        check_layout(layout, model, devices=layout.devices, global_batch=batch, seq_len=seq_len)
    except UsageError:
        assume(False)
    return model, chip, layout, batch, seq_len


def rate(model, chip, layout, batch, seq_len):
    return training_rate(model, chip, layout, FIT, seq_len, batch)


def faster(figure, factor):
    return structs.replace(figure, value=figure.value * factor)


@settings(max_examples=150, deadline=None)
@given(runs())
def test_no_chip_computes_more_than_its_peak(run):
    model, chip, layout = run[:3]
    found = rate(*run)
    assert 0 < found.low < found.value < found.high
    operations = 6 * active_parameters(model) * found.value / layout.devices
    assert operations < chip.bf16_tflops.value * 1e12


@settings(max_examples=100, deadline=None)
@given(runs(), st.sampled_from(["bf16_tflops", "bandwidth_tb_per_s", "link_gb_per_s", "network_gb_per_s"]))
def test_a_chip_better_in_one_figure_is_never_slower(run, figure):
    model, chip, *rest = run
    given_figure = getattr(chip, figure)
    assume(given_figure is not None)
    better = structs.replace(chip, **{figure: faster(given_figure, 1.5)})
    assert rate(model, better, *rest).value >= rate(model, chip, *rest).value * (1 - 1e-9)


@settings(max_examples=100, deadline=None)
@given(runs())
def test_a_step_of_twice_the_passes_takes_at_most_twice_as_long(run):
    model, chip, layout, batch, seq_len = run
    once, twice = (n * batch * seq_len / rate(model, chip, layout, n * batch, seq_len).value for n in (1, 2))
    assert once < twice <= 2 * once * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(runs())
def test_computing_again_is_never_faster(run):
    model, chip, layout, *rest = run
    kept, again = (
        rate(model, chip, structs.replace(layout, recompute=kind), *rest) for kind in (Recompute.NONE, Recompute.FULL)
    )
    assert again.value < kept.value


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(MODELS), st.sampled_from(CHIPS), st.sampled_from([96, 256, 480]))
def test_a_search_with_more_counts_never_finds_less(model, chip, batch):
    few, many = (
        search_layouts(model, [chip], FIT, global_batch=batch, seq_len=4096, most=most, min_efficiency=0.0)[chip.name]
        for most in (32, 64)
    )
    assert [a.count for a in few] == [a.count for a in many if a.count <= 32]
    assert max((a.rate.value for a in few), default=0) <= max((a.rate.value for a in many), default=0)


@pytest.mark.parametrize("chip", CHIPS, ids=lambda c: c.name)
def test_every_chip_with_figures_has_counts_without_surprises(chip):
    found = chips_of(chip)
    assert all(np.isfinite(getattr(found, name)) and getattr(found, name) > 0 for name in found.__struct_fields__)
    assert models_of(MODELS[0], 2048).stored > 0
