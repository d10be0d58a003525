"""Policies on Sia's rigid workloads and fleet, beside Gavel's scheduling in rounds written anew.

    python benchmarks/sia_trace.py --profiles F --jobs F[,F] [--workloads 1,2] [--policies balanced]
        [--round-s 0] [--gavel-round-s 360] [-o json]

The fleet is the paper's: 24 T4 in nodes of 4, 24 RTX 2080 Ti and 16 A100 in nodes of 8. Jobs are rigid gangs on one
type, every start of an attempt costs what the authors measured for its model (25 to 250 s), the first one too, and a
gang that is spread over more nodes than it needs runs as much slower as was measured. `--round-s`: our policies decide
only at multiples of it. Rows per policy and workload: mean_jct_h, p50_jct_h, p99_jct_h, makespan_h, restarts_per_job,
wall_s; `gavel/max_sum_throughput_perf` is Gavel in rounds, and `over_gavel` the mean over Gavel's of the same
workload. Rows with the workload `all` are means over a file's workloads, with the paper's figures for rigid Gavel
beside.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import highspy
import numpy

import scheduler
from benchmarks.gavel_rounds import replay
from scheduler.config import load_catalog
from scheduler.errors import DualtrackError
from scheduler.model.events import Configured
from scheduler.model.lifecycle import JobState
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.tenants import Tenant, Tenants
from scheduler.model.units import to_s, to_us
from scheduler.model.workload import Workload
from scheduler.simulator.execution import Overheads
from scheduler.simulator.readers.fleet import cluster_of
from scheduler.simulator.readers.sia import SIA_FLEET, TENANT, read_sia_jobs, read_sia_profiles, sia_workloads
from scheduler.simulator.simulate import simulate

HOUR_S = 3600.0
GAVEL = "max_sum_throughput_perf"
DEVICES = {name: nodes.nodes * nodes.devices_per_node for name, nodes in SIA_FLEET.items()}
PER_NODE = {name: nodes.devices_per_node for name, nodes in SIA_FLEET.items()}

PUBLISHED = {
    # rigid Gavel with tuned jobs (Sia, SOSP 2023, table 3 and artifact), in hours; the spread is that of the mean
    "workloads_philly": {"mean_jct_h": 1.9, "spread_h": 0.3, "p99_jct_h": 30.0, "makespan_h": 33.8},
    "workloads_saturn": {"mean_jct_h": 2.548, "spread_h": 0.946, "p99_jct_h": 46.3, "makespan_h": 43.25},
    "workloads_newtrace": {"mean_jct_h": 11.3, "p99_jct_h": 98.1, "makespan_h": 110.0},
}


def figures(submitted_s: Sequence[float], ended_s: Sequence[float], restarts: float) -> dict[str, float]:
    times_s = numpy.asarray(ended_s) - numpy.asarray(submitted_s)
    return {
        "mean_jct_h": float(times_s.mean()) / HOUR_S,
        "p50_jct_h": float(numpy.quantile(times_s, 0.5)) / HOUR_S,
        "p99_jct_h": float(numpy.quantile(times_s, 0.99)) / HOUR_S,
        "makespan_h": (max(ended_s) - min(submitted_s)) / HOUR_S,
        "restarts_per_job": restarts / len(times_s),
    }


def by_gavel(workload: Workload, round_s: float) -> dict[str, Any]:
    began = time.perf_counter()
    found = replay(workload, DEVICES, GAVEL, round_s, PER_NODE, load_first=True)
    row: dict[str, Any] = figures(found.submitted_s.tolist(), found.ended_s.tolist(), float(found.restarts.sum()))
    return row | {"wall_s": time.perf_counter() - began, "round_s": round_s}


def by_policy(workload: Workload, name: str, given: argparse.Namespace) -> dict[str, Any]:
    catalog = load_catalog()
    patience = {"min_run_us": 0, "max_preemptions_per_cycle": 1_000_000}
    settings = {**patience, **json.loads(given.settings)}
    cluster = cluster_of(DEVICES, catalog, PER_NODE)
    tenants = Tenants(tenants=(Tenant(name=TENANT),))
    config = Configured(catalog, cluster, tenants, Rules(), Policy(name=name, **settings))
    began = time.perf_counter()
    overheads = Overheads(round_us=to_us(given.round_s), load_first=True)
    jobs = simulate(config, workload, overheads=overheads).state.jobs
    lacking = [job.spec.name for job in jobs if job.state is not JobState.SUCCEEDED]
    if len(jobs) < len(workload.arrivals) or lacking:
        raise RuntimeError(f"{name}: not all jobs of {workload.name} finished: {lacking[:3]}")
    submitted_s = [to_s(job.submitted_us) for job in jobs]
    ended_s = [to_s(job.ended_us or 0) for job in jobs]
    row: dict[str, Any] = figures(submitted_s, ended_s, float(sum(len(job.attempts) - 1 for job in jobs)))
    return row | {"wall_s": time.perf_counter() - began, "round_s": given.round_s}


def measure(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    profiles = read_sia_profiles(given.profiles)
    for path in given.jobs.split(","):
        found: dict[str, list[dict[str, Any]]] = {}
        for number in map(int, given.workloads.split(",")) if given.workloads else sia_workloads(path):
            workload = read_sia_jobs(path, profiles, number)
            base = by_gavel(workload, given.gavel_round_s)
            rows = {f"gavel/{GAVEL}": base}
            rows |= {name: by_policy(workload, name, given) for name in given.policies.split(",")}
            for name, row in rows.items():
                row |= {"over_gavel": row["mean_jct_h"] / base["mean_jct_h"]}
                found.setdefault(name, []).append(row)
                yield {"policy": name, "workload": workload.name, **row}
        list_name = Path(path).name.split(".")[0]
        for name, parts in found.items():
            means = {key: float(numpy.mean([part[key] for part in parts])) for key in parts[0]}
            gavel_h = float(numpy.mean([part["mean_jct_h"] for part in found[f"gavel/{GAVEL}"]]))
            means["over_gavel"] = means["mean_jct_h"] / gavel_h
            published = {"published_gavel": PUBLISHED.get(list_name, {})}
            yield {"policy": name, "workload": f"{list_name} all"} | means | published


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", type=Path, required=True)
    parser.add_argument("--jobs", required=True, help="files of workloads, with commas")
    parser.add_argument("--workloads", default="", help="numbers within each file; all, if absent")
    parser.add_argument("--policies", default="balanced")
    parser.add_argument("--settings", default="{}", help="further fields of the policy, in JSON")
    parser.add_argument("--round-s", type=float, default=0.0)
    parser.add_argument("--gavel-round-s", type=float, default=360.0)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    try:
        show(parser.parse_args())
    except DualtrackError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def show(given: argparse.Namespace) -> None:
    rows = []
    if given.output == "table":
        print("policy                        workload                    mean h   p50 h   p99 h  span h  /job of Gavel")
    for row in measure(given):
        rows.append(row)
        if given.output == "table":
            print(
                f"{row['policy']:29} {row['workload']:25} {row['mean_jct_h']:8.3f} {row['p50_jct_h']:7.3f}"
                f" {row['p99_jct_h']:7.1f} {row['makespan_h']:7.1f} {row['restarts_per_job']:5.2f}"
                f" {row['over_gavel']:9.3f}",
                flush=True,
            )
    if given.output == "json":
        machine = f"{platform.platform()}, {platform.processor() or platform.machine()}"
        versions = {"dualtrack": scheduler.__version__, "python": platform.python_version(), "numpy": numpy.__version__}
        versions["highs"] = highspy.Highs().version()
        found = {"schema": "dualtrack/v1", "command": " ".join(sys.argv), "machine": machine, "versions": versions}
        print(json.dumps(found | {"results": rows}, indent=1))


if __name__ == "__main__":
    main()
