"""MLPerf's times to train: which are read, what is compared, and that nothing is fitted to them."""

import csv
import math

import pytest

from benchmarks import training_model
from benchmarks._training_runs import COLUMNS, read_runs, score_runs
from scheduler.config import load_catalog, load_fit, shipped
from scheduler.errors import ConfigError
from scheduler.model.accelerators import WorkClass
from scheduler.profiles.training_rates import TrainingCoefficients


def run(**given):
    return {
        "accelerator_model_name": "NVIDIA H100-SXM5-80GB",
        "accelerators_per_node": "8",
        "number_of_nodes": "1",
        "benchmark": "resnet",
        "global_batch_size": "3200",
        "status": "success",
        "time_to_train_s": "100",
        "submitter": "one",
        "system": "box",
        "round": "v4.1",
    } | given


@pytest.fixture
def written(tmp_path):
    def write(*rows, columns=COLUMNS):
        with (tmp_path / "runs.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / "runs.csv"

    return write


@pytest.fixture
def coefficients():
    return load_fit(shipped("profiles", "training"), "training", TrainingCoefficients)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("NVIDIA H100-SXM5-80GB", "h100"),
        ("NVIDIA H200-SXM5-141GB", "h200"),
        ("NVIDIA Blackwell GPU (B200-SXM-180GB)", "b200"),
        ("NVIDIA A100-SXM4-40GB (400W)", "a100-40"),
        ("NVIDIA H100-PCIe-80GB", None),
        ("TPU v3", None),
        ("N/A", None),
        ("", None),
    ],
)
def test_submitters_names_are_understood_where_the_catalog_means_the_same_board(written, label, name):
    found, left_out = read_runs(written(run(accelerator_model_name=label)))
    assert [runs.accelerator.name for runs in found] == ([name] if name else [])
    assert sum(left_out.values()) == (0 if name else 1)


@pytest.mark.parametrize(
    "bad", [{"status": "aborted"}, {"time_to_train_s": "-3"}, {"time_to_train_s": ""}, {"number_of_nodes": ""}]
)
def test_runs_that_cannot_be_used_are_counted(written, bad):
    found, left_out = read_runs(written(run(**bad), run()))
    assert len(found) == 1
    assert sum(left_out.values()) == 1


def test_a_system_counts_once_by_its_median(written):
    rows = [run(time_to_train_s=str(t)) for t in (90, 100, 900)]
    (found,), _ = read_runs(written(*rows, run(system="other", time_to_train_s="120")))
    assert found.medians == (100, 120)
    assert found.seconds == 110
    assert len(found.within) == 1


def test_missing_columns_are_named(written):
    with pytest.raises(ConfigError, match="status"):
        read_runs(written(run(), columns=[name for name in COLUMNS if name != "status"]))


def test_pairs_at_the_same_batch_and_count_are_scored_by_the_class_table(written, coefficients):
    rates = {name: load_catalog().get(name).rates[WorkClass.VISION_TRAINING].value for name in ("h100", "h200")}
    other = {"accelerator_model_name": "NVIDIA H200-SXM5-141GB"}
    exact = str(100 * rates["h100"] / rates["h200"])
    rows = [run(), run(**other, time_to_train_s=exact), run(**other, global_batch_size="9", time_to_train_s="7")]
    found = {row["protocol"]: row for row in score_runs(read_runs(written(*rows))[0], coefficients)}
    assert found["runs by class"]["n"] == 1
    assert found["runs by class"]["mape_percent"] == pytest.approx(0, abs=1e-6)
    assert found["runs by class"]["coverage_90_percent"] == 100
    assert "runs by model" not in found


def test_transformers_are_scored_across_counts_by_the_training_model(written, coefficients):
    told = {"benchmark": "gpt3", "global_batch_size": "2048"}
    rows = [run(**told, number_of_nodes="32", time_to_train_s="200"), run(**told, number_of_nodes="64")]
    found = [
        row for row in score_runs(read_runs(written(*rows))[0], coefficients) if row["protocol"] == "runs by model"
    ]
    assert [row["n"] for row in found] == [1]
    assert found[0]["mape_percent"] < 20


def test_what_repeated_runs_differ_by_is_told(written, coefficients):
    rows = [
        run(system=system, time_to_train_s=str(base * factor))
        for system, base in (("a", 90.0), ("b", 100.0), ("c", 110.0))
        for factor in (math.exp(-0.1), 1.0, math.exp(0.1))
    ]
    found = [row for row in score_runs(read_runs(written(*rows))[0], coefficients) if row["device"] == "all"]
    (row,) = [row for row in found if row["protocol"] == "repeated runs"]
    assert row["runs_sd_percent"] == pytest.approx(10.0)
    assert row["systems_differ_percent"] == pytest.approx(100 * 0.2 / 3, abs=0.1)


def test_the_program_scores_runs_alone(written, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["training_model.py", "--runs", str(written(run()))])
    training_model.main()
    assert capsys.readouterr().out.startswith("left out: {}")
