"""What a decode step and a prompt are made of follows from the model, the device and the split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from scheduler.errors import UsageError
from scheduler.profiles.serving import (
    DECODE_TERMS,
    PREFILL_TERMS,
    Split,
    decode_floor_s,
    decode_terms,
    largest_batch,
    prefill_floor_s,
    prefill_terms,
    running,
    served,
    touched_s,
)
from scheduler.profiles.storage import storage_of
from scheduler.profiles.work import kv_values_per_token, parameters
from tests.unit.profiles.serving_cases import CATALOG, demand, fleet, model, replica

NAMES = ("llama-3.1-8b", "qwen3-32b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-120b", "gemma-3-12b")


def term(name, replicas, asked):
    return float(decode_terms(replicas, asked)[0, DECODE_TERMS.index(name)])


def prefill_term(name, replicas, asked):
    return float(prefill_terms(replicas, asked)[0, PREFILL_TERMS.index(name)])


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-32b", "llama-3.1-70b"])
@pytest.mark.parametrize("tensor", [1, 2, 4, 8])
def test_a_dense_model_reads_each_of_its_weights_once_a_step_but_the_looked_up_embedding(name, tensor):
    t = model(name)
    read = parameters(t) - (0 if t.tied else t.vocab * t.hidden)
    assert term("weights", replica(name, tensor=tensor), demand()) == pytest.approx(
        2 * read / tensor / 3.35e12, rel=1e-6
    )


def test_the_cache_that_is_read_is_that_of_all_requests_at_half_their_answer():
    held = 8 * (1000 + 250) * 2 * kv_values_per_token(model("llama-3.1-8b"))
    assert term("cache", replica(), demand()) == pytest.approx(held / 3.35e12, rel=1e-6)


def test_more_devices_than_heads_of_keys_keep_copies_of_the_cache():
    four, eight = (term("cache", replica("qwen3-235b-a22b", "h200", "fp8", tensor=n), demand()) for n in (4, 8))
    assert eight == pytest.approx(four)  # it has four heads of keys


def test_a_compressed_cache_is_not_split_over_tensor_parallel_devices():
    one, eight = (term("cache", replica("deepseek-v3", "b200", "fp8", tensor=n), demand(batch=1)) for n in (4, 8))
    assert one == pytest.approx(eight)


def test_windowed_layers_stop_reading_at_their_window():
    near, far = (term("cache", replica("gpt-oss-120b"), demand(batch=1, prompt=n, output=1)) for n in (10_000, 20_000))
    assert far / near == pytest.approx(2, rel=0.02)
    short = term("cache", replica("gpt-oss-120b"), demand(batch=1, prompt=100, output=1))
    assert near < 60 * short  # half of the layers read 128 tokens, not 10,000


@given(st.integers(1, 64), st.sampled_from(["deepseek-v3", "qwen3-30b-a3b", "gpt-oss-120b"]))
def test_the_experts_that_a_batch_touches_grow_with_it_but_never_beyond_all(batch, name):
    one = replica(name, "b200", "fp8", tensor=8)
    now, more = float(touched_s(one, float(batch))), float(touched_s(one, batch + 1.0))
    assert 0 < now < more <= one.experts_s * (1 + 1e-12)
    assert now <= batch * one.experts_s * one.drawn * (1 + 1e-9)


@pytest.mark.parametrize(
    ("name", "chip", "weights", "widened"),
    [
        ("gpt-oss-120b", "h200", "", True),  # four bits, which only the next generation multiplies
        ("gpt-oss-120b", "b200", "", False),
        ("qwen3-30b-a3b", "h200", "fp8", False),
        ("qwen3-30b-a3b", "a100", "fp8", True),
        ("qwen3-30b-a3b", "b200", "int4", True),  # weights only: products are in half precision everywhere
        ("qwen3-30b-a3b", "a100", "bf16", False),
    ],
)
def test_experts_that_a_chip_cannot_multiply_as_they_are_take_time_to_be_widened(name, chip, weights, widened):
    one = replica(name, chip, weights, tensor=2)
    assert (term("widened_experts", one, demand()) > 0) == widened
    assert term("widened_experts", one, demand()) in (0, term("experts", one, demand()))


def test_a_dense_model_touches_no_experts():
    assert term("experts", replica(), demand()) == term("prompt_expert_products", replica(), demand()) == 0


def test_prompts_filled_elsewhere_take_nothing_from_a_decode_step():
    apart = decode_terms(replica(tensor=2), demand(mixed=0.0))[0]
    assert [name for name, value in zip(DECODE_TERMS, apart, strict=True) if name.startswith("prompt") and value] == []
    assert term("prompt_products", replica(tensor=2), demand()) > 0


def test_one_device_sends_no_messages():
    alone = decode_terms(replica(), demand())[0]
    silent = ("all_reduce_steps", "messages", "prompt_messages")
    assert [alone[DECODE_TERMS.index(name)] for name in silent] == [0, 0, 0]
    assert term("messages", replica(tensor=2), demand()) > 0


def test_a_prompts_attention_grows_with_the_square_of_its_length_and_its_products_in_proportion():
    short, long = demand(prompt=1000), demand(prompt=2000)
    assert prefill_term("attention", replica(), long) == pytest.approx(4 * prefill_term("attention", replica(), short))
    assert prefill_term("products", replica(), long) == pytest.approx(2 * prefill_term("products", replica(), short))


@given(
    st.sampled_from(NAMES),
    st.floats(1, 512),
    st.floats(1, 20_000),
    st.floats(1, 8_000),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from(["h100", "h200", "b200", "h20-96"]),
)
def test_no_term_is_negative_or_broken_and_floors_lie_above_zero(name, batch, prompt, output, tensor, chip):
    if model(name).heads % tensor:
        return
    one, asked = replica(name, chip, "fp8", tensor=tensor), demand(batch, prompt, output)
    for terms in (decode_terms(one, asked), prefill_terms(one, asked)):
        assert np.isfinite(terms).all() and (terms >= 0).all()
    assert decode_floor_s(one, asked) > 0 and prefill_floor_s(one, asked) > 0


@given(st.sampled_from(NAMES), st.floats(1, 200), st.floats(10, 5000))
def test_columns_say_what_scalars_say(name, batch, prompt):
    chips = ("h100", "h200", "b200")
    columns = fleet([(name, chip, "fp8", {"tensor": 2}) for chip in chips])
    together = decode_terms(columns, demand([batch] * 3, [prompt] * 3, [100.0] * 3))
    for row, chip in enumerate(chips):
        alone = decode_terms(replica(name, chip, "fp8", tensor=2), demand(batch, prompt, 100))[0]
        assert together[row] == pytest.approx(alone, rel=1e-12)


def test_so_many_requests_fit_as_their_caches_leave_room_for():
    one, asked = replica(), demand(batch=4000, prompt=1500, output=500)
    free = 80 * 2**30 * 0.9 - 2e9 - 2 * (parameters(model("llama-3.1-8b")) - 128256 * 4096)
    fits = free / (2 * kv_values_per_token(model("llama-3.1-8b")) * 2000)
    assert largest_batch(one, asked) == pytest.approx(fits, rel=1e-6)
    assert running(one, asked) == pytest.approx(fits, rel=1e-6)
    assert running(one, demand(batch=3)) == 3


def test_a_model_that_does_not_fit_leaves_no_room_for_requests():
    assert largest_batch(replica("deepseek-v3", "h100", "fp8"), demand()) == 0


@pytest.mark.parametrize(
    ("split", "problem"),
    [({"tensor": 3}, "does not divide 32 heads"), ({"expert": 2}, "no experts"), ({"tensor": 0}, "below 1")],
)
def test_a_split_that_the_model_cannot_have_is_refused(split, problem):
    with pytest.raises(UsageError, match=problem):
        replica(**split)


def test_experts_are_split_over_devices_that_there_are():
    with pytest.raises(UsageError, match="does not divide 4 devices"):
        replica("qwen3-30b-a3b", tensor=4, expert=8)


def test_a_chip_without_published_bandwidth_is_refused_by_name():
    blank = structs.replace(CATALOG.get("h100"), bandwidth_tb_per_s=None)
    with pytest.raises(UsageError, match="h100 has no bandwidth_tb_per_s"):
        served(model("llama-3.1-8b"), blank, storage_of(model("llama-3.1-8b"), "bf16"), Split())


@pytest.mark.parametrize(
    ("name", "weights", "attention", "experts", "cache"),
    [
        ("llama-3.1-8b", "", 2, 2, 2),
        ("llama-3.1-8b", "fp8_block", 1, 1, 1),
        ("llama-3.1-70b", "nvfp4", 0.5625, 0.5625, 1),
        ("deepseek-v3", "nvfp4", 2, 0.5625, 1),
        ("gpt-oss-120b", "nvfp4", 2, 0.53, 1),
    ],
)
def test_bytes_of_weights_and_cache_follow_from_the_format(name, weights, attention, experts, cache):
    kept = storage_of(model(name), weights)
    assert (kept.attention, kept.experts, kept.cache) == (attention, experts, cache)


def test_experts_and_cache_may_have_formats_of_their_own():
    kept = storage_of(model("qwen3-30b-a3b"), "fp8", "nvfp4", "bf16")
    assert (kept.dense, kept.experts, kept.cache, kept.expert_products) == (1, 0.5625, 2, "fp4")


def test_an_unknown_format_is_refused_with_those_that_are_known():
    with pytest.raises(UsageError, match="unknown precision `fp3`") as raised:
        storage_of(model("llama-3.1-8b"), "fp3")
    assert "nvfp4" not in raised.value.remedy and "fp8" in raised.value.remedy


def test_a_format_that_a_chip_lacks_is_computed_in_half_precision():
    kept = storage_of(model("llama-3.1-8b"), "fp8")
    assert kept.operations_per_s(CATALOG.get("h100"), "fp8") == 1979e12
    assert kept.operations_per_s(CATALOG.get("a100"), "fp8") == 312e12
