"""How fast the simulator replays a workload: jobs and events per second of wall-clock time, and memory.

    python benchmarks/simulate_speed.py [--workload F] [--nodes 1250] [--jobs 100000] [--load 0.8] [--cycle-s 30]
                                        [--policies priority,fifo-best-type] [--seed 0] [-o json]

The fleet is `--nodes` nodes of eight devices, shared evenly among the accelerators that the workload names. Without a
file the workload is generated: jobs of 1, 2, 4 or 8 devices on h200 or h20-96, lengths log-normal with a mean of an
hour, arriving so that they ask for `--load` of the fleet. `--cycle-s` is the least virtual time between two cycles of
the scheduler. One row per policy.
"""

import argparse
import json
import platform
import random
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import msgspec
import numpy

import scheduler
from scheduler.config import load_catalog, load_workload
from scheduler.model.cluster import Cell, Cluster, Pool
from scheduler.model.events import Configured
from scheduler.model.jobs import Job, JobType, Measured, Option, Resources, Role, Work
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.tenants import Tenant, Tenants
from scheduler.model.units import to_us
from scheduler.model.workload import Arrival, Workload
from scheduler.simulator.execution import Overheads
from scheduler.simulator.simulate import simulate

DEVICES_PER_NODE = 8
MEAN_LENGTH_S = 3600.0
SIZES = ((1, 0.7), (2, 0.1), (4, 0.1), (8, 0.1))
TENANTS = ("search", "vision", "speech", "games")


def generated(jobs: int, nodes: int, load: float, seed: int) -> Workload:
    """A stream of simple jobs: no checkpoints, no dependencies, two options each."""
    draw = random.Random(seed)
    sizes, weights = zip(*SIZES, strict=True)
    demand = sum(size * weight for size, weight in SIZES) * MEAN_LENGTH_S
    gap_s = demand / (nodes * DEVICES_PER_NODE * load)
    arrivals, now_s = [], 0.0
    for n in range(jobs):
        now_s += draw.expovariate(1 / gap_s)
        size = draw.choices(sizes, weights)[0]
        length_s = draw.lognormvariate(0.0, 1.0) * MEAN_LENGTH_S / 1.6487
        arrivals.append(Arrival(at_us=to_us(now_s), job=simple_job(n, size, length_s, draw), user=f"user-{n % 40}"))
    return Workload(name="generated", arrivals=tuple(arrivals))


def simple_job(n: int, size: int, length_s: float, draw: random.Random) -> Job:
    measured = tuple(Measured(accelerator=name, count=size, rate=1.0) for name in ("h200", "h20-96"))
    options = tuple(Option(accelerator=part.accelerator, counts=(size,)) for part in measured)
    return Job(
        name=f"job-{n}",
        type=JobType.TRAINING,
        roles=(Role(entrypoint=("train",), resources=Resources(options=options)),),
        tenant=draw.choice(TENANTS),
        priority=draw.choice((300, 500, 700)),
        work=Work(amount=float(round(length_s)), measured=measured),
    )


def configured(workload: Workload, nodes: int, policy: str) -> Configured:
    """Nodes shared evenly among the accelerators that the workload names, in one cell, without quota."""
    roles = [role for arrival in workload.arrivals for role in arrival.job.roles]
    names = sorted({option.accelerator for role in roles for option in role.resources.options})
    pools = tuple(
        Pool(
            name=f"pool-{name}",
            accelerator=name,
            nodes=nodes // len(names) + (place < nodes % len(names)),
            devices_per_node=DEVICES_PER_NODE,
            cpu_milli=192_000,
            memory_mib=2_000_000,
        )
        for place, name in enumerate(names)
    )
    cluster = Cluster(name="bench", cells=(Cell(name="cell", executor="fake", pools=pools),))
    known: dict[str, None] = {}
    for arrival in workload.arrivals:
        parts = arrival.job.tenant.split("/")
        known.update((("/".join(parts[: n + 1])), None) for n in range(len(parts)))
    tenants = Tenants(tenants=tuple(Tenant(name=name) for name in sorted(known) if name))
    return Configured(load_catalog(), cluster, tenants, Rules(), Policy(name=policy))


def measure(workload: Workload, nodes: int, policy: str, cycle_s: float, seed: int) -> dict[str, Any]:
    overheads = Overheads(cycle_us=to_us(cycle_s))
    report = simulate(configured(workload, nodes, policy), workload, seed=seed, overheads=overheads).report
    wall_s = float(report.wall_s or 0.0)
    return {
        "workload": workload.name,
        "policy": policy,
        "seed": seed,
        "jobs": report.jobs,
        "nodes": nodes,
        "devices": nodes * DEVICES_PER_NODE,
        "cycle_s": cycle_s,
        "finished": report.finished,
        "cycles": report.cycles,
        "events": report.events,
        "jobs_per_s": report.jobs / wall_s,
        "events_per_s": report.events / wall_s,
        "wall_s": wall_s,
        "cycle_ms": msgspec.to_builtins(report.cycle_ms),
        "makespan_s": report.makespan_s,
        "utilization": report.utilization,
        "peak_rss_mib": report.peak_rss_mib,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", type=Path)
    parser.add_argument("--nodes", type=int, default=1250)
    parser.add_argument("--jobs", type=int, default=100_000, help="of a generated workload")
    parser.add_argument("--load", type=float, default=0.8, help="of a generated workload")
    parser.add_argument("--cycle-s", type=float, default=30.0)
    parser.add_argument("--policies", default="priority")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    if given.workload:
        workload = load_workload(given.workload, load_catalog())
    else:
        workload = generated(given.jobs, given.nodes, given.load, given.seed)
    rows = [measure(workload, given.nodes, name, given.cycle_s, given.seed) for name in given.policies.split(",")]
    if given.output == "json":
        machine = f"{platform.platform()}, {platform.processor() or platform.machine()}"
        versions = {"dualtrack": scheduler.__version__, "python": platform.python_version(), "numpy": numpy.__version__}
        command = " ".join(sys.argv)
        schema = "dualtrack/v1"
        found = {"schema": schema, "command": command, "machine": machine, "versions": versions, "results": rows}
        print(json.dumps(found, indent=1))
        return
    print("policy                jobs    events  cycles   wall s   jobs/s  events/s    MiB")
    for row in rows:
        print(
            f"{row['policy']:16} {row['jobs']:9} {row['events']:9} {row['cycles']:7} {row['wall_s']:8.1f}"
            f" {row['jobs_per_s']:8.0f} {row['events_per_s']:9.0f} {row['peak_rss_mib']:6.0f}"
        )


if __name__ == "__main__":
    main()
