"""What a mixed fleet is worth under several schedulers: 64 H200, 256 H20 and 192 Ascend 910C, training and serving.

    python benchmarks/mixed_fleet.py [--fleet h200=64,h20-96=256,ascend-910c=192] [--loads 0.8,1.0,1.2]
        [--spreads 0,0.15] [--seeds 0:10] [-o json]

Jobs are gangs of 1, 2, 4 or 8 devices on one type; half of them, drawn by turns, are dense training and half decode (as
work without an end). A job's rate on a type is devices times the catalog's ratio to the H20 for its class, times a
log-normal error of sigma `--spreads` for each job and type but the H20. Jobs are drawn until they ask for `--loads`
times the devices of the fleet; all are there at once, and the scheduler decides once. Schedulers:

blind: takes every device to be worth 6 (H200), 2 (910C) or 1 (H20) to every job, in order of arrival.
blind-training-first: the same, training ahead of serving.
fifo-best-type: knows each job's rates; in order of arrival, each on its best type that has room.
aware: the policy `throughput`.

h20_equivalents: the sum of the true rates of what runs, over the rate on one H20. bound: of the linear program over
shares of jobs. gap_to_bound: 1 - h20_equivalents / bound. aware_over_*: aware's over the others'. A row with the policy
`sustainable` tells the load in H20-equivalents that the fleet can bear for ever if the work of the drawn jobs arrives
evenly: with the same mix on every type, and with the best mix (both from linear programs), and their ratio.
"""

import argparse
import json
import platform
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import highspy
import numpy

import scheduler
from scheduler.config import load_catalog
from scheduler.model.accelerators import Catalog, WorkClass
from scheduler.model.events import Configured
from scheduler.model.jobs import Job, JobType, Measured, Option, Resources, Role, Work
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.tenants import Tenant, Tenants
from scheduler.model.workload import Arrival, Workload
from scheduler.simulator.readers.fleet import cluster_of, parse_counts
from scheduler.simulator.simulate import simulate

CLASSES = (WorkClass.DENSE_TRAINING, WorkClass.DECODE)
SIZES = ((1, 0.25), (2, 0.25), (4, 0.25), (8, 0.25))
BLIND = {"h200": 6.0, "ascend-910c": 2.0, "h20-96": 1.0}
REFERENCE = "h20-96"
ENDLESS = 1e12
PER_NODE = 8
GAP = 1e-4
"""Proven distance from the optimum at which `aware` ends its search."""


def drawn(catalog: Catalog, fleet: Mapping[str, int], load: float, spread: float, seed: int) -> list[dict[str, Any]]:
    """Jobs with their class, devices and true rates by type, until they ask for `load` times the fleet."""
    draw = random.Random(seed)
    sizes, shares = zip(*SIZES, strict=True)
    found: list[dict[str, Any]] = []
    asked = 0
    while asked < load * sum(fleet.values()):
        work_class, size = CLASSES[len(found) % 2], draw.choices(sizes, shares)[0]
        rates = {}
        for name in fleet:
            accelerator = catalog.get(name)
            if accelerator is None:
                raise SystemExit(f"the catalog has no accelerator {name!r}")
            error = 1.0 if name == REFERENCE else draw.lognormvariate(0.0, spread)
            rates[name] = size * accelerator.rates[work_class].value * error
        found.append({"class": work_class, "count": size, "rates": rates})
        asked += size
    draw.shuffle(found)
    return found


def job_of(number: int, part: Mapping[str, Any], believed: Mapping[str, float], priority: int) -> Job:
    count = part["count"]
    measured = tuple(Measured(accelerator=name, count=count, rate=rate) for name, rate in believed.items())
    options = tuple(Option(accelerator=name, counts=(count,)) for name in believed)
    return Job(
        name=f"job-{number}",
        type=JobType.TRAINING if part["class"] is WorkClass.DENSE_TRAINING else JobType.BATCH,
        tenant="all",
        priority=priority,
        roles=(Role(entrypoint=("run",), resources=Resources(options=options)),),
        work=Work(work_class=part["class"], amount=ENDLESS, measured=measured),
    )


def total(catalog: Catalog, fleet: Mapping[str, int], jobs: Sequence[Mapping[str, Any]], scheduler_name: str) -> float:
    """H20-equivalents that run after one decision."""
    blind = scheduler_name.startswith("blind")
    policy = {"aware": "throughput", "blind-training-first": "priority"}.get(scheduler_name, "fifo-best-type")
    arrivals = []
    for number, part in enumerate(jobs):
        believed = {name: BLIND[name] * part["count"] for name in fleet} if blind else part["rates"]
        first = scheduler_name == "blind-training-first" and part["class"] is WorkClass.DENSE_TRAINING
        arrivals.append(Arrival(at_us=0, job=job_of(number, part, believed, 900 if first else 500), user="user"))
    config = Configured(
        catalog,
        cluster_of(fleet, catalog, PER_NODE),
        Tenants(tenants=(Tenant(name="all"),)),
        Rules(),
        Policy(name=policy, gap=GAP),
    )
    state = simulate(config, Workload(name="mixed", arrivals=tuple(arrivals)), until_us=1).state
    running = [(job.number, job.attempts[-1].allocation.chosen[0].accelerator) for job in state.jobs if job.attempts]
    return sum(jobs[number]["rates"][name] for number, name in running)


def _program(jobs: Sequence[Mapping[str, Any]], fleet: Mapping[str, int]) -> tuple[highspy.Highs, list[str]]:
    """Shares of each (job, type), job after job; a row of devices for each type."""
    names, solver = list(fleet), highspy.Highs()
    solver.setOptionValue("output_flag", False)
    for part in jobs:
        for name in names:
            solver.addVar(0.0, highspy.kHighsInf)
            solver.changeColCost(solver.getNumCol() - 1, -part["rates"][name])
    for place, name in enumerate(names):
        index = numpy.arange(place, len(jobs) * len(names), len(names), dtype=numpy.int32)
        solver.addRow(-highspy.kHighsInf, fleet[name], len(jobs), index, numpy.array([float(p["count"]) for p in jobs]))
    return solver, names


def bound_of(jobs: Sequence[Mapping[str, Any]], fleet: Mapping[str, int]) -> float:
    """The most that shares of jobs are worth: each job at most once, types at most full."""
    solver, names = _program(jobs, fleet)
    for number in range(len(jobs)):
        index = numpy.arange(number * len(names), (number + 1) * len(names), dtype=numpy.int32)
        solver.addRow(-highspy.kHighsInf, 1.0, len(names), index, numpy.ones(len(names)))
    solver.run()
    return -float(solver.getInfo().objective_function_value)


def sustainable(jobs: Sequence[Mapping[str, Any]], fleet: Mapping[str, int]) -> tuple[float, float]:
    """H20-equivalents a second of the same mix on every type, and of the best mix: training and serving in equal parts.

    Each class brings half of the work, spread over its jobs by their devices. The same mix: a type that gives every
    job its part of the work needs the time sum(part / rate); its devices then do one over that. The best mix: the
    largest L for which some shares of time give every job `part * L`.
    """
    of_class = {kind: sum(p["count"] for p in jobs if p["class"] is kind) for kind in CLASSES}
    parts = [p["count"] / of_class[p["class"]] / len(CLASSES) for p in jobs]
    same = 0.0
    for name, devices in fleet.items():
        seconds = sum(part * p["count"] / p["rates"][name] for part, p in zip(parts, jobs, strict=True))
        same += devices / seconds
    solver, names = _program(jobs, fleet)
    columns = len(jobs) * len(names)
    solver.changeColsCost(columns, numpy.arange(columns, dtype=numpy.int32), numpy.zeros(columns))
    solver.addVar(0.0, highspy.kHighsInf)
    solver.changeColCost(columns, -1.0)
    for number, (part, p) in enumerate(zip(parts, jobs, strict=True)):
        index = numpy.arange(number * len(names), (number + 1) * len(names), dtype=numpy.int32)
        value = numpy.array([p["rates"][name] for name in names])
        row = numpy.append(index, numpy.int32(columns)), numpy.append(value, -part)
        solver.addRow(0.0, highspy.kHighsInf, len(names) + 1, *row)
    solver.run()
    return same, -float(solver.getInfo().objective_function_value)


SCHEDULERS = ("blind", "blind-training-first", "fifo-best-type", "aware")


def measure(catalog: Catalog, fleet: Mapping[str, int], load: float, spread: float, seed: int) -> list[dict[str, Any]]:
    jobs = drawn(catalog, fleet, load, spread, seed)
    found = {name: total(catalog, fleet, jobs, name) for name in SCHEDULERS}
    bound = bound_of(jobs, fleet)
    same, best = sustainable(jobs, fleet)
    shared = {"load": load, "spread": spread, "seed": seed, "jobs": len(jobs), "bound": bound}
    rows = [
        {"policy": name, **shared, "h20_equivalents": value, "gap_to_bound": 1.0 - value / bound}
        for name, value in found.items()
    ]
    rows[-1] |= {f"aware_over_{name}": found["aware"] / found[name] for name in SCHEDULERS[:-1]}
    rows.append({"policy": "sustainable", **shared, "same_mix": same, "best_mix": best, "best_over_same": best / same})
    return rows


def means(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Over the seeds, by load, spread and policy."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["load"], row["spread"], row["policy"]), []).append(row)
    means_of: list[dict[str, Any]] = []
    for (load, spread, policy), group in found.items():
        numbers = [key for key in group[0] if key not in ("load", "spread", "policy", "seed")]
        mean = {key: float(numpy.mean([row[key] for row in group])) for key in numbers}
        least = {f"{key}_min": min(row[key] for row in group) for key in numbers if "_over_" in key}
        means_of.append({"policy": policy, "load": load, "spread": spread, "seeds": len(group), **mean, **least})
    return means_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleet", default="h200=64,h20-96=256,ascend-910c=192")
    parser.add_argument("--loads", default="0.8,1.0,1.2")
    parser.add_argument("--spreads", default="0,0.15")
    parser.add_argument("--seeds", default="0:10", help="FIRST:LAST")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    catalog, fleet = load_catalog(), parse_counts(given.fleet)
    first, _, last = given.seeds.partition(":")
    sweep = [(float(load), float(spread)) for spread in given.spreads.split(",") for load in given.loads.split(",")]
    seeds = range(int(first), int(last or int(first) + 1))
    rows = [row for load, spread in sweep for seed in seeds for row in measure(catalog, fleet, load, spread, seed)]
    if given.output == "json":
        machine = f"{platform.platform()}, {platform.processor() or platform.machine()}"
        versions = {"dualtrack": scheduler.__version__, "python": platform.python_version(), "numpy": numpy.__version__}
        versions["highs"] = highspy.Highs().version()
        found = {"schema": "dualtrack/v1", "command": " ".join(sys.argv), "machine": machine, "versions": versions}
        print(json.dumps(found | {"results": means(rows) + rows}, indent=1))
        return
    print("load spread policy                    H20-eq  to bound %   aware over blind, training first, fifo")
    for row in means(rows):
        if row["policy"] == "sustainable":
            text = f"{row['best_mix']:8.1f}  against {row['same_mix']:.1f} of the same mix: {row['best_over_same']:.3f}"
        else:
            over = (
                "  ".join(f"{row[f'aware_over_{n}']:.3f}" for n in SCHEDULERS[:-1]) if row["policy"] == "aware" else ""
            )
            text = f"{row['h20_equivalents']:8.1f}  {100 * row['gap_to_bound']:9.3f}    {over}"
        print(f"{row['load']:4.1f} {row['spread']:6.2f} {row['policy']:22} {text}")


if __name__ == "__main__":
    main()
