"""Runs move beliefs as they should: robust to warm-up and stragglers, honest about few, alarmed by drift."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from scipy import stats

from scheduler.config import load_catalog
from scheduler.model.accelerators import Provenance, WorkClass
from scheduler.model.rates import Cell, Metric, Stack
from scheduler.profiles.calibration import (
    Belief,
    Run,
    believed,
    careful,
    combined,
    hopeful,
    run_of,
    sampled,
    updated,
    widened,
    window_rates,
)
from scheduler.profiles.declared import declared_alarms
from scheduler.profiles.drift import Drift, Shift, ratio_alarm
from scheduler.profiles.store import Known, Store, store_of
from scheduler.profiles.table import Rate

CATALOG = load_catalog()
OLD, NEW = Stack(framework="vllm 0.10", runtime="cuda 12.4"), Stack(framework="vllm 0.11", runtime="cuda 12.8")
CELL = Cell(family="llama-3.1-8b", accelerator="h200", layout="tp=4", stack=OLD, metric=Metric.TOKENS)
PREDICTED = Rate(100.0, 60.0, 160.0, Provenance.MODELLED)


def runs(values):
    return [Run(math.log(value), 0.0) for value in values]


def observed(store, values, cell=CELL, predicted=None):
    shifts = []
    for run in runs(values):
        seen = store.observe(cell, run, predicted)
        store = seen.store
        shifts.append(seen.shift)
    return store, shifts


def test_the_first_steps_compile_and_do_not_count():
    at = np.array([0, 100, 130, 140, *np.arange(141, 171)], dtype=float)
    done = np.arange(len(at), dtype=float)
    assert window_rates(at, done, warm_up=3, window=5) == pytest.approx(np.ones(6))


def test_a_straggling_window_moves_a_run_little():
    rates = np.array([10.0, 10.1, 9.9, 10.0, 10.2, 9.8, 10.0, 1.0])
    found = run_of(rates)
    assert math.exp(found.log_rate) == pytest.approx(10.0, rel=0.02)


def test_a_run_without_progress_tells_nothing():
    assert run_of(window_rates(np.arange(9.0), np.zeros(9))) is None


def test_a_short_run_is_one_window():
    assert window_rates(np.arange(6.0), 3 * np.arange(6.0)) == pytest.approx([3.0])


def test_reports_without_their_times_are_refused():
    with pytest.raises(ValueError, match="amounts"):
        window_rates(np.arange(4.0), np.arange(3.0))


@given(st.lists(st.floats(0.9, 1.1), min_size=1, max_size=40), st.integers(0, 5), st.integers(1, 9))
def test_windows_lie_within_what_was_reported(rates, warm_up, window):
    at = np.concatenate([[0.0], np.cumsum(1 / np.array(rates))])
    found = window_rates(at, np.arange(len(at), dtype=float), warm_up=warm_up, window=window)
    assert len(found) == 0 or (min(rates) - 1e-9 <= found.min() and found.max() <= max(rates) + 1e-9)


def test_a_run_moves_a_belief_as_normal_conjugacy_has_it():
    after = updated(Belief(0.0, 0.3, 0.1), Run(0.2, 0.0))
    precision = 1 / 0.3**2 + 1 / 0.1**2
    assert after.mean == pytest.approx(0.2 / 0.1**2 / precision)
    assert after.sd == pytest.approx(precision**-0.5)
    assert after.runs == 1


def test_a_wild_run_counts_like_one_three_sigma_off():
    belief = Belief(0.0, 0.1, 0.1)
    assert updated(belief, Run(50.0, 0.0)).mean == pytest.approx(
        updated(belief, Run(3 * math.hypot(0.1, 0.1), 0.0)).mean
    )


def test_the_noise_between_runs_is_learnt():
    rng, belief = np.random.default_rng(5), Belief(0.0, 0.5)
    for value in rng.normal(0, 0.2, 300):
        belief = updated(belief, Run(float(value), 0.0))
    assert belief.noise == pytest.approx(0.2, rel=0.15)


def test_ninety_per_cent_of_next_runs_lie_in_the_band():
    rng, held = np.random.default_rng(9), 0
    for _ in range(400):
        truth, belief = rng.normal(0, 0.3), Belief(0.0, 0.3, 0.1)
        for value in rng.normal(truth, 0.1, 3):
            belief = updated(belief, Run(float(value), 0.0))
        rate = belief.rate()
        held += rate.low <= math.exp(rng.normal(truth, 0.1)) <= rate.high
    low, high = stats.binom.interval(0.99, 400, 0.9)
    assert low <= held <= high


@given(st.floats(0.01, 1e6), st.floats(0.3, 1.0), st.floats(1.0, 3.0))
def test_a_belief_keeps_the_band_that_it_was_given(value, below, above):
    rate = believed(value, value * below, value * above, noise=0.01).rate()
    assert math.log(rate.high / rate.low) == pytest.approx(max(math.log(above / below), 2 * 1.645 * 0.01), rel=1e-2)


@pytest.mark.parametrize("band", [(0.0, 1.0, 2.0), (2.0, 1.0, 3.0), (1.0, 1.0, math.inf), (3.0, 2.0, 1.0)])
def test_a_band_that_is_none_is_refused(band):
    with pytest.raises(ValueError, match="is none"):
        believed(band[1], band[0], band[2])


def test_beliefs_on_different_grounds_join_by_their_precision():
    both = combined([Belief(0.0, 0.1), Belief(1.0, 0.1)])
    assert (both.mean, both.sd) == pytest.approx((0.5, 0.1 / math.sqrt(2)))


def test_services_count_on_the_lower_end_and_exploration_on_the_upper():
    assert careful(PREDICTED) < PREDICTED.value < hopeful(PREDICTED)


def test_a_planner_draws_rates_that_fall_within_their_bands_nine_times_in_ten():
    drawn = sampled([PREDICTED, Rate(1.0, 0.9, 3.0, Provenance.MODELLED)], 4000, np.random.default_rng(1))
    assert ((drawn[:, 0] > 60) & (drawn[:, 0] < 160)).mean() == pytest.approx(0.9, abs=0.02)
    assert (drawn[:, 1] > 3).mean() == pytest.approx(0.05, abs=0.01)
    assert np.array_equal(
        drawn, sampled([PREDICTED, Rate(1.0, 0.9, 3.0, Provenance.MODELLED)], 4000, np.random.default_rng(1))
    )


def test_a_declared_six_measured_at_four_raises_an_alarm():
    declared = Rate(6.0, 5.0, 7.0, Provenance.MODELLED)
    here, there = Belief(math.log(4.0), 0.03, 0.05, 5), Belief(0.0, 0.03, 0.05, 5)
    found = ratio_alarm(declared, here, there)
    assert found.measured == pytest.approx(4.0) and found.low < 4.0 < found.high < 5.0


def measured(accelerator, values, metric=Metric.STEPS, **changes):
    cell = Cell(family="net@x8", accelerator=accelerator, metric=metric, stack=OLD, **changes)
    return observed(Store(), values, cell)[0].known[cell]


def test_a_job_measured_on_two_chips_contradicts_what_the_catalog_declares():
    stack = {"precision": "bf16"}
    slow, fast = measured("h20-96", [1.0] * 6, **stack), measured("h200", [2.0] * 6, **stack)
    (alarm,) = declared_alarms([fast, slow], CATALOG)
    assert {alarm.here, alarm.there} == {"h200", "h20-96"}
    wanted = 2.0 if alarm.here == "h200" else 0.5
    assert alarm.ratio.measured == pytest.approx(wanted, rel=0.02)
    assert alarm.ratio.declared > 3 or alarm.ratio.declared < 1 / 3


@pytest.mark.parametrize("metric", [Metric.STEPS, Metric.STEP_TIME])
def test_a_ratio_that_is_as_declared_raises_no_alarm_by_rate_or_by_time(metric):
    declared = CATALOG.get("h200").rates[WorkClass.DENSE_TRAINING].value
    factor = 1 / declared if metric.is_time else declared
    entries = [measured("h20-96", [1.0] * 6, metric), measured("h200", [factor] * 6, metric)]
    assert list(declared_alarms(entries, CATALOG)) == []


def test_other_jobs_other_precisions_and_figures_relative_to_models_are_not_compared():
    entries = [measured("h20-96", [1.0] * 6), measured("h200", [2.0] * 6, precision="fp8")]
    relative = [structs.replace(e, relative=True) for e in (measured("h20-96", [1.0] * 6), measured("h200", [2.0] * 6))]
    assert list(declared_alarms(entries, CATALOG)) == []
    assert list(declared_alarms(relative, CATALOG)) == []


@pytest.mark.parametrize(
    ("mean", "sd", "seen"), [(math.log(5.9), 0.03, 5), (math.log(4.0), 0.5, 5), (math.log(4.0), 0.03, 0)]
)
def test_no_alarm_while_the_ratio_may_hold_or_nothing_is_measured(mean, sd, seen):
    declared = Rate(6.0, 5.0, 7.0, Provenance.MODELLED)
    assert ratio_alarm(declared, Belief(mean, sd, 0.05, seen), Belief(0.0, 0.03, 0.05, 5)) is None


def test_a_node_that_slows_down_is_noticed_and_one_bad_run_is_not():
    drift = Drift()
    for off in (0.2, -0.4, -9.0, 0.1, 0.3):
        drift = drift.after(off)
    assert drift.shift is Shift.NONE
    for _ in range(6):
        drift = drift.after(-1.5)
    assert drift.shift is Shift.SLOWER


def test_false_alarms_are_rare():
    rng, alarms = np.random.default_rng(2), 0
    for _ in range(100):
        drift = Drift()
        for off in rng.standard_normal(50):
            drift = drift.after(float(off))
            alarms += drift.shift is not Shift.NONE
            drift = Drift() if drift.shift is not Shift.NONE else drift
    assert alarms <= 22  # 5,000 runs, one alarm in 465 expected: 10.8, and three standard deviations


def test_the_first_run_of_a_stranger_is_what_is_known_of_it():
    store, _ = observed(Store(), [50.0])
    assert store.rate(CELL).value == pytest.approx(50.0)
    assert store.rate(CELL).provenance is Provenance.MEASURED


def test_without_a_run_the_prediction_stands():
    assert Store().rate(CELL, PREDICTED) == PREDICTED
    assert Store().rate(CELL) is None


def test_runs_correct_the_prediction_also_at_another_size():
    store, _ = observed(Store(), [80.0] * 6, predicted=PREDICTED)
    larger = Rate(1000.0, 600.0, 1600.0, Provenance.MODELLED)
    found = store.rate(CELL, larger)
    assert found.value == pytest.approx(800.0, rel=0.02)
    assert found.high / found.low < larger.high / larger.low / 1.5


def test_another_stack_takes_the_old_cell_for_a_wider_prior_and_counts_anew():
    store, _ = observed(Store(), [80.0] * 8, predicted=PREDICTED)
    other = structs.replace(CELL, stack=Stack(framework="sglang 0.5"))
    old, new = store.rate(CELL, PREDICTED), store.rate(other, PREDICTED)
    assert new.provenance is Provenance.DERIVED
    assert new.high / new.low > 2 * old.high / old.low / 1.5
    assert 80 < new.value < 100
    store, _ = observed(store, [120.0], other, PREDICTED)
    assert (store.known[other].version, store.known[other].belief.runs) == (2, 1)
    assert store.known[CELL].version == 1


def test_another_layout_is_corrected_in_part():
    store, _ = observed(Store(), [80.0] * 8, predicted=PREDICTED)
    other = structs.replace(CELL, layout="tp=2")
    assert 80 < store.rate(other, PREDICTED).value < 100


def test_another_chip_is_corrected_in_part_and_less_than_another_version():
    store, _ = observed(Store(), [80.0] * 8, predicted=PREDICTED)
    chip = structs.replace(CELL, accelerator="h20-96")
    version = structs.replace(CELL, stack=NEW)
    assert 80 < store.rate(version, PREDICTED).value <= store.rate(chip, PREDICTED).value < 100


@pytest.mark.parametrize("changes", [{"family": "qwen3-8b"}, {"precision": "fp8"}, {"metric": Metric.TPOT}], ids=str)
def test_another_job_precision_or_metric_learns_nothing(changes):
    store, _ = observed(Store(), [80.0] * 8, predicted=PREDICTED)
    assert store.rate(structs.replace(CELL, **changes), PREDICTED) == PREDICTED


def test_the_more_differs_the_less_is_learnt():
    store, _ = observed(Store(), [60.0] * 8, predicted=PREDICTED)
    engine, layout = Stack(framework="sglang 0.5"), "tp=8"
    steps = [
        {},
        {"stack": Stack()},
        {"stack": NEW},
        {"stack": NEW, "layout": layout},
        {"stack": engine, "layout": layout},
    ]
    steps.append({"stack": engine, "layout": layout, "accelerator": "h20-96"})
    values = [store.rate(structs.replace(CELL, **changes), PREDICTED).value for changes in steps]
    assert values == sorted(values)
    assert values[0] < 65 and values[-1] > 85


def test_a_job_that_does_not_state_its_software_is_taken_to_run_what_was_measured():
    store, _ = observed(Store(), [80.0] * 8, predicted=PREDICTED)
    found = store.rate(structs.replace(CELL, stack=Stack(image="reg/serve:1")), PREDICTED)
    assert found.value == pytest.approx(80.0, rel=0.05)
    assert found.high / found.low > store.rate(CELL, PREDICTED).high / store.rate(CELL, PREDICTED).low


def test_copies_and_micro_batches_make_no_other_cell_but_a_spread_does():
    store, _ = observed(Store(), [80.0] * 4, structs.replace(CELL, layout="tp=2,dp=4,mb=8"), PREDICTED)
    assert [entry.cell.layout for entry in store] == ["tp=2"]
    same = store.rate(structs.replace(CELL, layout="tp=2,dp=64,mb=1"), PREDICTED)
    assert same == store.rate(structs.replace(CELL, layout="tp=2"), PREDICTED)
    spread, _ = observed(store, [80.0], structs.replace(CELL, layout="spread:44"), PREDICTED)
    assert len(spread) == 2


def test_a_prediction_of_nothing_stays_and_teaches_nothing():
    nothing = Rate(0.0, 0.0, 0.0, Provenance.MODELLED)
    store, _ = observed(Store(), [80.0] * 3, predicted=PREDICTED)
    assert store.rate(CELL, nothing) == nothing
    first, _ = observed(Store(), [80.0], predicted=nothing)
    assert first.rate(CELL).value == pytest.approx(80.0)


def test_what_operators_measured_is_no_part_of_what_running_jobs_have_shown():
    """Else a running job would be compared with the bare model, and its rate corrected twice."""
    store, _ = observed(Store(), [80.0] * 6, predicted=PREDICTED)
    assert store.rate(CELL, PREDICTED).learned == PREDICTED.learned == 1.0


def test_a_cell_that_slows_down_raises_an_alarm_and_follows():
    store, shifts = observed(Store(), [100.0] * 10 + [66.0] * 6)
    assert shifts[:10] == [Shift.NONE] * 10
    assert Shift.SLOWER in shifts[10:]
    assert store.rate(CELL).value == pytest.approx(66.0, rel=0.05)
    assert store.known[CELL].version == 2


def test_a_time_that_grows_is_a_cell_that_slows_down():
    slower = structs.replace(CELL, metric=Metric.TPOT)
    _, shifts = observed(Store(), [10.0] * 10 + [15.0] * 6, slower)
    assert Shift.SLOWER in shifts and Shift.FASTER not in shifts


def test_a_cell_known_relative_to_predictions_needs_one():
    store, _ = observed(Store(), [80.0], predicted=PREDICTED)
    with pytest.raises(ValueError, match="relative to a prediction"):
        store.observe(CELL, Run(0.0, 0.0))
    assert store.rate(CELL) is None


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=12), st.booleans())
@settings(max_examples=50)
def test_a_store_written_down_and_read_again_is_the_same(values, relative):
    store, _ = observed(Store(), [100 * v for v in values], predicted=PREDICTED if relative else None)
    again = store_of(entry.as_file() for entry in store)
    one, two = store.rate(CELL, PREDICTED), again.rate(CELL, PREDICTED)
    assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high), rel=1e-3)
    assert again.known[CELL].belief.runs == store.known[CELL].belief.runs


def test_cells_are_listed_in_order():
    names = ["b", "a", "c"]
    entries = [Known(cell=Cell(family=name, accelerator="h200"), belief=Belief(0.0, 0.1)) for name in names]
    store = Store().with_entries(entries)
    assert [entry.cell.family for entry in store] == ["a", "b", "c"]
    assert len(store) == 3


@given(st.floats(0.05, 1.0), st.floats(0.0, 1.0))
def test_a_wider_belief_keeps_its_mean_and_its_runs_do_not_count(sd, shift):
    wider = widened(Belief(0.7, sd, runs=9), shift)
    assert wider.sd >= sd and (wider.mean, wider.runs) == (0.7, 0)
