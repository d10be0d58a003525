"""How long one cycle of the scheduler takes at the size of a large tenant, and how much memory it needs.

    python benchmarks/cycle_time.py [--cluster F] [--jobs 100000] [--tenants 1000] [--cycles 100] [--rules off,on]
                                    [--policies balanced,priority,fifo-best-type] [--seed 0] [-o json]

The crowd of `--jobs` active jobs is submitted to the empty fleet and the first cycle (`fill_ms`) starts what has room;
all that started then runs for an hour, so that whoever may be displaced or moved may be so from the first cycle on.
After that, two rows per policy, each over `--cycles` cycles that are timed whole (snapshot, choice, placement, the
check before it is recorded, the reasons) in the processor time of the process:

`cold`: before each cycle one job in a thousand ends and as many arrive, 30 s pass, and all jobs are weighed anew.
`arrival`: one submission a second and nothing else. Where a policy decides about newcomers alone between two whole
solutions, `p50_ms`, `p99_ms` and `max_ms` are over those cycles, `whole` counts the others and `whole_ms` is the
longest of them.

`gap` is the largest distance from the optimum that was certified for a plan, over all cycles: with what the storm guard
puts off, what found no node, and what newcomers and ends have added since. `choice_gap` is the same for what the policy
chose in whole solutions. None where a policy proves none.
`rules` are a priced domestic share, lots with licences, eligibility and a price book; `reasons` and `carried` are the
most waiting reasons and carried values that one cycle changed.
"""

import argparse
import gc
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _crowd as crowd

from scheduler.config import load_catalog, load_cluster
from scheduler.engine import Decision, Engine, State
from scheduler.model.cluster import Cluster
from scheduler.model.events import (
    Actor,
    AttemptEnded,
    AttemptStarted,
    CarriedOver,
    Configured,
    EpochStarted,
    JobSubmitted,
)
from scheduler.model.jobs import Job
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.units import US_PER_S

CLUSTER = Path(__file__).resolve().parent.parent / "cluster_configs/clusters/tenant-300k.yaml"
SETTLED_US = 3_600 * US_PER_S
STEP_US = {"cold": 30 * US_PER_S, "arrival": US_PER_S}
CHURN = 1_000
"""One job in so many ends between two cold cycles."""


class Bench:
    """An engine with its clock, fed by hand."""

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

    def cycle(self, passes_us: int) -> tuple[float, Decision]:
        """Decide (timed, in ms of processor time), then fold what was decided."""
        self.now_us += passes_us
        began = time.process_time()
        decision = self.engine.decide(self.now_us)
        took = 1000 * (time.process_time() - began)
        for event in decision.events:
            self.engine.fold(event, self.now_us)
        self.obey()
        return took, decision

    def set_policy(self, policy: Policy) -> None:
        """Another setting without the restart of everything: only what the cycle reads of it."""
        self.engine.state.config = msgspec.structs.replace(self.engine.state.config, policy=policy)


def filled(cluster: Cluster, policy: Policy, rules: Rules, given: argparse.Namespace) -> tuple[Bench, dict[str, float]]:
    """A fleet an hour after the crowd came, and what its coming took."""
    gc.unfreeze()
    gc.collect()
    catalog = load_catalog()
    devices = {
        kind: sum(p.nodes * p.devices_per_node for p in cluster.pools if p.accelerator == kind) for kind in crowd.TYPES
    }
    tree = crowd.tenants(given.tenants, devices)
    bench = Bench(Configured(catalog, cluster, tree, rules, policy), crowd.jobs(10**9, tree, given.seed))
    began = time.perf_counter()
    bench.arrive(given.jobs)
    entered_s = time.perf_counter() - began
    fill_ms, _ = bench.cycle(STEP_US["cold"])
    bench.cycle(SETTLED_US)
    gc.collect()
    gc.freeze()
    return bench, {"fill_ms": round(fill_ms, 1), "submit_jobs_per_s": round(given.jobs / entered_s, 1)}


def timed(bench: Bench, kind: str, given: argparse.Namespace) -> dict[str, Any]:
    churn = max(1, given.jobs // CHURN) if kind == "cold" else 1
    cycles = []
    for _ in range(given.cycles):
        if kind == "cold":
            bench.end(churn)
        bench.arrive(churn)
        cycles.append(bench.cycle(STEP_US[kind]))
    whole = [ms for ms, decision in cycles if decision.plan.whole]
    alone = [ms for ms, decision in cycles if not decision.plan.whole] or whole
    gaps = [decision.plan.gap for _, decision in cycles if decision.plan.gap is not None]
    chosen = [decision.plan.choice_gap for _, decision in cycles if decision.plan.choice_gap is not None]
    carried = [event for _, decision in cycles for event in decision.events if isinstance(event, CarriedOver)]
    return {
        "cycles": given.cycles,
        "p50_ms": round(crowd.quantile(alone, 0.5), 2),
        "p99_ms": round(crowd.quantile(alone, 0.99), 2),
        "max_ms": round(max(alone), 2),
        "whole": len(whole),
        "whole_ms": round(max(whole, default=0.0), 2),
        "gap": round(max(gaps), 6) if gaps else None,
        "choice_gap": round(max(chosen), 6) if chosen else None,
        "starts": sum(len(decision.plan.starts) for _, decision in cycles),
        "stops": sum(len(decision.plan.stops) for _, decision in cycles),
        "reasons": max(len(decision.plan.reasons) for _, decision in cycles),
        "carried": max((len(event.prices) + len(event.gone) for event in carried), default=0),
    }


def measure(cluster: Cluster, name: str, rules: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    policy = Policy(name=name, gap=given.gap)
    bench, entry = filled(cluster, policy, crowd.rules() if rules == "on" else Rules(), given)
    for kind in ("cold", "arrival"):
        bench.set_policy(msgspec.structs.replace(policy, whole_every_us=0) if kind == "cold" else policy)
        if kind == "arrival":
            bench.cycle(STEP_US["cold"])  # the whole solution that newcomers go by
        figures = timed(bench, kind, given)
        state = bench.engine.state
        yield {
            "policy": name,
            "workload": kind,
            "rules": rules,
            "seed": given.seed,
            "jobs": len(state.rows_of),
            "holding": len(state.holding()),
            "devices": cluster.device_count(),
            "types": len(crowd.TYPES),
            "tenants": given.tenants,
            "quota_rows": len(state.rows.limit),
            **figures,
            **entry,
            "peak_rss_mib": crowd.peak_rss_mib(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", type=Path, default=CLUSTER)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--policies", default="balanced,priority,fifo-best-type")
    parser.add_argument("--rules", default="off,on", help="off, on or both")
    parser.add_argument("--gap", type=float, default=5e-3, help="at which the search for a whole solution ends")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    cluster = load_cluster(given.cluster, load_catalog())
    pairs = [(name, rules) for name in given.policies.split(",") for rules in given.rules.split(",")]
    crowd.show([row for name, rules in pairs for row in measure(cluster, name, rules, given)], given.output)


if __name__ == "__main__":
    main()
