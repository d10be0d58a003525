"""The verbs on profiles: learn from measurements, write what is known, list and show it, predict with it."""

import itertools
import json
import re
from pathlib import Path

import pytest
import yaml

from scheduler.cli.main import run
from scheduler.config import load_catalog, load_profiles
from scheduler.model.accelerators import WorkClass

HEAD = "family,accelerator,devices,layout,precision,batch,seq_in,seq_out,{metric},framework,runtime"
SERVED = [f"llama-3.1-8b,h200,1,,fp8,{batch},1024,512,{value},vllm 0.12.0,cuda 12.8" for batch, value in
          ((1, 4.0), (4, 4.3), (16, 5.2), (32, 6.6), (64, 9.0))]  # fmt: skip


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DUALTRACK_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "serving.csv").write_text("\n".join([HEAD.format(metric="tpot_ms"), *SERVED]) + "\n")
    rows = [f"my-net,ascend-910c,8,,bf16,256,,,{value},mindspeed 2,cann 8.2" for value in (2.0, 2.1, 1.9, 2.0)]
    (tmp_path / "steps.csv").write_text("\n".join([HEAD.format(metric="steps_per_s"), *rows]) + "\n")

    def call(*words, code=0):
        assert run(["profiles", *words]) == code, capsys.readouterr().err
        found = capsys.readouterr()
        return found.out if code == 0 else found.err

    return call


def test_measurements_of_a_known_model_correct_its_prediction(command, tmp_path):
    (before,) = [r for r in json.loads(command(*PREDICT, "-o", "json")) if r["metric"] == "tpot_ms"]
    (score,) = json.loads(command("calibrate", "serving.csv", "--write", "home/profiles.yaml", "-o", "json"))
    assert (score["n"], score["framework"]) == (5, "vllm 0.12.0")
    assert score["error_after_percent"] <= score["error_before_percent"] + 1
    (after,) = [r for r in json.loads(command(*PREDICT, "-o", "json")) if r["metric"] == "tpot_ms"]
    assert (before["corrected"], after["corrected"], after["from"]) == (False, True, "measured")
    assert after["high"] / after["low"] < before["high"] / before["low"]
    assert abs(after["value"] / 5.2 - 1) <= abs(before["value"] / 5.2 - 1) + 0.02


PREDICT = (
    "predict", "--model", "llama-3.1-8b", "--accelerator", "h200", "--count", "1", "--type", "inference", "--precision",
    "fp8", "--batch", "16", "--seq-in", "1024", "--seq-out", "512", "--framework", "vllm 0.12.0", "--runtime",
    "cuda 12.8",
)  # fmt: skip


def test_jobs_that_no_model_knows_are_known_by_their_runs(command):
    command("calibrate", "steps.csv", "--write", "k.csv")
    (row,) = json.loads(command("list", "-f", "k.csv", "-o", "json"))
    assert row["value"] == pytest.approx(2.0, rel=0.03) and row["runs"] == 4
    assert row["stack"]["runtime"] == "cann 8.2" and row["from"] == "measured"
    assert row["low"] < 1.95 and row["high"] > 2.05


def test_what_was_written_is_read_as_yaml_and_as_a_table_alike(command, tmp_path):
    command("calibrate", "steps.csv", "serving.csv", "--write", "k.csv")
    command("calibrate", "steps.csv", "serving.csv", "--write", "k.yaml")
    catalog = load_catalog()
    assert load_profiles(tmp_path / "k.csv", catalog) == load_profiles(tmp_path / "k.yaml", catalog)


def test_learning_goes_on_from_what_is_known(command):
    command("calibrate", "steps.csv", "--write", "home/profiles.yaml")
    command("calibrate", "steps.csv", "--write", "home/profiles.yaml")
    (row,) = json.loads(command("list", "-o", "json"))
    assert row["runs"] == 8


def test_a_cell_is_shown_by_any_part_of_its_name_that_only_it_has(command):
    command("calibrate", "steps.csv", "serving.csv", "--write", "home/profiles.yaml")
    text = command("show", "my-net")
    assert "Band (90 %):" in text and "cann 8.2" in text and "mindspeed 2" in text
    names = command("list", "-o", "name").split()
    assert yaml.safe_load(command("show", names[0], "-o", "yaml"))["name"] == names[0]
    assert "write more of its name" in command("show", "s", code=2)
    assert "no cell is called" in command("show", "nothing", code=1)


def test_the_table_of_cells_has_their_bands_and_wide_their_stack(command):
    command("calibrate", "steps.csv", "--write", "home/profiles.yaml")
    assert "cann 8.2" not in command("list") and "BAND (90 %)" in command("list")
    assert "cann 8.2" in command("list", "-o", "wide")
    assert command("list", "no-such").strip().count("\n") == 0


@pytest.mark.parametrize(("accelerator", "beyond"), [("h100", False), ("h20-96", True), ("ascend-910c", True)])
def test_a_prediction_beyond_the_measurements_says_so(command, accelerator, beyond):
    words = ("predict", "--model", "llama-3.1-8b", "--accelerator", accelerator, "--count", "8")
    (row,) = json.loads(command(*words, "-o", "json"))
    assert row["extrapolates"] is beyond
    assert (accelerator in " ".join(row["beyond"])) is beyond
    assert ("no training was measured" in command(*words)) is beyond
    assert row["low"] < row["value"] < row["high"]


def test_a_model_given_by_its_size_alone_extrapolates(command):
    (row,) = json.loads(command("predict", "--params", "13e9", "--accelerator", "h100", "-o", "json"))
    assert "usual proportions" in row["beyond"][0]


def test_serving_is_predicted_in_the_split_that_is_asked_for_or_the_fastest(command):
    words = ("predict", "--model", "llama-3.1-70b", "--accelerator", "h200", "--count", "8", "--type", "inference")
    chosen = json.loads(command(*words, "-o", "json"))
    given = json.loads(command(*words, "--layout", "tp=8", "-o", "json"))
    assert [row["metric"] for row in chosen] == ["output_tokens_per_s", "requests_per_s", "tpot_ms", "ttft_ms"]
    assert {row["layout"] for row in given} == {"tp=8"}
    assert chosen[0]["value"] >= given[0]["value"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--model", "llama-3.1-8b", "--accelerator", "h2000"), "did you mean `h200`"),
        (("--model", "lama-3.1-8b", "--accelerator", "h200"), "did you mean `llama-3.1-8b`"),
        (("--model", "llama-3.1-8b", "--accelerator", "h200", "--layout", "tp=3"), "does not divide 8 devices"),
        (("--model", "llama-3.1-8b", "--accelerator", "h200", "--layout", "tensor=8"), "write such as tp=8,pp=2"),
        (("--model", "llama-3.1-8b", "--accelerator", "h200", "--precision", "fp9"), "`fp9` is not predicted"),
        (("--model", "llama-3.1-8b", "--accelerator", "h200", "--type", "tuning"), "write training or inference"),
        (("--accelerator", "h200"), "give either --model or --params"),
        (("--params", "13", "--accelerator", "h200"), "13 parameters are none of a model"),
        (("--model", "llama-3.1-405b", "--accelerator", "h200", "--count", "1"), "no layout of 1 h200 holds"),
        (("--model", "llama-3.1-405b", "--accelerator", "h200", "--count", "1", "--type", "inference"), "do not hold"),
    ],
)
def test_what_cannot_be_predicted_is_refused_with_what_to_do(command, words, complaint):
    assert complaint in command("predict", *words, code=2)


def test_measurements_that_cannot_be_true_are_refused_with_their_line(command, tmp_path):
    (tmp_path / "bad.csv").write_text(HEAD.format(metric="tpot_ms") + "\n" + SERVED[0].replace("4.0", "0.004") + "\n")
    assert "bad.csv:2: tpot_ms: " in command("calibrate", "bad.csv", code=2)


def test_what_is_known_is_written_as_yaml_or_csv_only(command):
    assert "end the name in .yaml or .csv" in command("calibrate", "steps.csv", "--write", "k.txt", code=2)
    assert "cannot be written" in command("calibrate", "steps.csv", "--write", "no/k.yaml", code=2)


def test_rows_left_out_are_counted_by_reason_on_standard_error(command, tmp_path, capsys):
    head = "gpu_type,job_type,scale_factor,colocated_job_type,colocated_scale_factor,steps_per_s,colocated_steps_per_s"
    (tmp_path / "g.csv").write_text(f"{head}\nv100,A,1,,,2.0,\nv100,A,1,B,1,2.0,1.0\n")
    assert run(["profiles", "calibrate", "g.csv"]) == 0
    assert "1 row left out: shares its device" in capsys.readouterr().err


def test_a_ratio_that_is_declared_otherwise_is_an_alarm_on_standard_error(command, tmp_path, capsys):
    rows = [f"net,{name},8,,bf16,256,,,{value},torch 2,cuda 12" for name, value in (("h200", 2.0), ("h20-96", 1.0))]
    (tmp_path / "two.csv").write_text("\n".join([HEAD.format(metric="steps_per_s"), *rows * 6]) + "\n")
    assert run(["profiles", "calibrate", "two.csv"]) == 0
    told = capsys.readouterr().err
    assert "alarm: net@x8-b256: h20-96 over h200 in dense_training is declared as" in told
    assert "measured as 0.5 (" in told


def test_what_is_listed_can_be_written_as_yaml_and_as_a_table(command, tmp_path):
    command("calibrate", "steps.csv", "serving.csv", "--write", "home/profiles.yaml")
    command("list", "my-net", "--write", "part.csv")
    command("list", "-f", "part.csv", "--write", "part.yaml")
    (rate,) = load_profiles(tmp_path / "part.yaml", load_catalog()).rates
    assert rate.cell.family.startswith("my-net") and rate.cell.stack.runtime == "cann 8.2"
    assert "nothing to write" in command("list", "no-such", "--write", "none.csv", code=2)


def test_where_nothing_is_known_it_says_how_to_learn(command, capsys):
    assert run(["profiles", "list"]) == 0
    assert "`profiles calibrate` learns some" in capsys.readouterr().err


def test_the_shipped_models_show_what_they_were_fitted_to(command):
    rows = json.loads(command("show", "training", "-o", "json"))
    assert {"h100", "a100"} <= {row["name"] for row in rows} and all(row["figures"] > 0 for row in rows)
    text = command("show", "serving")
    assert "vllm" in text and "h200" in text and "tpot/dense" in text


PROBE = ("probe", "h100:8", "h20-96:40", "ascend-910c:24", "--model", "llama-3.1-8b")


def test_a_rival_that_nobody_measured_is_probed_before_a_long_run_and_not_before_a_short_one(command):
    rows = {row["option"]: row for row in json.loads(command(*PROBE, "--hours", "240", "-o", "json"))}
    assert sum(row["probe"] for row in rows.values()) == 1
    probed = next(row for row in rows.values() if row["probe"])
    assert probed["gain_percent"] == max(row["gain_percent"] for row in rows.values())
    assert probed["gain_percent"] > probed["cost_percent"]
    short = json.loads(command(*PROBE, "--hours", "0.2", "-o", "json"))
    assert not any(row["probe"] for row in short)
    assert "No probe pays: take" in command(*PROBE, "--hours", "0.2")
    assert "Measure" in command(*PROBE, "--hours", "240")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("h100",), "no option"),
        (("h100:0",), "no option"),
        (("h1000:8",), "unknown accelerator"),
        (("h100:8",), "either"),
    ],
)
def test_an_option_that_is_none_is_refused(command, words, complaint):
    more = () if complaint == "either" else ("--model", "llama-3.1-8b")
    assert complaint in command("probe", *words, *more, code=2)


def test_calibration_says_where_models_are_off(command, tmp_path):
    rows = [row.replace("h200", "h20-96").replace(",4.", ",6.") for row in SERVED]
    (tmp_path / "two.csv").write_text("\n".join([HEAD.format(metric="tpot_ms"), *SERVED, *rows]) + "\n")
    text = command("calibrate", "two.csv")
    assert "tpot_ms: models are off by" in text and "between 2 accelerators" in text
    assert "10 figures in 2 cells: before" in text


def test_what_is_exported_and_imported_again_is_the_same_to_the_last_digit(command, tmp_path):
    rows = "family,devices,accelerator,tpot_ms\n" + "".join(f"net,8,h200,{10 + n / 7}\n" for n in range(5))
    (tmp_path / "steps.csv").write_text(rows)
    files = [str(tmp_path / name) for name in ("a.yaml", "b.csv", "c.yaml")]
    command("calibrate", str(tmp_path / "steps.csv"), "--write", files[0])
    for source, to in itertools.pairwise(files):
        command("list", "-f", source, "--write", to)
    assert Path(files[0]).read_text() == Path(files[2]).read_text()


def test_steps_of_a_known_model_teach_the_cell_that_job_files_are_judged_by(command, tmp_path):
    """A user times steps; a job's options go by tokens a second."""
    (tmp_path / "steps.csv").write_text(
        "family,devices,accelerator,layout,batch,seq_in,step_s\nllama-3.1-8b,8,h200,tp=2,64,4096,3.5\n"
    )
    written = str(tmp_path / "known.yaml")
    command("calibrate", str(tmp_path / "steps.csv"), "--write", written)
    words = ("predict", "--model", "llama-3.1-8b", "--accelerator", "h200", "--layout", "tp=2", "--batch", "64")
    (before,) = json.loads(command(*words, "--seq-in", "4096", "-o", "json"))
    (after,) = json.loads(command(*words, "--seq-in", "4096", "-f", written, "-o", "json"))
    assert (before["corrected"], after["corrected"]) == (False, True)
    assert abs(after["value"] - 64 * 4096 / 3.5) < abs(before["value"] - 64 * 4096 / 3.5)


def test_a_prediction_tells_its_formats_and_the_arithmetic_that_is_lacking(command):
    words = (
        "predict",
        "--model",
        "llama-3.1-8b",
        "--accelerator",
        "ascend-910b2",
        "--count",
        "1",
        "--type",
        "inference",
    )
    told = command(*words, "--precision", "fp8", "--kv-precision", "bf16", "--framework", "vllm 0.12.0")
    assert "fp8, cache bf16" in told
    assert "ascend-910b2 has no fp8 in the catalog" in told


def test_six_declared_and_four_measured_is_told_from_the_measurements_to_the_alarm(command, tmp_path, capsys):
    """The class table puts an H200 at about six H20 in dense training; the same job was timed on both at four."""
    declared = load_catalog().get("h200").rates[WorkClass.DENSE_TRAINING]
    assert 5.5 < declared.value < 6.7
    rows = "".join(f"net,8,{name},256,{s}\n" for name, s in (("h200", 1.0), ("h20-96", 4.0)) for _ in range(6))
    (tmp_path / "ratio.csv").write_text("family,devices,accelerator,batch,step_s\n" + rows)
    assert run(["profiles", "calibrate", "ratio.csv"]) == 0
    told = capsys.readouterr().err
    assert f"h20-96 over h200 in dense_training is declared as {1 / declared.value:.3g}" in told
    assert "measured as 0.25 (" in told


@pytest.mark.parametrize(
    ("words", "formats"),
    [
        (("--model", "deepseek-r1"), "fp8"),
        (("--model", "deepseek-r1", "--precision", "bf16", "--count", "16"), "bf16"),
        (("--model", "llama-3.1-70b-instruct-fp8"), "fp8"),
        (("--model", "llama-3.1-70b"), "bf16"),
    ],
)
def test_what_is_served_is_predicted_in_the_format_its_weights_are_kept_in(command, words, formats):
    told = command("predict", "--type", "inference", "--accelerator", "h200", "--count", "8", *words)
    assert re.search(rf"Precision: +{formats}\n", told)
