"""Random schedules with faults: no invariant breaks, everything that can end does, and a seed is a promise.

The suite runs as many seeds as fit into its share of time; `python -m tests.simulation.swarm --seeds A:B` runs any.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.simulation.schedules import MAX_JOBS, MAX_NODES, schedule
from tests.simulation.swarm import Outcome, run_schedule

ROOT = Path(__file__).resolve().parents[2]
EVENTS = 1000
SEEDS = int(os.environ.get("DUALTRACK_SCHEDULES", "500"))
BUDGET_S = float(os.environ.get("DUALTRACK_SCHEDULES_S", "80"))
CHUNK = 10
FEWEST = 20


def run_chunk(first: int) -> list[Outcome]:
    return [run_schedule(seed, EVENTS) for seed in range(first, first + CHUNK)]


@pytest.mark.slow
def test_no_schedule_breaks_an_invariant_and_all_that_can_end_ends(capsys: pytest.CaptureFixture[str]):
    began, outcomes, last = time.monotonic(), [], 0
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        while last < SEEDS and (last < FEWEST or time.monotonic() - began < BUDGET_S):
            firsts = range(last, min(last + 2 * CHUNK, SEEDS), CHUNK)
            for found in pool.map(run_chunk, firsts):
                outcomes.extend(found)
            last = firsts[-1] + CHUNK
    total, restarts = sum(o.events for o in outcomes), sum(o.restarts for o in outcomes)
    with capsys.disabled():
        spent_s = time.monotonic() - began
        print(
            f"\n{len(outcomes)} schedules, seeds 0:{last}, {total} events, {restarts} restarts in {spent_s:.0f} s: ",
            end="",
        )
    assert len(outcomes) == last
    assert all(o.safety_events >= EVENTS for o in outcomes)
    assert {state for o in outcomes for state in o.states} >= {"succeeded", "failed", "cancelled"}


def test_schedules_stay_within_sixteen_nodes_and_thirty_jobs():
    for seed in range(200):
        plan = schedule(seed)
        assert plan.configured.cluster.node_count() <= MAX_NODES
        members = [a.job.array.last - a.job.array.first + 1 if a.job.array else 1 for a in plan.arrivals]
        assert sum(members) <= MAX_JOBS


def test_the_same_seed_gives_the_same_bytes_under_different_hash_seeds():
    said = []
    for hash_seed in ("0", "1", "4711"):
        command = [sys.executable, "-m", "tests.simulation.swarm", "--seeds", "7:9", "--events", "600", "--digest"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said.append([line for line in done.stdout.splitlines() if line.split()[0] in ("7", "8")])
    assert len(said[0]) == 2
    assert said[0] == said[1] == said[2]


def test_a_failure_names_its_seed_first(monkeypatch: pytest.MonkeyPatch):
    def broken(_state: object) -> None:
        raise AssertionError("planted")

    monkeypatch.setattr("tests.simulation.swarm.check", broken)
    with pytest.raises(AssertionError, match=r"^seed 5: planted$"):
        run_schedule(5, 50)
