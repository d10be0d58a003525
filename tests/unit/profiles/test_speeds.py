"""How fast a job runs: what was measured first, then the fitted models, then the class table; and options from a model
alone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from scheduler.config import load_catalog, parse_jobs
from scheduler.model.accelerators import Provenance
from scheduler.model.jobs import Measured
from scheduler.model.rates import Cell, CellRate, Metric, layout_parts
from scheduler.model.reasons import ReasonCode
from scheduler.profiles.modelled import useful_counts
from scheduler.profiles.observed import Correction
from scheduler.profiles.options import expand
from scheduler.profiles.speeds import Speeds
from scheduler.profiles.table import rate_of

CATALOG = load_catalog()
FLEET = {"h200", "h20-96", "h100", "ascend-910b2", "ascend-910c"}
BARE = structs.replace(CATALOG, fits={}, rates=())


def chip(name):
    found = CATALOG.get(name)
    assert found is not None
    return found


def training(model="llama-3.1-8b", batch=1024, work="tokens: 1.5e11", catalog=CATALOG, **more):
    extra = "".join(f"{key}: {value}\n" for key, value in more.items())
    text = (
        "schema: dualtrack/v1\nkind: job\ntype: training\nname: a\nentrypoint: [python, train.py]\n" + extra +
        f"workload: {{model: {{name: {model}, seq_len: 8192}}, {work}, global_batch: {batch}}}\n"
    )  # fmt: skip
    return parse_jobs(text, "job.yaml", catalog)[0]


def serving(model="llama-3.1-70b", objectives="{ttft_ms_p99: 4000, tpot_ms_p99: 60}", requests=8, **more):
    extra = "".join(f"{key}: {value}\n" for key, value in more.items())
    text = (
        "schema: dualtrack/v1\nkind: job\ntype: inference\nname: a\nentrypoint: [python, serve.py]\n" + extra +
        f"service: {{model: {model}, objectives: {objectives}, min_replicas: 1, max_replicas: 12, "
        f"load: {{requests_per_s: {requests}, prompt_tokens: 2000, output_tokens: 300}}}}\n"
    )  # fmt: skip
    return parse_jobs(text, "job.yaml", CATALOG)[0]


DEADLINE = """schema: dualtrack/v1
kind: job
type: training
name: due
entrypoint: [python, train.py]
deadline: 2100-01-01T00:00:00Z
workload: {model: {name: llama-3.1-8b, seq_len: 8192}, tokens: 1.5e11, global_batch: 1024}
"""


def rates(job, name, *counts, catalog=CATALOG):
    speeds = Speeds(job, chip(name), counts, catalog)
    return [speeds.rate(count) for count in counts]


def test_a_job_that_says_only_its_model_gets_options_with_counts_and_layouts():
    found = expand(training(), CATALOG, FLEET)
    assert {option.chosen[0].accelerator for option in found.options} >= {"h200", "h20-96", "h100"}
    for option in found.options:
        parts = {key: int(value) for key, value in layout_parts(option.layout).items() if key in ("tp", "pp", "dp")}
        assert math.prod(parts.values()) == option.chosen[0].count
        assert option.rate.low < option.rate.value < option.rate.high


def test_more_devices_of_a_proposal_are_always_faster():
    found = expand(training(), CATALOG, FLEET)
    for name in FLEET:
        by_count = sorted((o.chosen[0].count, o.rate.value) for o in found.options if o.chosen[0].accelerator == name)
        assert [rate for _, rate in by_count] == sorted(rate for _, rate in by_count)


def test_a_model_too_large_for_few_devices_is_proposed_on_many():
    counts = useful_counts(training("deepseek-v3", 8192).work, chip("h20-96"), CATALOG, most=1024, min_efficiency=0.5)
    assert counts
    assert counts[0] >= 64


def test_h200_trains_less_than_six_times_as_fast_as_h20():
    fast, slow = (rates(training(), name, 8)[0] for name in ("h200", "h20-96"))
    assert 3.0 < fast.value / slow.value < 6.7


def test_what_one_step_and_one_token_take_agree():
    per_token = rates(training(), "h100", 16)[0]
    per_step = rates(training(work="steps: 1000"), "h100", 16)[0]
    assert per_step.value * 1024 * 8192 == pytest.approx(per_token.value)


def test_the_users_own_measurement_on_the_same_devices_is_taken_as_it_is():
    job = training()
    job = structs.replace(
        job, work=structs.replace(job.work, measured=(Measured(accelerator="h200", count=8, rate=5e4),))
    )
    rate = rates(job, "h200", 8)[0]
    assert (rate.value, rate.provenance) == (5e4, Provenance.MEASURED)


def test_a_measurement_elsewhere_is_carried_over_by_the_models_ratio():
    plain = training()
    here, there = rates(plain, "h20-96", 16)[0], rates(plain, "h200", 8)[0]
    half = Measured(accelerator="h200", count=8, rate=there.value / 2)
    job = structs.replace(plain, work=structs.replace(plain.work, measured=(half,)))
    rate = rates(job, "h20-96", 16)[0]
    assert rate.value == pytest.approx(here.value / 2)
    assert rate.high / rate.low < here.high / here.low


def test_what_an_operator_measured_of_the_cell_corrects_the_model():
    job = training()
    plain, layout = rates(job, "h100", 8)[0], Speeds(job, chip("h100"), (8,), CATALOG).layout(8)
    cell = Cell(family="llama-3.1-8b", accelerator="h100", layout=layout, metric=Metric.TOKENS)
    known = CellRate(
        cell=cell, value=0.8, low=0.75, high=0.85, runs=4, relative=True, provenance=Provenance.MEASURED, source="ours"
    )
    rate = rates(job, "h100", 8, catalog=structs.replace(CATALOG, rates=(known,)))[0]
    assert rate.value == pytest.approx(0.8 * plain.value)
    assert rate.provenance is Provenance.MEASURED


def test_without_fits_the_class_table_tells():
    job = training()
    assert rates(job, "h200", 8, catalog=BARE) == [rate_of(job.work, chip("h200"), 8, BARE)]
    assert expand(job, BARE, FLEET).options


def test_a_chip_whose_figures_are_not_published_is_still_known_by_its_class():
    rate = rates(training(), "kunlun-p800", 8)[0]
    assert rate is not None
    assert rate.provenance is Provenance.MODELLED


def test_a_standard_job_is_not_proposed_what_may_be_off_by_more_than_two():
    standard, bold = (expand(training(**{"class": c}), CATALOG, FLEET) for c in ("standard", "opportunistic"))
    refused = {chosen.accelerator for chosen, reason in standard.excluded if reason.code is ReasonCode.UNCERTAIN_RATE}
    assert "ascend-910c" in refused
    assert "ascend-910c" in {option.chosen[0].accelerator for option in bold.options}
    assert "h200" in {option.chosen[0].accelerator for option in standard.options}


def test_a_service_by_its_models_name_gets_replicas_that_carry_its_load_for_certain():
    found = expand(serving(requests=3), CATALOG, {"h200"}).options
    assert found
    enough = max(found, key=lambda option: option.chosen[0].count)
    assert enough.rate.low >= 3
    fewer = [option for option in found if option.chosen[0].count < enough.chosen[0].count]
    assert all(option.rate.low < 3 for option in fewer)


def test_a_service_whose_objectives_nothing_can_keep_is_told_so():
    found = expand(
        serving(objectives="{ttft_ms_p99: 1, tpot_ms_p99: 0.1}", **{"class": "opportunistic"}), CATALOG, FLEET
    )
    assert not found.options
    assert {reason.code for _, reason in found.excluded} == {ReasonCode.OBJECTIVES_MISSED}


def test_a_looser_objective_never_serves_less():
    strict, loose = (
        rates(serving(objectives=aims), "h200", 4)[0].value
        for aims in ("{ttft_ms_p99: 4000, tpot_ms_p99: 30}", "{ttft_ms_p99: 4000, tpot_ms_p99: 90}")
    )
    assert strict <= loose


@given(st.sampled_from(sorted(FLEET)), st.sampled_from([8, 16, 32, 64]), st.sampled_from([64, 256, 1024]))
def test_the_same_question_has_the_same_answer(name, count, batch):
    job = training(batch=batch)
    assert rates(job, name, count) == rates(training(batch=batch), name, count)


def test_services_and_deadlines_count_on_the_lower_end_and_opportunistic_jobs_hope_for_the_upper():
    (late,) = parse_jobs(DEADLINE, "job.yaml", CATALOG)
    for job, end in (
        (serving(), "low"),
        (late, "low"),
        (training(**{"class": "opportunistic"}), "high"),
        (training(), "value"),
    ):
        for option in expand(job, CATALOG, {"h200", "h20-96"}).options:
            assert option.rate.provenance is Provenance.MODELLED
            assert option.weighed == pytest.approx(getattr(option.rate, end), rel=1e-9)


def test_a_chip_that_was_seen_is_no_longer_explored():
    bold = training(**{"class": "opportunistic"})
    seen = {"h200": Correction(mean=-0.2, scale=0.02, attempts=3)}
    option = expand(bold, CATALOG, {"h200"}, seen).options[0]
    assert option.weighed == option.rate.value
