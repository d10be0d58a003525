"""How long one cycle of the scheduler takes at the size of a large tenant, and how much memory it needs.

    python benchmarks/cycle_time.py [--cluster F] [--jobs 100000] [--tenants 1000] [--cycles 100]
                                    [--policies priority,fifo-best-type] [--seed 0] [-o json]

The crowd of `--jobs` active jobs is submitted to the empty fleet and the first cycle (`fill_ms`) starts what has room;
all that started then runs. After that, two rows per policy, each over `--cycles` cycles that are timed whole (snapshot,
choice, placement, the check before it is recorded, the reasons): `cold`, where before each cycle one job in a thousand
ends and as many arrive, and `arrival`, where nothing but one submission lies between two cycles. `gap` is the certified
distance from the optimum, where the policy has one.
"""

import argparse
import gc
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _crowd as crowd

from scheduler.config import load_catalog, load_cluster
from scheduler.engine import Engine, State
from scheduler.model.cluster import Cluster
from scheduler.model.events import Actor, AttemptEnded, AttemptStarted, Configured, EpochStarted, JobSubmitted
from scheduler.model.jobs import Job
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.units import US_PER_S

CLUSTER = Path(__file__).resolve().parent.parent / "cluster_configs/clusters/tenant-300k.yaml"
CYCLE_US = 30 * US_PER_S
CHURN = 1_000
"""One job in so many ends between two cold cycles."""


class Bench:
    """An engine with its clock, fed by hand. Time advances by 30 s with each cycle."""

    def __init__(self, config: Configured, source: Iterator[tuple[Job, Actor]]) -> None:
        self.engine = Engine(State.new(config))
        self.source = source
        self.now_us = 0
        self.engine.fold(EpochStarted(1), 0)

    def arrive(self, count: int) -> None:
        state = self.engine.state
        for _ in range(count):
            spec, actor = next(self.source)
            number = len(state.jobs)
            self.engine.fold(JobSubmitted(number, f"job-{number}", spec, actor), self.now_us)

    def end(self, count: int) -> None:
        """The first `count` of what runs ends well."""
        for job in self.engine.state.holding()[:count]:
            attempt = job.attempts[-1]
            ended = AttemptEnded(job.number, attempt.n, attempt.epoch, attempt.seq + 1, AttemptEnd.EXITED)
            self.engine.fold(ended, self.now_us)

    def obey(self) -> None:
        """What was told to start is up, and what was told to leave has left."""
        for job in self.engine.state.holding():
            attempt = job.attempts[-1]
            place = job.number, attempt.n, attempt.epoch, attempt.seq + 1
            if job.state is JobState.STOPPING:
                self.engine.fold(AttemptEnded(*place, AttemptEnd.PREEMPTED), self.now_us)
            elif attempt.started_us is None:
                self.engine.fold(AttemptStarted(*place), self.now_us)

    def cycle(self) -> float:
        """Decide (timed, in ms), then fold what was decided."""
        self.now_us += CYCLE_US
        began = time.perf_counter()
        decision = self.engine.decide(self.now_us)
        took = 1000 * (time.perf_counter() - began)
        for event in decision.events:
            self.engine.fold(event, self.now_us)
        return took


def measure(cluster: Cluster, policy: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    catalog = load_catalog()
    devices = {
        kind: sum(p.nodes * p.devices_per_node for p in cluster.pools if p.accelerator == kind) for kind in crowd.TYPES
    }
    tree = crowd.tenants(given.tenants, devices)
    source = crowd.jobs(10**9, tree, given.seed)
    bench = Bench(Configured(catalog, cluster, tree, Rules(), Policy(name=policy)), source)
    began = time.perf_counter()
    bench.arrive(given.jobs)
    entered_s = time.perf_counter() - began
    fill_ms = bench.cycle()
    bench.obey()
    bench.cycle()
    state = bench.engine.state
    gc.collect()
    gc.freeze()
    rows = []
    for kind in ("cold", "arrival"):
        took = []
        for _ in range(given.cycles):
            if kind == "cold":
                churn = max(1, given.jobs // CHURN)
                bench.end(churn)
                bench.arrive(churn)
            else:
                bench.arrive(1)
            took.append(bench.cycle())
            bench.obey()
        rows.append({
            "policy": policy,
            "workload": kind,
            "seed": given.seed,
            "jobs": len(state.rows_of),
            "holding": len(state.holding()),
            "devices": cluster.device_count(),
            "types": len(crowd.TYPES),
            "tenants": given.tenants,
            "quota_rows": len(state.rows.limit),
            "cycles": given.cycles,
            "p50_ms": round(crowd.quantile(took, 0.5), 2),
            "p99_ms": round(crowd.quantile(took, 0.99), 2),
            "max_ms": round(max(took), 2),
            "gap": None,
            "fill_ms": round(fill_ms, 1),
            "submit_jobs_per_s": round(given.jobs / entered_s, 1),
            "peak_rss_mib": crowd.peak_rss_mib(),
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", type=Path, default=CLUSTER)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--policies", default="priority,fifo-best-type")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    cluster = load_cluster(given.cluster, load_catalog())
    crowd.show([row for name in given.policies.split(",") for row in measure(cluster, name, given)], given.output)


if __name__ == "__main__":
    main()
