"""The benchmarks of scale print what anyone can compare, at sizes that take a moment."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def printed(program: str, *arguments: str) -> list[dict]:
    command = [sys.executable, f"benchmarks/{program}.py", *arguments, "-o", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=240)
    found = json.loads(done.stdout)
    assert set(found) == {"schema", "command", "machine", "versions", "results"}
    return found["results"]


def test_cycles_are_timed_cold_and_after_one_arrival():
    few = ("--jobs", "60", "--tenants", "10", "--cycles", "2")
    rows = printed("cycle_time", *few, "--policies", "priority,balanced", "--rules", "on")
    assert [(row["policy"], row["workload"], row["cycles"]) for row in rows] == [
        ("priority", "cold", 2), ("priority", "arrival", 2), ("balanced", "cold", 2), ("balanced", "arrival", 2)
    ]  # fmt: skip
    assert all(row["quota_rows"] >= 60 and row["p50_ms"] <= row["max_ms"] for row in rows)
    assert [row["gap"] is None for row in rows] == [True, True, False, False]
    assert all(row["whole"] == 2 for row in rows)  # so few jobs are weighed in every cycle


def test_decisions_start_reclaim_and_refuse_all_that_they_claim():
    rows = printed("decisions", "--nodes", "4", "--gang", "16", "--verdict-nodes", "6", "--repeat", "2")
    fill, reclaim, verdict = rows
    assert fill["started"] == fill["devices"] == 32
    assert reclaim["victims"] == 16
    assert verdict["for_ever"] is True


@pytest.mark.parametrize("row", ["decision", "batched", "clients", "http", "http-batches"])
def test_every_admitted_job_was_started_by_the_time_the_clock_stops(row):
    (found,) = printed("admission", "--jobs", "40", "--queues", "10", "--clients", "4", "--rows", row)
    assert found["jobs"] == found["started"] == 40
