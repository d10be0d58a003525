"""What a transformer's figures say about its weights, its arithmetic and its cache, and what its makers published."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.config import load_models
from scheduler.model.jobs import ModelShape
from scheduler.model.transformers import find_transformer
from scheduler.profiles.work import (
    active_parameters,
    attention_flops_per_token,
    attention_parameters,
    expert_parameters,
    forward_flops_per_token,
    kv_values_per_token,
    mlp_parameters,
    parameters,
    transformer_of,
)

MODELS = load_models()

PUBLISHED_BILLIONS = {  # as the makers state them
    "llama-3.1-8b": 8.03,
    "llama-3.1-70b": 70.6,
    "llama-3.1-405b": 405.9,
    "llama-2-70b": 69.0,
    "qwen3-8b": 8.2,
    "qwen3-32b": 32.8,
    "qwen3-235b-a22b": 235.1,
    "qwen3-30b-a3b": 30.5,
    "deepseek-v3": 671.0,
    "deepseek-v2": 235.7,
    "deepseek-v2-lite": 15.7,
    "kimi-k2": 1026.0,
    "mixtral-8x7b": 46.7,
    "mixtral-8x22b": 140.6,
    "gpt-oss-120b": 116.8,
    "gpt-oss-20b": 20.9,
    "glm-4.5-air": 106.8,
    "mpt-7b": 6.65,
    "mpt-30b": 29.96,
    "bloom-176b": 176.2,
    "gpt-175b": 174.6,
    "nemotron-4-340b": 341.0,
}
PUBLISHED_ACTIVE = {
    "deepseek-v3": 37.0,
    "deepseek-v2": 21.0,
    "qwen3-235b-a22b": 22.0,
    "mixtral-8x7b": 12.9,
    "gpt-oss-120b": 5.1,
    "kimi-k2": 32.0,
    "llama-4-scout": 17.0,
}


def named(name):
    found = find_transformer(MODELS, name)
    assert found is not None
    return found


@pytest.mark.parametrize(("name", "billions"), PUBLISHED_BILLIONS.items())
def test_the_weights_add_up_to_the_published_count(name, billions):
    assert parameters(named(name)) / 1e9 == pytest.approx(billions, rel=0.005)


@pytest.mark.parametrize(("name", "billions"), PUBLISHED_ACTIVE.items())
def test_the_weights_that_a_token_passes_are_near_the_published_count(name, billions):
    assert active_parameters(named(name)) / 1e9 == pytest.approx(billions, rel=0.06)


@pytest.mark.parametrize("t", MODELS, ids=lambda t: t.name)
def test_no_model_uses_more_weights_than_it_has(t):
    assert 0 < active_parameters(t) <= parameters(t)
    assert expert_parameters(t) < parameters(t)
    assert attention_parameters(t) > 0


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct-FP8", "llama-3.1-8b"),
        ("Qwen/Qwen3-235B-A22B-FP8", "qwen3-235b-a22b"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-v3"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("LLaMA2-70B", "llama-2-70b"),
        ("GLM-4.6-FP8 (two replicas)", "glm-4.5"),
    ],
)
def test_a_published_name_finds_its_architecture(said, meant):
    assert named(said).name == meant


def test_a_name_that_nobody_knows_finds_nothing():
    assert find_transformer(MODELS, "my-own-model") is None
    assert find_transformer(MODELS, "") is None


def test_no_two_models_answer_to_one_name():
    for t in MODELS:
        for called in (t.name, *t.aliases):
            assert named(called) is t


def test_a_cache_holds_keys_and_values_of_every_layer():
    assert kv_values_per_token(named("llama-3.1-8b")) == 2 * 32 * 8 * 128


def test_a_compressed_cache_holds_one_vector_a_layer():
    assert kv_values_per_token(named("deepseek-v3")) == 61 * 576


def test_attention_grows_with_the_context_and_the_rest_does_not():
    t = named("llama-3.1-8b")
    assert attention_flops_per_token(t, 2000) == 2 * attention_flops_per_token(t, 1000)
    assert forward_flops_per_token(t, 0) == 2 * active_parameters(t)


def test_a_layer_with_a_window_attends_no_further():
    t = named("gpt-oss-120b")
    long, longer = (attention_flops_per_token(t, context) for context in (10_000, 20_000))
    assert longer / long == pytest.approx(2, rel=0.02)
    assert attention_flops_per_token(t, 10_000) < 0.52 * 4 * t.heads * t.head_dim * t.layers * 10_000


def test_two_matrices_make_a_plain_mlp_and_three_a_gated_one():
    plain, gated = named("mpt-7b"), named("llama-7b")
    assert mlp_parameters(plain, 10) == 2 * 4096 * 10
    assert mlp_parameters(gated, 10) == 3 * 4096 * 10


@given(st.floats(3e7, 2e12))
def test_a_size_alone_is_completed_to_a_model_of_that_size(params):
    made = transformer_of(ModelShape(params=params))
    assert parameters(made) == pytest.approx(params, rel=0.02)
    assert made.heads % made.kv_heads == 0
    assert 16 <= made.hidden / made.layers <= 512


@given(st.floats(2e9, 5e10), st.floats(1.5, 30))
def test_a_mixture_is_completed_to_its_total_and_its_active_size(active, ratio):
    made = transformer_of(ModelShape(params=active * ratio, active_params=active))
    assert made.experts >= made.experts_per_token > 0
    assert active_parameters(made) == pytest.approx(active, rel=0.15)
    assert parameters(made) == pytest.approx(active * ratio, rel=0.1)


def test_what_the_file_says_is_kept():
    made = transformer_of(ModelShape(params=8e9, layers=32, hidden=4096, seq_len=8192))
    assert (made.layers, made.hidden) == (32, 4096)
