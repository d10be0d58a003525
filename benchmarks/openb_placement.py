"""How much of a fleet each placement strategy can fill: the published comparison on Alibaba's trace "openb".

    python benchmarks/openb_placement.py --nodes F --pods F... --policies random,dot-product,best-fit,fgd
                                         [--seeds 42:52] [--expected F] [-o json]

The method is that of Weng et al. (USENIX ATC 2023): random pods are cloned or removed until their demand for devices is
130 % of the fleet, all are shuffled with the seed and placed one by one; none ever leaves, and one that finds no place
is dropped. `allocated_percent` is what is allocated in the end, in per cent of the fleet's devices;
`allocated_percent_curve` the same when 0, 1, 2 ... per cent of the fleet have been asked for. One row per list, policy
and seed in `results`; in `means` one per list and policy, beside the published mean if `--expected` names the table of
the published runs. The pods' own shapes are the target workload of `fgd`.
"""

import argparse
import csv
import gzip
import json
import platform
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy

import scheduler
from scheduler.placement import STRATEGIES, Demand, Fleet, Room, place, strategy_named
from scheduler.simulator.readers.openb import (
    OpenbNode,
    OpenbPod,
    demand_of,
    openb_catalog,
    openb_cluster,
    read_openb_nodes,
    read_openb_pods,
)

LOAD = 1.3
PUBLISHED_NAMES = {"random": "01-Random", "dot-product": "02-DotProd", "best-fit": "05-BestFit", "fgd": "06-FGD"}


def tuned(pods: Sequence[OpenbPod], devices: int, seed: int) -> list[OpenbPod]:
    """Random pods cloned, or removed, until their demand is `LOAD` times the devices; in an order of the seed."""
    draw = random.Random(seed)
    found = list(pods)
    draw.shuffle(found)
    demand, wanted = sum(pod.demand for pod in found), LOAD * devices * 1000
    while demand < wanted:
        found.append(pods[draw.randrange(len(pods))])
        demand += found[-1].demand
    while found and demand - found[-1].demand > wanted:
        demand -= found.pop().demand
    draw.shuffle(found)
    return found


def fill(fleet: Fleet, pods: Sequence[OpenbPod], target: Sequence[Demand], policy: str, seed: int) -> dict[str, Any]:
    """One run: how much is allocated in the end and on the way, in per cent of the fleet's devices."""
    room = Room(fleet)
    strategy = strategy_named(policy, fleet, seed, target)
    total = int(numpy.bitwise_count(fleet.devices).sum()) * 1000
    asked = allocated = placed = 0
    curve = [0.0]
    known: dict[tuple[object, ...], Demand | None] = {}
    began = time.perf_counter()
    for pod in pods:
        key = (pod.devices, pod.thousandths, pod.cpu_milli, pod.memory_mib, pod.accelerators)
        if key not in known:
            known[key] = demand_of(pod, fleet.catalog)
        demand = known[key]
        grants = place(room, 0, [demand], strategy) if demand is not None else None
        if grants is not None:
            room.take(grants)
            allocated += pod.demand
            placed += 1
        asked += pod.demand
        while asked >= len(curve) * total / 100:
            curve.append(round(100 * allocated / total, 2))
    wall_s = time.perf_counter() - began
    return {
        "allocated_percent": round(100 * allocated / total, 3),
        "allocated_percent_curve": curve,
        "pods": len(pods),
        "placed": placed,
        "decisions_per_s": len(pods) / wall_s,
        "wall_s": wall_s,
    }


def rows(nodes: Sequence[OpenbNode], path: Path, policies: Sequence[str], seeds: range) -> Iterator[dict[str, Any]]:
    fleet = Fleet(openb_cluster(nodes), openb_catalog(nodes))
    pods = read_openb_pods(path)
    target = [demand for pod in pods if (demand := demand_of(pod, fleet.catalog)) is not None]
    workload = path.name.partition(".")[0]
    devices = sum(node.devices for node in nodes)
    for policy in policies:
        for seed in seeds:
            run = fill(fleet, tuned(pods, devices, seed), target, policy, seed)
            yield {"workload": workload, "policy": policy, "seed": seed, **run}


def means_of(found: Sequence[dict[str, Any]], expected: Path | None) -> Iterator[dict[str, Any]]:
    for workload, policy in dict.fromkeys((row["workload"], row["policy"]) for row in found):
        runs = [row["allocated_percent"] for row in found if (row["workload"], row["policy"]) == (workload, policy)]
        mean = {"workload": workload, "policy": policy, "runs": len(runs), "allocated_percent": round(fmean(runs), 3)}
        if expected is not None:
            mean["published_percent"] = published(expected, workload, policy)
        yield mean


def published(path: Path, workload: str, policy: str) -> float | None:
    """The mean over the published runs at the same demand, or None where there are none."""
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as stream:
        found = [
            float(row["130"])
            for row in csv.DictReader(stream)
            if row["workload"] == workload and row["sc_policy"] == PUBLISHED_NAMES.get(policy)
        ]
    return round(fmean(found), 3) if found else None


def seeds_of(text: str) -> range:
    first, _, last = text.partition(":")
    return range(int(first), int(last or int(first) + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=Path, required=True)
    parser.add_argument("--pods", type=Path, required=True, nargs="+")
    parser.add_argument("--policies", default="random,dot-product,best-fit,fgd", help=f"of {', '.join(STRATEGIES)}")
    parser.add_argument("--seeds", type=seeds_of, default=range(42, 52), help="first:last, the last excluded")
    parser.add_argument("--expected", type=Path, help="the published runs, to stand beside")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    policies = given.policies.split(",")
    if unknown := [name for name in policies if name not in STRATEGIES]:
        parser.error(f"no strategy is called {unknown[0]}; there are {', '.join(STRATEGIES)}")
    nodes = read_openb_nodes(given.nodes)
    found = [row for path in given.pods for row in rows(nodes, path, policies, given.seeds)]
    means = list(means_of(found, given.expected))
    if given.output == "table":
        for mean in means:
            print(" ".join(f"{key}={value}" for key, value in mean.items()))
    if given.output == "json":
        machine = f"{platform.platform()}, {platform.processor() or platform.machine()}"
        versions = {"dualtrack": scheduler.__version__, "python": platform.python_version(), "numpy": numpy.__version__}
        head = {"schema": "dualtrack/v1", "command": " ".join(sys.argv), "machine": machine, "versions": versions}
        print(json.dumps({**head, "results": found, "means": means}, indent=1))


if __name__ == "__main__":
    main()
