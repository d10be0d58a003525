"""What a training step does, counted term by term."""

import numpy as np
import pytest
from msgspec import structs

from scheduler.errors import UsageError
from scheduler.model.accelerators import Accelerator, Figure, Track
from scheduler.model.transformers import Transformer
from scheduler.profiles.layouts import Layout, Precision, Recompute
from scheduler.profiles.steps import chips_of, join, models_of, splits_of
from scheduler.profiles.training import BELIEFS, TERMS, tokens_per_step, training_covariates, training_terms
from scheduler.profiles.work import active_parameters, parameters

GPT = Transformer(
    name="gpt", layers=48, hidden=6144, heads=48, kv_heads=48, head_dim=128, ffn=24576, vocab=51200, gated=False
)
MIXTURE = structs.replace(GPT, ffn=0, experts=16, experts_per_token=2, expert_ffn=24576)
CHIP = Accelerator(
    name="chip",
    family="chip",
    vendor="vendor",
    adapter="nvidia",
    track=Track.IMPORTED,
    compute_units=1000,
    hbm_gib=Figure(80, 80, 80),
    bandwidth_tb_per_s=Figure(2, 2, 2),
    bf16_tflops=Figure(312, 312, 312),
    fp8_tflops=Figure(624, 624, 624),
    link_gb_per_s=Figure(600, 600, 600),
    network_gb_per_s=Figure(25, 25, 25),
)


def terms(layout, model=GPT, *, global_batch=64, seq_len=2048, chip=CHIP, precision=Precision.BF16):
    found = training_terms(models_of(model, seq_len), chips_of(chip), splits_of(layout, global_batch, precision))
    return dict(zip(TERMS, found[0], strict=True))


def test_products_are_six_operations_per_weight_and_token_over_the_peak():
    layout = Layout(data=8, micro_batch=2)
    ideal = 6 * active_parameters(GPT) * 64 * 2048 / 8 / 312e12
    assert terms(layout)["products"] == pytest.approx(ideal)
    assert terms(layout)["low_products"] == 0
    low = terms(layout, precision=Precision.FP8)
    assert (low["products"], low["low_products"]) == (0, pytest.approx(ideal / 2))


def test_attention_computes_its_scores_again_in_the_backward_pass():
    once = 4 * GPT.layers * 2048 * 6144 * 64 * 2048 / 8 / 312e12
    assert terms(Layout(data=8))["attention"] == pytest.approx(3.5 * once)
    for kind in (Recompute.SELECTIVE, Recompute.FULL):
        assert terms(Layout(data=8, recompute=kind))["attention"] == pytest.approx(4.5 * once)


def test_full_recomputation_adds_a_forward_pass_of_the_layers_but_not_of_the_logits():
    plain, full = terms(Layout(data=8)), terms(Layout(data=8, recompute=Recompute.FULL))
    layers = 1 - GPT.vocab * GPT.hidden / active_parameters(GPT)
    assert full["products"] / plain["products"] == pytest.approx(1 + layers / 3)
    assert full["vocabulary"] == plain["vocabulary"]


def test_a_pipeline_waits_as_long_as_its_bubble():
    flat = terms(Layout(tensor=8))
    piped = terms(Layout(tensor=8, pipeline=4))
    assert piped["products"] == pytest.approx(flat["products"] / 4 * (1 + 3 / 64))
    woven = terms(Layout(tensor=8, pipeline=4, virtual_stages=4))
    assert woven["products"] == pytest.approx(flat["products"] / 4 * (1 + 3 / 4 / 64))
    assert woven["stages"] == 4 * piped["stages"] > 0
    assert flat["stages"] == 0


def test_stages_wait_for_the_one_with_the_most_layers():
    even, uneven = (terms(Layout(pipeline=4), structs.replace(GPT, layers=n)) for n in (48, 45))
    assert uneven["attention"] == pytest.approx(even["attention"])  # 12 layers in the fullest stage of both


def test_sharded_weights_are_gathered_twice_and_gradients_scattered_in_every_pass():
    whole = 2 * parameters(GPT) * 7 / 8 / 300e9
    assert terms(Layout(data=8, zero=3))["shards"] == pytest.approx(3 * 8 * whole)
    assert terms(Layout(data=8, zero=2))["shards"] == pytest.approx(9 * whole)
    assert terms(Layout(data=8, zero=1))["shards"] == pytest.approx(2 * whole)
    assert terms(Layout(data=1, tensor=8))["shards"] == 0


def test_across_nodes_the_network_is_what_counts_and_time_grows_with_the_nodes():
    near, far = terms(Layout(data=8, zero=1)), terms(Layout(data=64, zero=1))
    assert far["shards"] / near["shards"] == pytest.approx(63 / 64 / (7 / 8) * 300 / 200)
    assert near["spread"] == near["stragglers"] == 0
    assert far["spread"] == pytest.approx(3 * far["shards"])


def test_a_network_too_slow_to_be_hidden_shows():
    slow = structs.replace(CHIP, network_gb_per_s=Figure(0.1, 0.1, 0.1))
    assert terms(Layout(data=64, zero=3), chip=slow)["unhidden"] > 0
    assert terms(Layout(data=8, zero=1))["unhidden"] == 0


def test_tensor_parallel_layers_gather_and_scatter_activations_twice_in_each_direction():
    once = 2 * 7 / 8 * 2 * 2048 * 6144 / 300e9
    assert terms(Layout(tensor=8))["tensor"] == pytest.approx(4 * 64 * 48 * once)
    full = terms(Layout(tensor=8, recompute=Recompute.FULL))["tensor"]
    assert full == pytest.approx(6 * 64 * 48 * once)
    assert terms(Layout(data=8))["tensor"] == 0


def test_sequence_parallelism_splits_what_lies_between_products():
    split, whole = terms(Layout(tensor=8)), terms(Layout(tensor=8, sequence_parallel=False))
    assert whole["elementwise"] == pytest.approx(8 * split["elementwise"])


def test_experts_cost_what_a_token_passes_and_talk_when_they_are_split():
    alone, split = terms(Layout(data=8), MIXTURE), terms(Layout(data=8, expert=8), MIXTURE)
    routed = 48 * 2 * 2 * 6144 * 24576
    assert alone["experts"] == pytest.approx(6 * routed * 64 * 2048 / 8 / 312e12)
    assert alone["exchange"] == 0 < split["exchange"]
    assert split["shards"] < alone["shards"]
    assert terms(Layout(data=8))["experts"] == 0


def test_context_parallelism_sends_keys_and_values_round():
    assert terms(Layout(context=8))["context"] > 0 == terms(Layout(data=8))["context"]
    assert terms(Layout(context=8))["products"] == pytest.approx(terms(Layout(data=8))["products"])


def test_windows_bound_what_attention_costs():
    windowed = structs.replace(GPT, window=256, windowed_layers=48)
    assert terms(Layout(data=8), windowed)["attention"] == pytest.approx(terms(Layout(data=8))["attention"] / 8)


def test_rows_side_by_side_are_the_rows_one_by_one():
    layouts = [Layout(data=8, zero=3), Layout(tensor=8), Layout(data=2, pipeline=4), Layout(data=64)]
    splits = join([splits_of(layout, 64) for layout in layouts])
    together = training_terms(models_of(GPT, 2048), chips_of(CHIP), splits)
    assert together == pytest.approx(np.array([list(terms(layout).values()) for layout in layouts]))
    assert list(tokens_per_step(models_of(GPT, 2048), splits)) == [64 * 2048] * 4
    assert training_covariates(models_of(GPT, 2048), chips_of(CHIP), splits).shape == (4, 2)
    assert len(BELIEFS) == len(TERMS)


def test_a_chip_without_arithmetic_is_refused_and_one_without_a_link_has_a_slow_one():
    with pytest.raises(UsageError, match="chip"):
        chips_of(structs.replace(CHIP, bf16_tflops=None))
    bare = chips_of(structs.replace(CHIP, link_gb_per_s=None, network_gb_per_s=None, fp8_tflops=None))
    assert bare.link == 16e9
    assert bare.low_flops == bare.flops == 312e12
