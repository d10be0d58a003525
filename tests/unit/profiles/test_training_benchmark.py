"""The program that scores the training model: what it reads, what it refuses, what it prints."""

import csv
import io
import json

import pytest

from benchmarks import training_model
from benchmarks._scores import binomial_interval, scores
from benchmarks._training_rows import COLUMNS, accelerator_called, read_training
from scheduler.config import load_catalog
from scheduler.config.profiles import load_fit
from scheduler.errors import ConfigError
from scheduler.profiles.layouts import Precision, Recompute
from scheduler.profiles.training import TERMS
from scheduler.profiles.training_rates import TrainingCoefficients

SOURCE = "github:owner/trainer table; FULL_SHARD FSDP, act_ckpt={}, micro={}, accum={}"
SIZES = {"MPT-125m": 0.125, "MPT-760m": 0.76, "MPT-3b": 2.65, "MPT-7b": 6.66}
PEAKS = {"H100-80G": 989e12, "A100-80G": 312e12, "A100-40G": 312e12}


def row(**given):
    found = dict.fromkeys(COLUMNS, "")
    found |= {
        "kind": "train",
        "model": "MPT-7b",
        "params_b": "6.66",
        "device": "H100-80G",
        "n_devices": "8",
        "tp": "1",
        "pp": "1",
        "dp": "8",
        "precision": "bf16",
        "batch": "64",
        "seq_in": "2048",
        "metric": "tokens_per_s_per_device",
        "value": "9000",
        "unit": "tokens/s/device",
        "source": SOURCE.format(True, 4, 2),
    }
    return found | given


@pytest.fixture
def written(tmp_path):
    def write(*rows, columns=COLUMNS, name="rows.csv"):
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        (tmp_path / name).write_text(text.getvalue())
        return tmp_path / name

    return write


def table():
    """Every device and model at a constant share of the peak, a little less on long sequences."""
    for device, peak in PEAKS.items():
        for model, size in SIZES.items():
            for seq, n in ((512, 8), (2048, 8), (4096, 8), (2048, 64), (2048, 128)):
                rate = 0.5 * peak / (6 * size * 1e9) * (1 - seq / 40_000) * (0.99 if n > 64 else 1.0)
                yield row(
                    model=model,
                    params_b=str(size),
                    device=device,
                    n_devices=str(n),
                    dp=str(n),
                    batch=str(8 * n),
                    seq_in=str(seq),
                    value=f"{rate:.0f}",
                )


def test_a_row_is_read_with_the_layout_that_its_columns_and_source_tell(written):
    (found,), left_out = read_training(written(row()))
    assert not left_out
    assert (found.transformer.name, found.accelerator.name, found.engine) == ("mpt-7b", "h100", "owner/trainer")
    assert (found.layout.data, found.layout.zero, found.layout.recompute) == (8, 3, Recompute.FULL)
    assert found.layout.micro_batch == 4
    assert found.step_s == pytest.approx(64 * 2048 / (9000 * 8))


def test_splits_versions_and_precision_are_read_from_the_text(written):
    source = "github:owner/bridge docs NeMo 25.09 EP64 dropless, CP=2, VP4"  # the data axis counts the context axis
    given = row(
        model="DeepSeek-V3", n_devices="1024", tp="2", pp="8", dp="64", precision="fp8", batch="512", value="900"
    )
    (found,), _ = read_training(written(given | {"source": source, "seq_in": "4096"}))
    layout = found.layout
    assert (layout.tensor, layout.pipeline, layout.data, layout.context, layout.zero) == (2, 8, 32, 2, 1)
    assert (layout.expert, layout.virtual_stages) == (64, 4)
    assert found.engine == "owner/bridge 25.09"
    assert found.precision is Precision.FP8


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"source": "RECALLED from a talk"}, "recalled, derived or second-hand"),
        ({"source": "DERIVED from other rows"}, "recalled, derived or second-hand"),
        ({"metric": "mfu", "unit": "percent"}, "other metric than time or tokens"),
        ({"device": "Unheard-1"}, "device that the catalog does not have"),
        ({"model": "LLaMA3-70B-LoRA"}, "trains adapters only"),
        ({"model": "", "params_b": ""}, "model without name or size"),
        ({"dp": "4"}, "layout that does not divide devices, model or batch"),
        ({"batch": "65"}, "layout that does not divide devices, model or batch"),
        ({"tp": "64", "dp": "1", "n_devices": "64"}, "layout that does not divide devices, model or batch"),
    ],
)
def test_rows_that_cannot_be_fitted_are_left_out_and_counted(written, given, reason):
    found, left_out = read_training(written(row(), row(**given)))
    assert len(found) == 1
    assert left_out == {reason: 1}


def test_a_layout_that_does_not_divide_is_told_with_its_place(written, capsys):
    path = written(row(), row(dp="4"))
    read_training(path)
    assert f"{path}:3: left out: data 4" in capsys.readouterr().err


def test_rows_of_serving_are_passed_over(written):
    assert read_training(written(row(kind="infer", unit="anything"))) == ([], {})


def test_a_row_without_layout_is_kept_without_one(written):
    (found,), _ = read_training(written(row(tp="", pp="", dp="", batch="", n_devices="", seq_in="")))
    assert found.layout is None
    assert (found.devices, found.seq_len, found.global_batch) == (8, 4096, 32)


def test_an_unknown_model_is_made_up_from_its_size(written):
    (found,), _ = read_training(written(row(model="Somebody-9b", params_b="9")))
    assert found.transformer.layers > 0


def test_other_metrics_of_time_and_totals_come_to_the_same_rate(written):
    step = 64 * 2048 / (9000 * 8)
    path = written(
        row(),
        row(metric="tokens_per_s_total", unit="tokens/s", value="72000"),
        row(metric="iteration_time_full_recompute", unit="s", value=str(step)),
    )
    assert [r.rate for r in read_training(path)[0]] == pytest.approx([9000.0] * 3)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"unit": "tokens/s"}, ":3: unit: .*not in `tokens/s`"),
        ({"value": "many"}, ":3: value: `many` is no number"),
        ({"value": "0"}, ":3: value: must be above 0"),
        ({"value": "-5"}, ":3: value: .*at least 0"),
        ({"value": "9000000"}, ":3: value: .*more than h100 can compute"),
    ],
)
def test_what_cannot_be_is_refused_with_its_file_line_and_column(written, given, problem):
    with pytest.raises(ConfigError) as refused:
        read_training(written(row(), row(**given)))
    assert str(refused.value).startswith(str(written(row(), row(**given))))
    refused.match(problem)


def test_a_file_without_the_columns_is_refused(written):
    with pytest.raises(ConfigError, match=r"rows.csv:1: columns missing: seq_in"):
        read_training(written(row(), columns=[c for c in COLUMNS if c != "seq_in"]))


def test_devices_go_by_their_memory_where_the_catalog_tells_them_apart_and_else_by_their_name():
    catalog = load_catalog()
    named = {
        label: accelerator_called(catalog, label).name
        for label in ("H100-80G", "H100-96G", "A100-40G", "A100-80G", "H20-96G", "Ascend-910C", "Ascend-910B")
    }
    assert named == {
        "H100-80G": "h100",
        "H100-96G": "h100",
        "A100-40G": "a100-40",
        "A100-80G": "a100",
        "H20-96G": "h20-96",
        "Ascend-910C": "ascend-910c",
        "Ascend-910B": "ascend-910b2",
    }
    assert accelerator_called(catalog, "Unheard-1") is None


@pytest.fixture
def printed(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr("sys.argv", ["training_model.py", *map(str, words), "-o", "json"])
        training_model.main()
        found = json.loads(capsys.readouterr().out)
        assert {"schema", "command", "machine", "versions", "results", "left_out"} <= set(found)
        return found["results"]

    return call


@pytest.mark.parametrize("protocol", ["in-sample", "leave-model-out", "leave-device-out", "scale"])
def test_each_protocol_scores_every_device_beside_the_baselines(printed, written, protocol):
    results = printed("--measurements", written(*table()), "--protocol", protocol)
    by_device = {r["device"]: r for r in results if r["engine"] == "owner/trainer"}
    assert set(PEAKS) <= set(by_device)
    everything = results[-1]
    assert (everything["device"], everything["engine"]) == ("all", "all")
    assert everything["n"] == {"scale": 12}.get(protocol, 60)
    assert protocol == "leave-device-out" or everything["mape_percent"] < 15
    assert {"p90_error_percent", "coverage_90_percent", "coverage_interval_percent"} <= set(everything)
    assert {f"baseline_{b}_mape_percent" for b in ("six_per_token", "constant_mfu", "constant_hfu")} <= set(everything)


def test_observations_of_a_device_are_counted_once_however_often_they_are_drawn(printed, written):
    some = [r for r in table() if r["n_devices"] == "8"]
    words = ("--measurements", written(*some), "--protocol", "leave-device-out")
    results = printed(*words, "--observations", 3, "--draws", 4)
    assert results[-1]["observations"] == 3
    assert results[-1]["n"] == len(some)
    assert results[-1]["predictions"] == 4 * (len(some) - 9)
    blind = printed(*words)
    assert results[-1]["mape_percent"] < blind[-1]["mape_percent"]


def test_one_file_is_fitted_and_another_scored(printed, written):
    rows = list(table())
    fit, other = (
        written(*rows, name="fit.csv"),
        written(row(model="MPT-1b", params_b="1.3", value="60000"), name="o.csv"),
    )
    results = printed("--measurements", fit, "--score", other)
    assert results[-1]["n"] == 1
    assert results[-1]["protocol"] == "score"


def test_memory_counts_what_is_accepted(printed, written):
    results = printed("--measurements", written(row(), row(device="A100-40G", value="3000")), "--protocol", "memory")
    assert {r["device"]: r["accepted_percent"] for r in results} == {"A100-40G": 100, "H100-80G": 100, "all": 100}


def test_the_floor_is_what_lies_off_a_smooth_line_over_devices(printed, written):
    def series(values, device):
        counts = (8, 16, 32, 64)[: len(values)]
        return [
            row(n_devices=str(n), dp=str(n), batch=str(8 * n), value=str(value), device=device)
            for n, value in zip(counts, values, strict=True)
        ]

    smooth = series([9000, 8910, 8820.9, 8732.691], "H100-80G")  # each doubling costs one in a hundred
    rough = series([3700, 3700, 4070, 3700], "A100-80G")
    results = printed("--measurements", written(*smooth, *rough, row(seq_in="4096")), "--protocol", "floor")
    by_device = {r["device"]: (r["floor_percent"], r["n"]) for r in results}
    assert by_device["H100-80G"] == (0.0, 4)
    assert by_device["A100-80G"][0] > 2
    assert by_device["all"][1] == 8


def test_coefficients_are_written_as_a_file_that_reads_back(printed, written, tmp_path):
    target = tmp_path / "training.yaml"
    assert printed("--measurements", written(*table()), "--write", target) == []
    found = load_fit(target, "training", TrainingCoefficients)
    assert found.terms == TERMS
    assert {name: fit.n for name, fit in found.devices.items()} == {"a100": 20, "a100-40": 20, "h100": 20}
    assert set(found.vendors) == {"nvidia"}
    assert set(found.families) == {"a100", "h100"}
    assert "60 rows" in found.source


def test_black_boxes_are_scored_in_sample_and_on_more_replicas(printed, tmp_path):
    lines = ["application,cluster,placement,local_bsz,step_time,sync_time"]
    for placement in ("1", "2", "3", "4", "22", "44"):
        replicas = sum(map(int, placement))
        for batch in (2, 4, 8, 16):
            step = 0.1 + 0.01 * batch + (replicas > 1) * (0.02 + 0.002 * (replicas - 2))
            lines.append(f"net,rig,{placement},{batch},{step},0.0")
    path = tmp_path / "profile.csv"
    path.write_text("\n".join(lines))
    inside, more = printed("--profiles", path)
    assert (inside["n"], more["n"]) == (24, 12)
    assert inside["mape_percent"] < 3
    assert more["mape_percent"] < 10


def test_bad_input_ends_with_its_place_and_no_traceback(monkeypatch, capsys, written):
    path = written(row(unit="tokens/s"))
    monkeypatch.setattr("sys.argv", ["training_model.py", "--measurements", str(path)])
    with pytest.raises(SystemExit) as ended:
        training_model.main()
    assert ended.value.code == 2
    assert f"{path}:2: unit" in capsys.readouterr().err


def test_scores_are_those_worked_out_by_hand():
    found = scores([100, 100, 100, 100], [110, 90, 100, 140], [90, 95, 90, 90], [120, 120, 120, 130])
    assert found["mape_percent"] == pytest.approx(15)
    assert found["coverage_90_percent"] == 100
    assert found["n"] == found["predictions"] == 4
    again = scores([100] * 4, [100] * 4, [90, 110, 90, 90], [120] * 4, which=[7, 7, 8, 8])
    assert (again["n"], again["coverage_90_percent"]) == (2, 75)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (9, 10, 0.5550, 0.9975), (90, 100, 0.8238, 0.9510)],
)
def test_binomial_intervals_are_those_of_the_tables(hits, n, low, high):
    assert binomial_interval(hits, n) == pytest.approx((low, high), abs=5e-5)
