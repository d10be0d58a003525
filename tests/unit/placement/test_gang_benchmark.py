"""The benchmark of gang placement runs on a small fleet and prints what it promises."""

import json
import subprocess
import sys

from tests.support.tree import ROOT


def test_one_row_per_strategy_with_its_decisions_a_second():
    program = ROOT / "benchmarks" / "gang_placement.py"
    size = ["--nodes", "64", "--rack-nodes", "16", "--decisions", "300", "--repeat", "1"]
    command = [sys.executable, str(program), *size, "--strategies", "topology,best-fit", "-o", "json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert set(found) >= {"schema", "command", "machine", "versions", "results"}
    topology, best_fit = found["results"]
    assert (topology["strategy"], best_fit["strategy"]) == ("topology", "best-fit")
    for row in found["results"]:
        assert (row["nodes"], row["racks"], row["decisions"]) == (64, 4, 300)
        assert row["decisions_per_s"] > 0 and row["releases"] > 0
        assert row["nodes_per_gang"] >= 2
    assert topology["racks_per_gang"] <= best_fit["racks_per_gang"]
