"""Policies on Gavel's fleet and job lists, beside the figures of Gavel's own policies.

    python benchmarks/gavel_trace.py --throughputs F --jobs F --cluster v100=36,p100=36,k80=36
        [--policies balanced] [--window 200:500[,300:3000]] [--restart-s 0] [--round-s 0]
        [--sizes known|unknown] [--size-error SIGMA] [--seeds 0] [--first N] [--static] [--against NAMES] [-o json]
    python benchmarks/gavel_trace.py --throughputs F --draw 1200 --gap-s 1800 --seeds 11:14 ...

A job is a rigid gang on one type of device, alone on its devices, and may move between types; a move or a restart
costs `--restart-s` and loses no work. `--draw N` draws lists by the published rule of Gavel's generator, one for each
seed; with `--jobs` the seeds only draw the errors of `--size-error` (log-normal factors on what jobs declare).
`--static`: all jobs arrive at 0, and the row has the linear bound on the makespan. A run ends when the last job of its
windows has ended; arrivals go on until then. `--against fifo_perf,max_min_fairness_perf` replays the same lists by
Gavel's own rounds of 360 s (`gavel_rounds.py`) in the same run, told the true sizes, and ends with one row for each
policy: its mean and median time over the best of Gavel's in each case, `mean_over_best` averaged over the cases and
`p50_over_best` at its worst. One row per policy, seed and window:

mean_jct_h, p50_jct_h, p99_jct_h: submission to end. makespan_h: first submission to last end. restarts: attempts
beyond a job's first over the window's jobs, restarts_per_job their mean. slowest_over_best: the largest ratio of a
job's time to its time alone on its best type; worst_excess_h: the largest time beyond ten times that. wall_s and cpu_s
are of the run, over all its windows.
"""

import argparse
import json
import platform
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy
from msgspec import structs
from numpy.typing import NDArray

import scheduler
from benchmarks.gavel_rounds import ALLOCATIONS, replay
from scheduler.config import load_catalog
from scheduler.engine.records import JobRecord
from scheduler.engine.state import State
from scheduler.model.events import Configured
from scheduler.model.lifecycle import TERMINAL
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.tenants import Tenant, Tenants
from scheduler.model.units import to_s, to_us
from scheduler.model.workload import Arrival, Truth, Workload
from scheduler.simulator.execution import Overheads
from scheduler.simulator.readers.fleet import cluster_of, parse_counts
from scheduler.simulator.readers.gavel import TENANT, read_gavel_jobs, read_gavel_rates
from scheduler.simulator.readers.gavel_lists import draw_gavel_jobs
from scheduler.simulator.readers.makespan import makespan_bound_s
from scheduler.simulator.simulate import simulate

Real = NDArray[numpy.float64]

HOUR_S = 3600.0
GAVEL_ROUND_S, GAVEL_RESETS_S = 360.0, 1920.0
EXCESS = 10.0

PUBLISHED = {
    # Gavel's released simulator at commit c4fa400 on the shipped lists, 360 s rounds, oracle rates, measured anew:
    # list, window -> policy -> mean, p50, p99 in hours
    "jobs_poisson_1800s_seed0 200:500": {
        "fifo_perf": (13.74, 4.12, 139.8),
        "max_min_fairness_perf": (14.62, 4.14, 144.1),
        "finish_time_fairness_perf": (15.00, 4.16, 156.6),
        "min_total_duration_perf": (17.29, 4.98, 178.4),
    },
    "jobs_poisson_1200s_seed0 300:600": {
        "fifo_perf": (20.95, 10.91, 161.0),
        "max_min_fairness_perf": (26.51, 5.30, 336.0),
    },
}
PUBLISHED_MAKESPAN_H = {
    150: {"min_total_duration_perf": 165.8, "max_min_fairness_perf": 176.0, "fifo_perf": 180.3},
    500: {"min_total_duration_perf": 165.86, "max_min_fairness_perf": 245.1, "fifo_perf": 278.1},
}


def span(text: str) -> range:
    """`42:52` (last excluded) or `42`."""
    first, _, last = text.partition(":")
    return range(int(first), int(last) if last else int(first) + 1)


def with_sizes(workload: Workload, sizes: str, error: float, seed: int) -> Workload:
    """What jobs declare made wrong or unknown; the world knows the truth."""
    if sizes == "known" and error <= 0:
        return workload
    draw = random.Random(seed)

    def changed(arrival: Arrival) -> Arrival:
        true = arrival.job.work.amount
        told = None if sizes == "unknown" or true is None else true * draw.lognormvariate(0.0, error)
        job = structs.replace(arrival.job, work=structs.replace(arrival.job.work, amount=told))
        return structs.replace(arrival, job=job, truth=Truth(amount=true))

    return structs.replace(workload, arrivals=tuple(changed(a) for a in workload.arrivals))


def workload_of(given: argparse.Namespace, seed: int) -> Workload:
    rates = read_gavel_rates(given.throughputs)
    if given.draw:
        gap_s = 0.0 if given.static else given.gap_s
        workload = draw_gavel_jobs(rates, given.draw, mean_gap_s=gap_s, seed=seed, restart_s=given.restart_s)
    else:
        workload = read_gavel_jobs(given.jobs, rates, restart_s=given.restart_s)
    if given.first:
        workload = structs.replace(workload, arrivals=workload.arrivals[: given.first])
    if given.static:
        still = tuple(structs.replace(arrival, at_us=0) for arrival in workload.arrivals)
        workload = structs.replace(workload, arrivals=still)
    return workload


def configured(given: argparse.Namespace, name: str) -> Configured:
    """Whatever is decided happens at once: no minimum run, no storm guard; there is nothing to save at a notice."""
    catalog = load_catalog()
    patience = {"min_run_us": 0, "max_preemptions_per_cycle": 1_000_000}
    settings = {**patience, **json.loads(given.settings)}
    cluster = cluster_of(parse_counts(given.cluster), catalog, given.devices_per_node)
    return Configured(catalog, cluster, Tenants(tenants=(Tenant(name=TENANT),)), Rules(), Policy(name=name, **settings))


def windows_of(text: str, jobs: int) -> list[tuple[int, int]]:
    found = []
    for part in text.split(",") if text else [f"0:{jobs}"]:
        first, _, last = part.partition(":")
        found.append((int(first), min(int(last), jobs)))
    return found


def best_s(workload: Workload, index: int) -> float:
    """Time of the job alone on its best type."""
    arrival = workload.arrivals[index]
    amount = arrival.truth.amount or arrival.job.work.amount or 0.0
    return amount / max(m.rate for m in arrival.job.work.measured)


def figures(submitted_s: Real, ended_s: Real, restarts: int, workload: Workload, first: int) -> dict[str, Any]:
    """Of the jobs from the `first` on; times are float64[n]."""
    times_s = ended_s - submitted_s
    alone_s = numpy.array([best_s(workload, first + place) for place in range(len(times_s))])
    return {
        "jobs": len(times_s),
        "mean_jct_h": float(times_s.mean()) / HOUR_S,
        "p50_jct_h": float(numpy.quantile(times_s, 0.5)) / HOUR_S,
        "p99_jct_h": float(numpy.quantile(times_s, 0.99)) / HOUR_S,
        "makespan_h": float(ended_s.max() - submitted_s.min()) / HOUR_S,
        "alone_mean_h": float(alone_s.mean()) / HOUR_S,
        "slowest_over_best": float((times_s / alone_s).max()),
        "worst_excess_h": float((times_s - EXCESS * alone_s).max()) / HOUR_S,
        "restarts": restarts,
        "restarts_per_job": restarts / len(times_s),
    }


def of_records(jobs: Sequence[JobRecord], workload: Workload, first: int) -> dict[str, Any]:
    submitted_s = numpy.array([to_s(job.submitted_us) for job in jobs])
    ended_s = numpy.array([to_s(job.ended_us or 0) for job in jobs])
    return figures(submitted_s, ended_s, sum(len(job.attempts) - 1 for job in jobs), workload, first)


def by_gavel(given: argparse.Namespace, name: str, seed: int) -> list[dict[str, Any]]:
    workload = workload_of(given, seed)
    windows = windows_of(given.window, len(workload.arrivals))
    began, began_cpu = time.perf_counter(), time.process_time()
    last = max(end for _, end in windows)
    found = replay(workload, parse_counts(given.cluster), name, GAVEL_ROUND_S, first=last, resets_s=GAVEL_RESETS_S)
    spent = {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - began_cpu}
    rows = []
    for first, end in windows:
        row = {"policy": f"gavel/{name}", "workload": workload.name, "seed": seed, "window": f"{first}:{end}"}
        row |= {"restart_s": given.restart_s, "round_s": GAVEL_ROUND_S, "rounds": found.rounds} | spent
        times = found.submitted_s[first:end], found.ended_s[first:end]
        rows.append(row | figures(*times, int(found.restarts[first:end].sum()), workload, first))
    return rows


def compared(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each policy against the best of Gavel's in each case: a seed and a window."""
    best: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in rows:
        if row["policy"].startswith("gavel/"):
            case = best.setdefault((row["workload"], row["window"]), {})
            for key in ("mean_jct_h", "p50_jct_h"):
                case[key] = min(case.get(key, numpy.inf), row[key])
    found = []
    for name in dict.fromkeys(row["policy"] for row in rows):
        mine = [(row, best[row["workload"], row["window"]]) for row in rows if row["policy"] == name]
        found.append(
            {
                "policy": name,
                "cases": len(mine),
                "mean_over_best": float(numpy.mean([row["mean_jct_h"] / case["mean_jct_h"] for row, case in mine])),
                "p50_over_best": max(row["p50_jct_h"] / case["p50_jct_h"] for row, case in mine),
            }
        )
    return found


def measure(given: argparse.Namespace, policy: str, seed: int) -> list[dict[str, Any]]:
    exact = workload_of(given, seed)
    workload = with_sizes(exact, given.sizes, given.size_error, seed)
    windows = windows_of(given.window, len(workload.arrivals))
    last = max(end for _, end in windows)
    ended = 0

    def over(state: State) -> bool:
        nonlocal ended
        while ended < min(last, len(state.jobs)) and state.jobs[ended].state in TERMINAL:
            ended += 1
        return ended >= last

    began, began_cpu = time.perf_counter(), time.process_time()
    overheads = Overheads(round_us=to_us(given.round_s))
    result = simulate(configured(given, policy), workload, overheads=overheads, stop=over)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    if result.refusals:
        raise result.refusals[0].error
    rows = []
    for first, end in windows:
        row = {"policy": policy, "workload": exact.name, "seed": seed, "window": f"{first}:{end}"}
        row |= {"restart_s": given.restart_s, "round_s": given.round_s, "sizes": given.sizes}
        row |= {"size_error": given.size_error, "cycles": result.report.cycles, "wall_s": wall_s, "cpu_s": cpu_s}
        row |= of_records(result.state.jobs[first:end], workload, first)
        row |= {"gavel": PUBLISHED.get(f"{exact.name} {first}:{end}", {})}
        if given.static:
            bound_h = makespan_bound_s(exact, parse_counts(given.cluster)) / HOUR_S
            row |= {"bound_h": bound_h, "over_bound": row["makespan_h"] / bound_h}
            row |= {"gavel_makespan_h": {} if given.draw else PUBLISHED_MAKESPAN_H.get(len(exact.arrivals), {})}
        rows.append(row)
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--throughputs", type=Path, required=True)
    parser.add_argument("--jobs", type=Path)
    parser.add_argument("--draw", type=int, default=0, help="draw so many jobs instead of reading a list")
    parser.add_argument("--gap-s", type=float, default=1800.0, help="mean time between the arrivals of drawn jobs")
    parser.add_argument("--seeds", type=span, default=range(1), help="FIRST:LAST or one number")
    parser.add_argument("--cluster", default="v100=36,p100=36,k80=36")
    parser.add_argument("--devices-per-node", type=int, default=1)
    parser.add_argument("--policies", default="balanced")
    parser.add_argument("--settings", default="{}", help="further fields of the policy, in JSON")
    parser.add_argument("--window", default="", help="FIRST:LAST of the jobs by arrival, several with commas")
    parser.add_argument("--first", type=int, default=0, help="only the first so many jobs of the list")
    parser.add_argument("--restart-s", type=float, default=0.0)
    parser.add_argument("--round-s", type=float, default=0.0, help="decide only at multiples of it; 0: always")
    parser.add_argument("--sizes", choices=("known", "unknown"), default="known")
    parser.add_argument("--size-error", type=float, default=0.0, help="sigma of log-normal errors of declared sizes")
    parser.add_argument("--static", action="store_true", help="all jobs arrive at once")
    parser.add_argument("--against", default="", help=f"of Gavel's own, with commas: {', '.join(ALLOCATIONS)}")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    if bool(given.jobs) == bool(given.draw):
        parser.error("give either --jobs or --draw")
    return given


def main() -> None:
    given = parse()
    rivals = given.against.split(",") if given.against else []
    rows = []
    if given.output == "table":
        print("policy                      list                        window   mean h   p50 h   p99 h  /job  cpu s")
    for seed in given.seeds:
        for name in [*given.policies.split(","), *(f"gavel/{rival}" for rival in rivals)]:
            by, rival = (by_gavel, name.removeprefix("gavel/")) if name.startswith("gavel/") else (measure, name)
            for row in by(given, rival, seed):
                rows.append(row)
                if given.output == "table":
                    print(line(row), flush=True)
    versus = compared(rows) if rivals else []
    if given.output == "table":
        for row in versus:
            print(
                f"{row['policy']:27} of Gavel's best: mean {row['mean_over_best']:.3f}, p50 {row['p50_over_best']:.3f}"
            )
        return
    machine = f"{platform.platform()}, {platform.processor() or platform.machine()}"
    versions = {"dualtrack": scheduler.__version__, "python": platform.python_version(), "numpy": numpy.__version__}
    found = {"schema": "dualtrack/v1", "command": " ".join(sys.argv), "machine": machine, "versions": versions}
    print(json.dumps(found | {"results": rows, "versus": versus}, indent=1))


def line(row: dict[str, Any]) -> str:
    found = (
        f"{row['policy']:27} {row['workload']:25} {row['window']:>9} {row['mean_jct_h']:8.2f} {row['p50_jct_h']:7.2f}"
        f" {row['p99_jct_h']:7.1f} {row['restarts_per_job']:5.2f} {row['cpu_s']:6.1f}"
    )
    if "bound_h" in row:
        found += f"  makespan {row['makespan_h']:.2f} h, {row['over_bound']:.4f} of the bound"
    return found if row["worst_excess_h"] <= 0 else found + f"  ten times its best and {row['worst_excess_h']:.0f} h"


if __name__ == "__main__":
    main()
