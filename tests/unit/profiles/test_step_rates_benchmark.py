"""The program that predicts step rates on a chip held out prints errors, baselines and coverage for each protocol."""

import json

import numpy as np
import pytest

from benchmarks import step_rates
from scheduler.errors import ConfigError

COLUMNS = "gpu_type,job_type,scale_factor,colocated_job_type,colocated_scale_factor,steps_per_s,colocated_steps_per_s"


def table(path, seed=0):
    rng, lines = np.random.default_rng(seed), [COLUMNS]
    for family, ratios in (("A", (1, 3, 5)), ("B", (1, 4, 4)), ("C", (1, 2, 6)), ("D", (1, 3, 3))):
        for batch in (16, 32, 64):
            for gang in (1, 2, 4):
                for chip, ratio in zip(("k", "p", "v"), ratios, strict=True):
                    rate = 100 / batch * ratio * gang**0.9 * np.exp(rng.normal(0, 0.03))
                    lines.append(f"{chip},{family} (batch size {batch}),{gang},,,{rate},")
                    lines.append(f"{chip}_unconsolidated,{family} (batch size {batch}),{gang},,,{0.7 * rate},")
    lines.append("k,A (batch size 16),1,B (batch size 16),1,1.0,1.0")
    path.write_text("\n".join(lines))
    return path


def run(monkeypatch, capsys, path, *more):
    monkeypatch.setattr("sys.argv", ["step_rates", "--throughputs", str(path), *more])
    step_rates.main()
    return capsys.readouterr().out


def test_every_protocol_is_scored_on_every_chip_beside_its_baselines(tmp_path, monkeypatch, capsys):
    found = json.loads(run(monkeypatch, capsys, table(tmp_path / "t.csv"), "-o", "json"))
    assert {"schema", "command", "machine", "versions", "results", "mean_mape_percent"} <= set(found)
    rows = {(row["protocol"], row["device"]): row for row in found["results"]}
    assert len(rows) == 4 * 4
    assert {row["n"] for (_, chip), row in rows.items() if chip != "all"} == {36}
    assert rows["leave-type-out", "all"]["n"] == 108
    seen, new = rows["leave-type-out", "v"], rows["leave-family-out", "v"]
    assert seen["mape_percent"] < 10 < new["mape_percent"]
    assert seen["mape_percent"] < seen["baselines"]["one_ratio_over_k"]
    assert "own_ratio" in rows["one-observation", "v"]["baselines"]
    assert new["floor_percent"] < new["mape_percent"]


def test_the_table_for_people_names_the_mean_of_each_protocol(tmp_path, monkeypatch, capsys):
    text = run(monkeypatch, capsys, table(tmp_path / "t.csv"))
    assert all(protocol in text.splitlines()[-1] for protocol in step_rates.PROTOCOLS)


def test_no_protocol_sees_what_it_predicts(tmp_path):
    made = step_rates.Table(table(tmp_path / "t.csv"))
    for protocol in step_rates.PROTOCOLS:
        names = np.array(made.families if "family" in protocol else made.types)
        for kept, tasks in step_rates.splits(made, protocol):
            for wanted, seen in tasks:
                assert not set(names[wanted]) & set(names[kept])
                assert not set(wanted) & set(seen)


def test_a_table_without_a_column_is_refused_with_its_place(tmp_path):
    (tmp_path / "t.csv").write_text("gpu_type,job_type\nk,A\n")
    with pytest.raises(ConfigError, match=r"t\.csv:1: the heading lacks"):
        step_rates.Table(tmp_path / "t.csv")


def test_a_table_without_gangs_is_scored_by_the_protocols_that_need_none(tmp_path, monkeypatch, capsys):
    rows = table(tmp_path / "t.csv").read_text().splitlines()
    kept = [row for row in rows if "unconsolidated" not in row and row.split(",")[2] in ("1", "scale_factor")]
    (tmp_path / "one.csv").write_text("\n".join(kept))
    found = json.loads(run(monkeypatch, capsys, tmp_path / "one.csv", "-o", "json"))
    assert {row["protocol"] for row in found["results"]} == {"leave-family-out", "leave-type-out"}


def test_a_table_of_one_chip_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "t.csv").write_text(
        f"{COLUMNS}\nk,A (batch size 1),1,,,2.0,\nk_unconsolidated,A (batch size 1),1,,,2.0,\n"
    )
    with pytest.raises(SystemExit) as left:
        run(monkeypatch, capsys, tmp_path / "t.csv")
    assert left.value.code == 2
    assert "at least 2 chips" in capsys.readouterr().err
