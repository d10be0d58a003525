"""The benchmark of the journal prints what anyone can compare."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_benchmark_prints_one_object_with_a_row_per_batch_size_and_one_for_reading():
    command = [sys.executable, "benchmarks/journal.py", "--records", "20", "--batches", "1,5", "-o", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=120)
    found = json.loads(done.stdout)
    assert set(found) == {"schema", "command", "machine", "versions", "results"}
    assert [(row["workload"], row.get("batch"), row.get("commits")) for row in found["results"]] == [
        ("write", 1, 20),
        ("write", 5, 4),
        ("read", None, None),
    ]
    assert found["results"][-1]["events"] == 40
