"""The fastest layout that fits, against plain enumeration, and the rates that it gives."""

import itertools
import math

import pytest
from msgspec import structs

from scheduler.errors import UsageError
from scheduler.model.accelerators import Figure, Provenance
from scheduler.profiles.footprint import training_footprint
from scheduler.profiles.layout_search import search_layouts, usual_counts
from scheduler.profiles.layouts import Layout, Precision, Recompute, check_layout
from scheduler.profiles.memory import fits, out_of_memory
from scheduler.profiles.steps import chips_of, models_of, splits_of
from scheduler.profiles.training import BELIEFS, TERMS
from scheduler.profiles.training_rates import DeviceFit, PooledFit, TrainingCoefficients, training_rate
from tests.unit.profiles.test_training_terms import CHIP, GPT, MIXTURE

POOLED = PooledFit(
    levels=tuple(math.log(b.level) for b in BELIEFS),
    peak_slopes=(0.0,) * len(TERMS),
    peak_slope_sd=(0.2,) * len(TERMS),
    width_slopes=(-0.1,) * 3 + (0.0,) * (len(TERMS) - 3),
    device_sd=(0.1,) * len(TERMS),
    family_sd=(0.1,) * len(TERMS),
    software_sd=(0.2,) * len(TERMS),
    engine_sd=0.2,
    vendor_sd=0.35,
    reach=0.08,
    mixture_reach=0.4,
)
COEFFICIENTS = TrainingCoefficients(terms=TERMS, pooled=POOLED, vendors={"vendor": 0.0})
SMALL = structs.replace(GPT, layers=9, hidden=2048, heads=16, kv_heads=16, ffn=8192)
EXPERTS = structs.replace(MIXTURE, layers=8, hidden=2048, heads=16, kv_heads=16, expert_ffn=4096, experts=4)


def enumerated(model, chip, count, global_batch, seq_len):
    """Every layout that the search may choose from, tried one by one."""
    micro, virtual = (1, 2, 4, 8, 16, 32), (1, 2, 4)
    axes = [range(1, count + 1)] * 3
    for tensor, pipeline, data in itertools.product(*axes):
        for expert, b, v, zero, full in itertools.product((1, 2, 4), micro, virtual, (1, 3), (False, True)):
            recompute = Recompute.FULL if full else Recompute.NONE
            layout = Layout(
                data=data,
                tensor=tensor,
                pipeline=pipeline,
                expert=expert,
                zero=zero,
                recompute=recompute,
                micro_batch=b,
                virtual_stages=v,
            )
            chunks = pipeline * v
            if tensor & (tensor - 1) or tensor > chip.devices_per_node:
                continue
            if math.ceil(model.layers / chunks) * chunks > 1.15 * model.layers:
                continue
            if (v > 1 and pipeline == 1) or (zero == 3 and (pipeline > 1 or data == 1)):
                continue
            try:
                check_layout(layout, model, devices=count, global_batch=global_batch, seq_len=seq_len)
            except UsageError:
                continue
            asked = training_footprint(models_of(model, seq_len), splits_of(layout, global_batch))
            if fits(asked, chips_of(chip).memory, model=model.name)[0]:
                yield training_rate(model, chip, layout, COEFFICIENTS, seq_len, global_batch).value


@pytest.mark.parametrize("model", [SMALL, EXPERTS], ids=["dense", "mixture"])
@pytest.mark.parametrize("memory", [24, 80])
def test_it_finds_what_plain_enumeration_finds(model, memory):
    chip = structs.replace(CHIP, hbm_gib=Figure(memory, memory, memory), devices_per_node=4)
    wanted = (1, 2, 4, 6, 8)
    found = search_layouts(
        model,
        [chip],
        COEFFICIENTS,
        global_batch=24,
        seq_len=2048,
        counts={"chip": wanted},
        min_efficiency=0.0,
    )["chip"]
    best = {n: max(enumerated(model, chip, n, 24, 2048), default=0.0) for n in wanted}
    useful, fastest = {}, 0.0
    for n, rate in best.items():
        if rate > fastest * 1.02:
            useful[n] = fastest = rate
    assert {a.count: a.rate.value for a in found} == pytest.approx(useful)


def test_what_it_finds_is_a_layout_with_the_rate_and_memory_that_it_says():
    for arrangement in search_layouts(GPT, [CHIP], COEFFICIENTS, global_batch=256, seq_len=2048)["chip"]:
        layout = arrangement.layout
        check_layout(layout, GPT, devices=arrangement.count, global_batch=256, seq_len=2048)
        alone = training_rate(GPT, CHIP, layout, COEFFICIENTS, 2048, 256)
        assert arrangement.rate.value == pytest.approx(alone.value)
        assert (arrangement.rate.low, arrangement.rate.high) == pytest.approx((alone.low, alone.high))
        assert arrangement.rate.value * arrangement.step_s == pytest.approx(256 * 2048)
        assert arrangement.memory * 1.1 + 2e9 <= 80 * 2**30


def test_every_useful_count_is_faster_than_all_smaller_ones_and_efficient_enough():
    found = search_layouts(GPT, [CHIP], COEFFICIENTS, global_batch=240, seq_len=2048, most=128)["chip"]
    rates = [a.rate.value for a in found]
    assert len(found) > 2
    assert rates == sorted(rates)
    assert min(a.per_device for a in found) >= 0.5 * max(a.per_device for a in found)
    assert (
        len(search_layouts(GPT, [CHIP], COEFFICIENTS, global_batch=240, seq_len=2048, min_efficiency=1.0)["chip"]) == 1
    )


def test_what_fits_nowhere_gets_no_layout():
    tiny = structs.replace(CHIP, hbm_gib=Figure(4, 4, 4))
    assert search_layouts(GPT, [tiny], COEFFICIENTS, global_batch=64, seq_len=2048) == {"chip": ()}


def test_a_layout_that_ran_out_of_memory_is_not_proposed_again():
    before = search_layouts(GPT, [CHIP], COEFFICIENTS, global_batch=64, seq_len=2048, counts={"chip": (16,)})["chip"]
    failed = out_of_memory(GPT, CHIP, before[0].layout, seq_len=2048, global_batch=64)
    after = search_layouts(
        GPT, [CHIP], COEFFICIENTS, global_batch=64, seq_len=2048, counts={"chip": (16,)}, seen=[failed]
    )["chip"]
    assert after[0].layout != before[0].layout
    assert after[0].rate.value < before[0].rate.value


def test_long_sequences_are_split_over_devices():
    few_heads = structs.replace(SMALL, heads=2, kv_heads=2, head_dim=1024)
    found = search_layouts(few_heads, [CHIP], COEFFICIENTS, global_batch=1, seq_len=131072, counts={"chip": (8,)})
    assert found["chip"][0].layout.context > 1


def test_counts_are_powers_of_two_within_a_node_and_nodes_beyond():
    assert usual_counts(8, 64) == (1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64)
    assert usual_counts(8, 200) == (*usual_counts(8, 64), 80, 96, 112, 128, 160, 192)
    assert usual_counts(16, 32) == (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize(("batch", "seq_len"), [(0, 2048), (64, 0)])
def test_a_batch_or_sequence_of_nothing_is_refused(batch, seq_len):
    with pytest.raises(UsageError, match="at least 1"):
        search_layouts(GPT, [CHIP], COEFFICIENTS, global_batch=batch, seq_len=seq_len)


SHARDED = Layout(data=8, zero=3)


def rate(coefficients=COEFFICIENTS, chip=CHIP, layout=SHARDED, **how):
    return training_rate(SMALL, chip, layout, coefficients, 2048, 64, **how)


def test_a_measured_device_has_its_own_coefficients_and_a_narrower_band():
    levels = tuple(2 * b.level for b in BELIEFS)
    known = DeviceFit(coefficients=levels, n=40, mape_percent=3.0, reach=0.08)
    better = (-0.05,) * len(TERMS)
    measured = structs.replace(
        COEFFICIENTS, devices={"chip": known}, engines={"trainer 2 dense": 0.15}, software={"trainer": better}
    )
    assert rate(measured).value == pytest.approx(rate().value / 2)
    assert rate(measured).high / rate(measured).low < rate().high / rate().low
    assert (rate(measured).provenance, rate().provenance) == (Provenance.DERIVED, Provenance.MODELLED)
    software = rate(measured, engine="trainer 2")
    assert rate(measured, engine="trainer 3").value == pytest.approx(rate(measured).value * math.exp(0.05))
    assert software.value == pytest.approx(rate(measured).value * math.exp(-0.1))
    assert software.high / software.low == pytest.approx(math.exp(2 * 0.08))


def test_a_chip_far_from_all_that_was_measured_has_a_wider_band():
    weak = structs.replace(CHIP, bf16_tflops=Figure(60, 60, 60), fp8_tflops=None)
    assert rate(chip=weak).high / rate(chip=weak).low > 1.1 * rate().high / rate().low


def test_a_vendor_without_measurements_has_a_wider_band():
    stranger = structs.replace(CHIP, vendor="another")
    assert rate(chip=stranger).high / rate(chip=stranger).low > 1.25 * rate().high / rate().low


def test_a_vendor_that_was_slower_than_its_figures_is_taken_to_be_so_again():
    slower = structs.replace(COEFFICIENTS, vendors={"vendor": 0.3})
    assert rate(slower).value == pytest.approx(rate().value * math.exp(-0.3))


def test_mixtures_of_experts_have_a_band_of_their_own():
    found = training_rate(EXPERTS, CHIP, SHARDED, COEFFICIENTS, 2048, 64)
    assert found.high / found.low > rate().high / rate().low


def test_low_precision_is_faster_where_the_chip_has_it():
    assert rate(precision=Precision.FP8).value > rate().value


def test_coefficients_of_other_terms_are_refused():
    with pytest.raises(ValueError, match="fit them again"):
        rate(structs.replace(COEFFICIENTS, terms=("products",)))


def test_a_layout_that_does_not_divide_the_batch_is_refused():
    with pytest.raises(UsageError, match="batch of 64"):
        rate(layout=Layout(data=3))
