"""What the shipped coefficients say of chips measured and of chips never measured."""

import pytest
from msgspec import structs

from scheduler.config import load_catalog, load_models, shipped
from scheduler.config.profiles import load_fit
from scheduler.model.accelerators import Provenance
from scheduler.model.transformers import find_transformer
from scheduler.profiles.layout_search import search_layouts
from scheduler.profiles.layouts import Layout, Recompute
from scheduler.profiles.training import TERMS
from scheduler.profiles.training_rates import TrainingCoefficients, beyond_measured, training_rate

CATALOG = load_catalog()
MODELS = load_models()
FIT = load_fit(shipped("profiles", "training"), "training", TrainingCoefficients)
LLAMA = find_transformer(MODELS, "llama-3.1-8b")


def rates(name, model=LLAMA, **how):
    found = search_layouts(model, [CATALOG.get(name)], FIT, global_batch=480, seq_len=4096, **how)[name]
    return max(found, key=lambda a: a.per_device).rate, found


def test_they_are_of_the_terms_that_are_computed_and_say_what_they_were_fitted_to():
    assert FIT.terms == TERMS
    assert "rows whose layout is told" in FIT.source
    assert {"h100", "a100", "a100-40", "ascend-910b2"} == set(FIT.devices)
    assert all(fit.n >= 20 and fit.mape_percent < 15 for fit in FIT.devices.values())


def test_a_published_run_lies_within_its_band():
    # MosaicML, llm-foundry: MPT-30B on 128 H100, full recomputation, 2,199 tokens a second and device
    model = find_transformer(MODELS, "mpt-30b")
    layout = Layout(data=128, zero=3, recompute=Recompute.FULL, micro_batch=8)
    found = training_rate(model, CATALOG.get("h100"), layout, FIT, 2048, 1024, engine="mosaicml/llm-foundry")
    assert found.value / 128 == pytest.approx(2199, rel=0.06)
    assert found.low < 128 * 2199 < found.high
    assert found.provenance is Provenance.DERIVED


@pytest.mark.parametrize("name", ["h200", "h20-96", "ascend-910c"])
def test_chips_never_measured_are_modelled_with_a_band_that_says_so(name):
    found, _ = rates(name)
    assert found.provenance is Provenance.MODELLED
    assert found.high / found.low > 1.8


def test_one_h200_trains_like_four_to_six_h20_and_not_by_the_ratio_of_peaks():
    fast, slow = (rates(name)[1] for name in ("h200", "h20-96"))
    ratio = max(a.per_device for a in fast) / max(a.per_device for a in slow)
    assert 3.2 < ratio < 6.0


def test_a_vendor_without_clear_measurements_is_doubted_most():
    widths = {name: rates(name)[0].high / rates(name)[0].low for name in ("h200", "ascend-910c")}
    assert widths["ascend-910c"] > 1.3 * widths["h200"]


def test_a_new_board_of_a_measured_chip_is_doubted_less_and_takes_after_it():
    known = CATALOG.get("h100")
    akin = structs.replace(known, name="h100-new")
    stranger = structs.replace(akin, family="other")
    layout = Layout(data=8, zero=3, micro_batch=1)
    told, new, other = (training_rate(LLAMA, chip, layout, FIT, 4096, 16) for chip in (known, akin, stranger))
    assert new.high / new.low < other.high / other.low
    assert abs(new.value / told.value - 1) < abs(other.value / told.value - 1)


def test_a_job_may_say_only_its_model_and_the_chips():
    counts = {name: [a.count for a in rates(name)[1]] for name in ("h200", "h20-96", "ascend-910c")}
    assert 8 in counts["h200"] and 40 in counts["h20-96"] and 24 in counts["ascend-910c"]


def beyond(name="h100", model=LLAMA, devices=64, seq_len=4096):
    return beyond_measured(FIT, model, CATALOG.get(name), devices=devices, seq_len=seq_len)


def test_what_lies_within_the_measurements_is_not_called_beyond_them():
    assert beyond() == ()


def test_what_lies_beyond_says_why():
    assert beyond("h20-96") == ("no training was measured on h20-96",)
    assert beyond("ascend-910c")[1] == "nor, with its layout, on any chip of huawei"
    assert beyond(devices=65536)[0].startswith("a count of 65536 lies beyond the measured 8 to")
    assert beyond(seq_len=2**20)[0].startswith("a length of 1048576 lies")
    assert beyond(model=find_transformer(MODELS, "llama-3.1-405b"))[0].startswith("a width of 16384 lies")


def test_large_models_need_many_devices_and_small_ones_one():
    large = find_transformer(MODELS, "llama-3.1-405b")
    assert rates("h200", large, most=512)[1][0].count >= 64
    small = find_transformer(MODELS, "mpt-760m")
    assert rates("h20-96", small)[1][0].count == 1
