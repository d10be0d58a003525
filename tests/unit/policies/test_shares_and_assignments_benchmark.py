"""The solvers' benchmark at sizes that take a moment: what it prints, and that its peers agree."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_every_problem_is_solved_near_its_peer() -> None:
    command = [
        sys.executable,
        "benchmarks/solve_time.py",
        "--jobs",
        "40,60",
        "--rows",
        "3",
        "--repeat",
        "1",
        "-o",
        "json",
    ]
    told = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert {"schema", "command", "machine", "versions", "results"} == told.keys()
    names = ["max-min", "makespan", "finish-time-fairness", "water-filling", "assignment", "gangs"]
    assert [row["policy"] for row in told["results"]] == [name for name in names for _ in range(2)]
    for row in told["results"]:
        assert row["solve_ms"] > 0
        assert row["gap"] <= (0.0025 if row["policy"] == "gangs" else 1e-4)
        assert abs(row["peer_apart"]) <= 0.005
        assert row["ratio"] == row["peer_ms"] / row["solve_ms"]
