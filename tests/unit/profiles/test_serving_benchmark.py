"""The program that scores the serving model: what it reads of both forms, what it refuses, what it prints."""

import csv
import gzip
import itertools
import json
import math

import numpy as np
import pytest

from benchmarks import serving_model
from benchmarks._serving_rows import PUBLISHED, SILICON, points_of, read_points, transformer_called
from scheduler.config import load_fit, load_models
from scheduler.errors import ConfigError
from scheduler.profiles.serving_fit import tpot_s, ttft_s
from scheduler.profiles.serving_model import ServingModel
from scheduler.profiles.work import active_parameters, parameters
from tests.unit.profiles.serving_cases import demand, replica
from tests.unit.profiles.test_serving_fit import truth

HUGGING = {
    "llama-3.1-70b": "meta-llama/Llama-3.1-70B",
    "qwen3-32b": "Qwen/Qwen3-32B",
    "qwen3-30b-a3b": "Qwen/Qwen3-30B-A3B",
}


def silicon(**given):
    found = dict.fromkeys((*SILICON, "silicon_data_source"), "")
    found |= {
        "backend": "vllm", "backend_version": "0.18.0", "model_path": "Qwen/Qwen3-32B", "system": "h200_sxm",
        "mode": "agg", "isl": "1024", "osl": "512", "gemm_quant_mode": "fp8", "moe_quant_mode": "fp8",
        "batch_size": "8", "tp_size": "2", "pp_size": "1", "attention_dp_size": "1", "moe_tp_size": "2",
        "moe_ep_size": "1", "silicon_ttft_ms": "150", "silicon_tpot_ms": "12",
    }  # fmt: skip
    return found | {key: str(value) for key, value in given.items()}


def published(**given):
    found = dict.fromkeys(PUBLISHED, "")
    found |= {
        "kind": "infer", "model": "Qwen3-32B", "params_b": "32.8", "device": "H100-80G", "n_devices": "2", "tp": "2",
        "dp": "1", "precision": "fp8", "batch": "8", "seq_in": "1024", "seq_out": "512", "metric": "median_tpot",
        "value": "14", "unit": "ms", "source": "github:owner/inference table, vLLM",
    }  # fmt: skip
    return found | {key: str(value) for key, value in given.items()}


def written(path, *rows):
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(tmp_path, *rows):
    return read_points([written(tmp_path / "points.csv", *rows)])


def test_both_forms_and_packed_files_are_read_as_points(tmp_path):
    one = written(tmp_path / "a.csv.gz", silicon())
    other = written(tmp_path / "b.csv", published(), published(metric="mean_ttft", value="90"))
    rows, left_out = read_points([one, other])
    assert not left_out
    assert [(row.device, row.model, row.engine) for row in rows] == [
        ("h200", "qwen3-32b", "vllm"), ("h100", "qwen3-32b", "vllm"),
    ]  # fmt: skip
    assert (rows[0].tpot, rows[0].ttft) == (0.012, 0.150)
    assert (rows[1].tpot, rows[1].ttft) == (0.014, 0.090)  # two figures of one setting are one point
    assert len(points_of(rows)) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (silicon(mode="disagg"), "separate prefill and decode, batch of a replica not told"),
        (silicon(batch_size=""), "batch not told"),
        (silicon(tp_size="64"), "split wider than a group of devices can be"),
        (silicon(tp_size="1", attention_dp_size="16"), "split wider than a group of devices can be"),
        (silicon(pp_size="2"), "pipeline parallel"),
        (silicon(model_path="owner/secret-model"), "model of unknown size"),
        (silicon(system="tpu_v9"), "device that the catalog does not have"),
        (silicon(gemm_quant_mode="fp3"), "precision not known"),
        (silicon(tp_size="3"), "split that the model cannot have"),
        (published(kind="train"), "not about serving"),
        (published(batch="saturated"), "batch not told"),
        (published(source="RECALLED"), "recalled, derived or second-hand"),
        (published(source="DERIVED from rows above"), "recalled, derived or second-hand"),
        (published(metric="total_tokens_per_s", unit="tokens/s"), "other metric than times or tokens of a known batch"),
    ],
)  # fmt: skip
def test_rows_that_do_not_tell_what_ran_are_left_out_and_counted(tmp_path, row, reason):
    rows, left_out = read(tmp_path, row)
    assert rows == []
    assert left_out == {reason: 1}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (silicon(silicon_tpot_ms="0.012"), "far below what any device can do"),  # seconds in a column of milliseconds
        (silicon(silicon_ttft_ms="9e9"), "no time that a service takes"),
        (silicon(silicon_tpot_ms="-3"), "silicon_tpot_ms: must be above 0"),
        (silicon(isl="many"), "isl: `many` is not a number"),
        (silicon(osl="nan"), "osl: `nan` is not a number"),
        (silicon(osl="0"), "must be above 0"),
        (published(unit="tokens"), "median_tpot is in ms or s, not in `tokens`"),
        (published(value="-1"), "value: must be above 0"),
    ],
)
def test_figures_that_cannot_be_are_refused_with_file_and_line(tmp_path, row, problem):
    good = silicon() if "backend" in row else published()
    with pytest.raises(ConfigError, match=problem) as raised:
        read(tmp_path, good, row)
    assert (raised.value.file, raised.value.line) == (str(tmp_path / "points.csv"), 3)


def test_missing_columns_are_named(tmp_path):
    row = silicon()
    del row["isl"], row["tp_size"]
    with pytest.raises(ConfigError, match="columns missing: isl, tp_size"):
        read(tmp_path, row)


def test_a_run_that_two_collections_hold_counts_once(tmp_path):
    rows, left_out = read(tmp_path, silicon(), silicon(silicon_data_source="b.csv"), silicon(silicon_tpot_ms="12.5"))
    assert len(rows) == 2
    assert left_out == {"run that is there already": 1}


def test_a_source_that_multiplies_splits_is_left_out_where_experts_are_split(tmp_path):
    mixture = {"model_path": "Qwen/Qwen3-30B-A3B", "silicon_data_source": "odd.csv; x=1"}
    told = [
        silicon(**mixture, tp_size=16, moe_tp_size=4, moe_ep_size=4),
        silicon(**mixture, tp_size=4, moe_tp_size=2, moe_ep_size=2),
        silicon(**mixture, tp_size=4, moe_tp_size=4),
        silicon(**{**mixture, "silicon_data_source": "sound.csv"}, tp_size=4, moe_tp_size=1, moe_ep_size=4),
    ]
    rows, left_out = read(tmp_path, *told)
    assert len(rows) == 2
    assert left_out["source that multiplies the split by the experts' split"] == 1


def test_experts_on_more_devices_than_share_a_layer_mean_requests_of_their_own(tmp_path):
    told = silicon(model_path="Qwen/Qwen3-30B-A3B", tp_size=1, attention_dp_size="", moe_tp_size=1, moe_ep_size=4)
    rows, _ = read(tmp_path, told, told | {"silicon_data_source": "a.csv; silicon_concurrency=8", "isl": "2000"})
    assert [float(row.replica.data) for row in rows] == [4, 4]
    assert [float(row.demand.batch) for row in rows] == [8, 2]  # the second says that eight is all of them


def test_separate_decode_of_a_told_batch_is_a_point_without_prompts_in_between(tmp_path):
    told = silicon(
        mode="disagg", batch_size="", tp_size="", decode_batch_size="24", decode_tp_size="4", decode_moe_ep_size="0"
    )
    (row,), _ = read(tmp_path, told)
    assert (row.demand.batch, row.demand.mixed, float(row.replica.tensor)) == (24, 0.0, 4)
    assert math.isnan(row.ttft)


def test_a_rate_of_a_told_batch_is_a_time_per_token_but_stands_apart(tmp_path):
    told = published(
        model="DeepSeek-R1", device="H20-96G", tp="16", dp="16", batch="32", metric="decode_tokens_per_s_per_device",
        value="675", unit="tokens/s/device", source="github:lm-sys/blog EP16",
    )  # fmt: skip
    (row,), _ = read(tmp_path, told)
    assert row.tpot == pytest.approx(32 / 675)
    assert row.apart
    assert (row.engine, float(row.replica.data), float(row.replica.expert)) == ("sglang", 16, 16)


@pytest.mark.parametrize(
    ("unit", "groups"),
    [
        ("tokens/s/8-GPU node (16 nodes)", 128),
        ("tokens/s/8-GPU node (9 nodes, EP72)", 72),
        ("tokens/s/8-GPU node", None),
    ],
)
def test_experts_lie_on_as_many_devices_as_the_source_tells_and_the_model_must_fit_there(tmp_path, unit, groups):
    told = published(
        model="DeepSeek-R1",
        n_devices="8",
        tp="",
        dp="",
        batch="64",
        metric="decode_tokens_per_s",
        value="9000",
        unit=unit,
    )
    rows, left_out = read(tmp_path, told)
    assert [float(row.replica.data) for row in rows] == ([groups] if groups else [])
    assert left_out["devices that do not hold the model"] == (groups is None)


@pytest.mark.parametrize(("name", "params", "active"), [("owner/New-70B", 70, 70), ("Other-30B-A3B-Instruct", 30, 3)])
def test_a_model_that_the_catalog_lacks_is_completed_from_the_sizes_in_its_name(tmp_path, name, params, active):
    made = transformer_called(load_models(), name, None, None)
    assert parameters(made) == pytest.approx(params * 1e9, rel=0.2)
    assert active_parameters(made) == pytest.approx(active * 1e9, rel=0.35)
    assert read(tmp_path, silicon(model_path=name))[0][0].model == name.rsplit("/", 1)[-1].lower()


def table(tmp_path, name="points.csv", models=tuple(HUGGING), seed=0):
    """A file of points made by known coefficients, cells off by a tenth."""
    rng, rows = np.random.default_rng(seed), []
    for model, chip, engine in itertools.product(models, ("h100", "h200"), ("vllm", "sglang")):
        level = rng.normal(0, 0.1)
        for batch, prompt, tensor in itertools.product((1, 4, 16, 64), (500, 4000), (2,)):
            one, asked = replica(model, chip, "fp8", tensor=tensor), demand(batch, prompt, 500)
            times = tpot_s(one, asked, engine, truth()), ttft_s(one, asked, engine, truth(), queueing=True)
            tpot, ttft = (1000 * float(t[0]) * math.exp(level + rng.normal(0, 0.03)) for t in times)
            rows.append(
                silicon(
                    model_path=HUGGING[model],
                    system=f"{chip}_sxm",
                    backend=engine,
                    batch_size=batch,
                    isl=prompt,
                    osl=500,
                    tp_size=tensor,
                    moe_tp_size=tensor,
                    silicon_tpot_ms=tpot,
                    silicon_ttft_ms=ttft,
                )
            )
    return written(tmp_path / name, *rows)


def printed(capsys, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["serving_model.py", *map(str, arguments), "-o", "json"])
    serving_model.main()
    return json.loads(capsys.readouterr().out)


def figures(document, **wanted):
    wanted = {"predictor": "dualtrack", "device": "all", "engine": "all", "models": "all", **wanted}
    found = [row for row in document["results"] if all(row.get(key) == value for key, value in wanted.items())]
    return next(row for row in found if "batches" not in row)


def test_it_prints_figures_by_protocol_phase_and_group_beside_baselines(tmp_path, capsys, monkeypatch):
    document = printed(
        capsys, monkeypatch, "--points", table(tmp_path), "--protocol", "leave-model-out", "--observations", 3
    )
    assert document["schema"] == "dualtrack/v1"
    cell = figures(document, protocol="leave-model-out", phase="tpot", observations=0)
    seen = figures(document, protocol="leave-model-out", phase="tpot", observations=3, seen="cell")
    assert cell["n"] == 96
    assert seen["mape_percent"] < cell["mape_percent"] < 15
    low, high = cell["coverage_interval_percent"]
    assert 0 <= low <= cell["coverage_90_percent"] <= high <= 100
    least, most = cell["coverage_interval_by_cell_percent"]
    assert cell["cells"] > 1
    assert least <= low and high <= most  # points of a cell err together
    assert figures(document, protocol="leave-model-out", phase="ttft", observations=0)["n"] == 48
    roofline = figures(document, protocol="baseline", phase="tpot", predictor="bandwidth roofline")
    assert roofline["mape_percent"] > 2 * cell["mape_percent"]
    assert any(row.get("mape_percent") == 25.6 for row in document["results"])
    (speed,) = [row for row in document["results"] if row["protocol"] == "speed"]
    assert speed["predictions_per_s"] > 0


@pytest.mark.parametrize("sizes", [{"params_b": "-8"}, {"params_b": "0"}, {"params_b": "8", "active_params_b": "-3"}])
def test_sizes_that_no_model_has_complete_nothing(tmp_path, sizes):
    rows, left_out = read(tmp_path, published(model="unheard-of", **sizes))
    assert [row.mixture for row in rows] == ([False] if sizes["params_b"] == "8" else [])
    assert left_out["model of unknown size"] == (sizes["params_b"] != "8")


def test_models_of_one_file_are_scored_by_a_fit_to_another(tmp_path, capsys, monkeypatch):
    known = table(tmp_path, "known.csv", ("llama-3.1-70b", "qwen3-30b-a3b"))
    other = table(tmp_path, "other.csv", ("qwen3-32b",), seed=1)
    document = printed(capsys, monkeypatch, "--points", known, "--score", other, "--observations", 3)
    found = figures(document, protocol="score", phase="tpot", observations=0)
    assert found["n"] == 32
    assert found["mape_percent"] < 20
    assert figures(document, protocol="score", phase="tpot", observations=3, seen="cell")["mape_percent"] < 10


def test_the_coefficients_that_it_writes_are_read_back(tmp_path, monkeypatch, capsys):
    out = tmp_path / "serving.yaml"
    monkeypatch.setattr("sys.argv", ["serving_model.py", "--points", str(table(tmp_path)), "--write", str(out)])
    serving_model.main()
    model = load_fit(out, "serving", ServingModel)
    assert "96 measured points of 12 models on devices under engines, from points.csv" in model.source
    assert model.coefficients.engines == ("sglang", "vllm")
    assert set(model.spreads) == {"tpot", "ttft", "ttft_queued"}


def test_a_wrong_file_ends_with_its_place_and_code_2(tmp_path, capsys, monkeypatch):
    wrong = written(tmp_path / "wrong.csv", silicon(osl="-1"))
    monkeypatch.setattr("sys.argv", ["serving_model.py", "--points", str(wrong)])
    with pytest.raises(SystemExit) as raised:
        serving_model.main()
    assert raised.value.code == 2
    assert "wrong.csv:2" in capsys.readouterr().err


def test_a_file_of_which_nothing_is_left_is_refused(tmp_path, capsys, monkeypatch):
    empty = written(tmp_path / "none.csv", silicon(batch_size=""))
    monkeypatch.setattr("sys.argv", ["serving_model.py", "--points", str(empty)])
    with pytest.raises(SystemExit):
        serving_model.main()
    assert "no measured point is left" in capsys.readouterr().err
