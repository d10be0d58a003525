"""How much devices serve within objectives: less under tighter limits and longer requests, and enough replicas."""

import itertools
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from scheduler.config import load_fit, shipped
from scheduler.errors import UsageError
from scheduler.model.accelerators import Provenance
from scheduler.model.jobs import Load, Objectives
from scheduler.profiles.serving import Demand, largest_batch
from scheduler.profiles.serving_fit import tpot_s, ttft_s
from scheduler.profiles.serving_model import ServingModel
from scheduler.profiles.serving_rate import Pool, pooled_rate, replicas_needed, separated_rate, service_split, splits_of
from scheduler.profiles.storage import storage_of
from scheduler.profiles.table import Rate
from tests.unit.profiles.serving_cases import CATALOG, model, replica

LOAD = Load(requests_per_s=10.0, prompt_tokens=1000, output_tokens=300)
EASY = Objectives()
CHAT = Objectives(ttft_ms_p99=2000.0, tpot_ms_p99=50.0)


@cache
def shipped_model():
    return load_fit(shipped("profiles", "serving"), "serving", ServingModel)


def rate(objectives=CHAT, load=LOAD, name="llama-3.1-8b", chip="h200", count=1, engine="vllm", weights="bf16"):
    storage = storage_of(model(name), weights)
    found = service_split(
        model(name), CATALOG.get(chip), count, objectives, load, shipped_model(), storage, engine=engine
    )
    return found[0]


def pool(name="llama-3.1-70b", chip="h200", replicas=1, **split):
    return Pool(replica=replica(name, chip, "fp8", **split), replicas=replicas, engine="vllm")


def test_a_rate_has_its_band_around_it_and_says_that_it_is_modelled():
    found = rate()
    assert 0 < found.low < found.value < found.high
    assert found.provenance is Provenance.MODELLED


@settings(max_examples=20, deadline=None)
@given(st.floats(5, 200), st.floats(1.01, 3))
def test_easing_an_objective_never_lowers_the_rate(limit, factor):
    for tight in (Objectives(tpot_ms_p99=limit), Objectives(ttft_ms_p99=10 * limit)):
        eased = Objectives(
            tpot_ms_p99=tight.tpot_ms_p99 and tight.tpot_ms_p99 * factor,
            ttft_ms_p99=tight.ttft_ms_p99 and tight.ttft_ms_p99 * factor,
        )
        assert rate(tight).value <= rate(eased).value * (1 + 1e-9) <= rate(EASY).value * (1 + 1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(100, 8000), st.integers(50, 2000))
def test_longer_prompts_and_answers_are_served_less_often(prompt, output):
    here = rate(load=Load(prompt_tokens=prompt, output_tokens=output)).value
    assert rate(load=Load(prompt_tokens=2 * prompt, output_tokens=output)).value <= here * (1 + 1e-9)
    assert rate(load=Load(prompt_tokens=prompt, output_tokens=2 * output)).value <= here * (1 + 1e-9)


def test_the_batch_that_a_rate_means_keeps_the_objective_and_fits_in_the_cache():
    one = replica("llama-3.1-8b", "h200", "bf16")
    found = pooled_rate(Pool(replica=one, engine="vllm"), CHAT, LOAD, shipped_model()).value
    sizes = np.linspace(1, 600, 6000)
    steps = tpot_s(one, Demand(batch=sizes, prompt=1000.0, output=300.0), "vllm", shipped_model().coefficients)
    batch = np.interp(found, sizes / (300 * steps), sizes)  # Little's law, read backwards
    assert np.interp(batch, sizes, steps) <= 0.050
    assert batch <= largest_batch(one, Demand(batch=1.0, prompt=1000.0, output=300.0))


def test_what_cannot_be_kept_is_not_served():
    assert rate(Objectives(tpot_ms_p99=0.5)).value == 0
    assert rate(Objectives(ttft_ms_p99=1.0)).value == 0
    assert rate(name="deepseek-v3", weights="fp8", count=2).value == 0  # does not fit on two


def test_twice_the_replicas_serve_twice_as_much_and_more_devices_never_less():
    one, two = (pooled_rate(pool(replicas=n, tensor=4), CHAT, LOAD, shipped_model()).value for n in (1, 2))
    assert two == pytest.approx(2 * one)
    rates = [rate(name="llama-3.1-70b", weights="fp8", count=n).value for n in (1, 2, 4, 8)]
    assert rates == sorted(rates)


def test_a_bandwidth_rich_chip_serves_long_answers_and_an_arithmetic_rich_one_long_prompts():
    answers, prompts = Load(prompt_tokens=200, output_tokens=2000), Load(prompt_tokens=8000, output_tokens=20)
    by_load = [
        rate(EASY, load, chip="h200").value / rate(EASY, load, chip="h20-96").value for load in (answers, prompts)
    ]
    assert 1.0 < by_load[0] < by_load[1] < 6.8


def test_the_best_split_is_no_worse_than_any_single_one():
    best = rate(name="llama-3.1-70b", weights="fp8", count=4)
    for split in splits_of(model("llama-3.1-70b"), 4):
        one = pool(replicas=4 // split.devices, tensor=split.tensor)
        assert best.value >= pooled_rate(one, CHAT, LOAD, shipped_model()).value


def test_splits_leave_no_device_over_and_divide_the_model():
    found = list(splits_of(model("qwen3-30b-a3b"), 8))
    assert {(s.tensor, s.data, s.expert) for s in found} == {
        (1, 1, 1), (2, 1, 1), (4, 1, 1), (8, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8),
    }  # fmt: skip
    assert [s.tensor for s in splits_of(model("llama-3.1-8b"), 6)] == [1, 2]  # 3 and 6 do not divide 32 heads


def test_separate_pools_serve_what_the_slower_of_them_serves():
    known, load = shipped_model(), Load(prompt_tokens=4000, output_tokens=500)
    few = separated_rate(pool(tensor=4), pool(replicas=4, tensor=4), CHAT, load, known)
    more = separated_rate(pool(replicas=2, tensor=4), pool(replicas=4, tensor=4), CHAT, load, known)
    enough = separated_rate(pool(replicas=50, tensor=4), pool(replicas=4, tensor=4), CHAT, load, known)
    assert 0 < few.value < more.value < enough.value
    alike = separated_rate(pool(replicas=60, tensor=4), pool(replicas=4, tensor=4), CHAT, load, known)
    assert alike.value == enough.value  # writing answers limits it now


def test_moving_the_cache_counts_towards_the_first_token():
    pools = (pool(replicas=2, tensor=4), pool(replicas=40, tensor=4))
    load = Load(prompt_tokens=4000, output_tokens=100)
    near, far = (separated_rate(*pools, CHAT, load, shipped_model(), transfer_s=n).value for n in (0.0, 1.0))
    assert far < near
    assert separated_rate(*pools, CHAT, load, shipped_model(), transfer_s=2.0).value == 0


def test_decoding_alone_is_faster_than_with_prompts_in_between():
    known, load = shipped_model(), Load(prompt_tokens=4000, output_tokens=200)
    mixed = pooled_rate(pool(tensor=4), Objectives(tpot_ms_p99=30), load, known).value
    apart = separated_rate(pool(replicas=100, tensor=4), pool(tensor=4), Objectives(tpot_ms_p99=30), load, known).value
    assert apart > mixed


@given(st.floats(0.1, 50), st.floats(0, 500), st.floats(0.2, 1))
def test_so_many_replicas_are_needed_as_serve_the_load_at_the_low_end(each, load, share):
    one = Rate(each, each * share, each * 1.5, Provenance.MODELLED)
    count = replicas_needed(one, load)
    assert count >= 1
    assert count * one.low >= load * (1 - 1e-6)
    assert count == 1 or (count - 1) * one.low < load
    assert replicas_needed(one, load, sure=False) <= count


def test_a_replica_that_serves_nothing_is_told_and_not_multiplied():
    with pytest.raises(UsageError, match="serves no request"):
        replicas_needed(Rate(1.0, 0.0, 2.0, Provenance.MODELLED), 5.0)


def test_no_devices_serve_nothing():
    with pytest.raises(UsageError, match="0 devices"):
        rate(count=0)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-32b", "qwen3-30b-a3b", "gpt-oss-120b", "deepseek-v3"])
def test_shipped_coefficients_give_times_that_a_server_could_have(name):
    known = shipped_model().coefficients
    for chip, batch in itertools.product(("h100", "h200", "b200", "h20-96", "ascend-910c"), (1, 16, 128)):
        one, asked = replica(name, chip, "fp8", tensor=8), Demand(batch=float(batch), prompt=1000.0, output=500.0)
        assert 0.001 < tpot_s(one, asked, "vllm", known)[0] < 0.5
        assert 0.005 < ttft_s(one, asked, "vllm", known)[0] < 5


def test_bands_of_coefficients_that_were_fitted_to_nothing_of_a_phase_are_refused():
    blank = structs.replace(shipped_model(), spreads={})
    with pytest.raises(ValueError, match="no tpot was measured"):
        pooled_rate(pool(), CHAT, LOAD, blank)
