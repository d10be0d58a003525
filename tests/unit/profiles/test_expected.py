"""What models expect of a job, by the layout it is asked in, and where they reach beyond their measurements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from scheduler.config import load_catalog, load_fit, load_models, shipped
from scheduler.errors import UsageError
from scheduler.model.rates import LAYOUT_AXES, Metric, layout_parts, layout_text
from scheduler.model.transformers import find_transformer
from scheduler.profiles.expected import Asked, expect_serving, expect_training, layout_from
from scheduler.profiles.layouts import Layout, Recompute
from scheduler.profiles.modelled import layout_words
from scheduler.profiles.serving_model import ServingModel
from scheduler.profiles.training_rates import TrainingCoefficients

CATALOG, MODELS = load_catalog(), load_models()
TRAINING = load_fit(shipped("profiles", "training"), "training", TrainingCoefficients)
SERVING = load_fit(shipped("profiles", "serving"), "serving", ServingModel)
EIGHT = Asked(transformer=find_transformer(MODELS, "llama-3.1-8b"), accelerator=CATALOG.get("h100"), count=8)


def test_the_layout_that_is_found_is_at_least_as_fast_as_any_that_is_named():
    best = expect_training(EIGHT, TRAINING)
    for layout in ("tp=8", "tp=4,zero=1", "pp=4", "zero=3", "zero=3,rc=full"):
        assert expect_training(structs.replace(EIGHT, layout=layout), TRAINING).rate.value <= best.rate.value * 1.001


def test_the_layout_that_is_found_is_written_so_that_it_can_be_asked_for():
    best = expect_training(EIGHT, TRAINING)
    again = expect_training(structs.replace(EIGHT, layout=best.layout), TRAINING)
    assert again.layout == best.layout
    assert again.rate.value == pytest.approx(best.rate.value, rel=0.05)


def test_recomputation_costs_a_third_at_most():
    plain = expect_training(structs.replace(EIGHT, layout="zero=3,mb=1"), TRAINING).rate.value
    again = expect_training(structs.replace(EIGHT, layout="zero=3,mb=1,rc=full"), TRAINING).rate.value
    assert 0.6 * plain < again < plain


@pytest.mark.parametrize("name", ["h100", "h20-96", "ascend-910c"])
def test_a_chip_without_measurements_is_beyond(name):
    asked = structs.replace(EIGHT, accelerator=CATALOG.get(name), engine="vllm 0.12")
    training = expect_training(asked, TRAINING).beyond
    serving = expect_serving(structs.replace(asked, layout="tp=8"), SERVING, Metric.TPOT).beyond
    assert (training[:1], serving[:1]) == (
        ((), ())
        if name == "h100"
        else ((f"no training was measured on {name}",), (f"no serving was measured on {name}",))
    )


def test_a_size_that_nobody_measured_is_beyond():
    """A sequence, a count of devices and a prompt far from those of the fits."""
    long, many = structs.replace(EIGHT, seq_in=262_144, batch=8), structs.replace(EIGHT, count=8192, batch=8192)
    for asked, word in ((long, "length"), (many, "count")):
        assert any(f"a {word} of" in reason for reason in expect_training(asked, TRAINING).beyond)
    prompt = structs.replace(EIGHT, layout="tp=8", engine="vllm 0.12", seq_in=200_000)
    assert "a prompt beyond what was measured" in expect_serving(prompt, SERVING, Metric.TPOT).beyond


@pytest.mark.parametrize(("name", "lacking"), [("ascend-910b2", True), ("h20-96", False)])
def test_arithmetic_that_a_chip_lacks_is_told(name, lacking):
    asked = structs.replace(EIGHT, accelerator=CATALOG.get(name), precision="fp8", engine="vllm 0.12")
    training = expect_training(asked, TRAINING).beyond
    serving = expect_serving(structs.replace(asked, layout="tp=8"), SERVING, Metric.TPOT).beyond
    assert any("in half precision" in reason for reason in training) is lacking
    assert any("half precision multiplies" in reason for reason in serving) is lacking


def test_requests_a_second_are_output_tokens_by_the_length_of_an_answer():
    asked = structs.replace(EIGHT, layout="tp=8", seq_out=500)
    tokens, requests = (expect_serving(asked, SERVING, m).rate for m in (Metric.OUTPUT_TOKENS, Metric.REQUESTS))
    assert tokens.value == pytest.approx(500 * requests.value)
    assert tokens.low == pytest.approx(500 * requests.low)


def test_an_engine_without_measurements_and_a_completed_model_are_beyond():
    asked = structs.replace(EIGHT, layout="tp=8", engine="my-engine", completed=True)
    told = expect_serving(asked, SERVING, Metric.TPOT).beyond
    assert any("my-engine" in reason for reason in told) and any("usual proportions" in reason for reason in told)


def test_more_requests_at_once_take_longer_each_and_give_more_tokens_together():
    few, many = (structs.replace(EIGHT, layout="tp=8", batch=batch, engine="vllm") for batch in (4, 64))
    for metric in (Metric.TPOT, Metric.TTFT, Metric.OUTPUT_TOKENS):
        assert expect_serving(few, SERVING, metric).rate.value < expect_serving(many, SERVING, metric).rate.value


def test_replicas_share_the_requests_and_a_band_holds_its_value():
    one = expect_serving(structs.replace(EIGHT, count=1, layout="tp=1", batch=8), SERVING, Metric.OUTPUT_TOKENS).rate
    eight = expect_serving(structs.replace(EIGHT, layout="tp=1", batch=64), SERVING, Metric.OUTPUT_TOKENS).rate
    assert eight.value == pytest.approx(8 * one.value)
    assert eight.low < eight.value < eight.high


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"layout": "tp=3"}, "does not divide 8 devices"),
        ({"layout": "tp=2,dp=2"}, "does not divide 8 devices"),
        ({"layout": "pp=2", "batch": 3}, "does not divide a batch of 3"),
        ({"layout": "tq=8"}, "write such as tp=8,pp=2"),
        ({"layout": "rc=half"}, "write such as"),
        ({"precision": "int3"}, "`int3` is not predicted"),
        ({"count": 1, "batch": 8, "transformer": find_transformer(MODELS, "llama-3.1-405b")}, "no layout of 1 h100"),
    ],
)
def test_training_that_cannot_be_is_refused(changes, complaint):
    with pytest.raises(UsageError, match=complaint):
        expect_training(structs.replace(EIGHT, **changes), TRAINING)


@pytest.mark.parametrize(
    ("changes", "metric", "complaint"),
    [
        ({"layout": "tp=3"}, Metric.TPOT, "does not divide 8 devices"),
        ({"count": 1, "transformer": find_transformer(MODELS, "llama-3.1-405b")}, Metric.TPOT, "do not hold"),
        ({"layout": "tp=8"}, Metric.RUN_TIME, "run_s is not predicted"),
    ],
)
def test_serving_that_cannot_be_is_refused(changes, metric, complaint):
    with pytest.raises(UsageError, match=complaint):
        expect_serving(structs.replace(EIGHT, **changes), SERVING, metric)


@given(
    st.fixed_dictionaries({}, optional={axis: st.integers(1, 64).map(str) for axis in LAYOUT_AXES[:6]}),
    st.sampled_from([{}, {"zero": "0"}, {"zero": "3"}]),
    st.sampled_from([{}, {"rc": "full"}, {"rc": "selective"}]),
)
def test_a_layout_reads_back_as_it_was_written(axes, zero, recompute):
    text = layout_text({**axes, **zero, **recompute})
    assert layout_text(layout_parts(text)) == text


@given(
    st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]), st.sampled_from(list(Recompute))
)
def test_a_layout_found_by_search_reads_back_as_itself(tensor, pipeline, data, recompute):
    layout = Layout(data=data, tensor=tensor, pipeline=pipeline, zero=1, micro_batch=2, recompute=recompute)
    assert layout_from(layout_words(layout), layout.devices, 64) == layout


@pytest.mark.parametrize("text", ["tp", "tp=0", "tp=x", "tp=2,tp=4", "zero=4", "rc=all", "=3"])
def test_what_is_no_layout_is_refused(text):
    with pytest.raises(ValueError, match="write such as"):
        layout_parts(text)
