"""How many gangs a second placement finds nodes for in a large fleet of racks, on one core.

    python benchmarks/gang_placement.py [--nodes 10000] [--rack-nodes 32] [--strategies topology,best-fit]
                                        [--decisions 50000] [--fill 0.8] [--seed 0] [-o json]

The fleet has nodes of eight devices. Gangs of 1, 2, 4 or 8 devices on one node, and of 16 to 256 devices over several,
come in the shares that `--sizes` gives; first they fill the fleet to `--fill`, then each decision places one gang, and
the gang that was placed longest ago leaves while more than that is taken, so that a decision goes with about one
release. A decision is the search, the booking of the devices and the release. One row per strategy, the best of
`--repeat` runs; `nodes_per_gang` and `racks_per_gang` are means over gangs of more than one node.
"""

import argparse
import json
import platform
import random
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy

import scheduler
from scheduler.config import load_catalog
from scheduler.model.allocations import Grant
from scheduler.model.cluster import Cell, Cluster, Pool
from scheduler.placement import STRATEGIES, Demand, Fleet, Room, place, strategy_named

ACCELERATOR = "h200"
DEVICES_PER_NODE = 8
SIZES = "1:0.40,2:0.15,4:0.15,8:0.20,16:0.04,32:0.03,64:0.02,256:0.01"


def fleet_of(nodes: int, rack_nodes: int) -> Fleet:
    pool = Pool(
        name="pool",
        accelerator=ACCELERATOR,
        nodes=nodes,
        devices_per_node=DEVICES_PER_NODE,
        cpu_milli=192_000,
        memory_mib=2_000_000,
        domain_nodes=rack_nodes,
    )
    return Fleet(Cluster(name="bench", cells=(Cell(name="cell", executor="fake", pools=(pool,)),)), load_catalog())


def gangs(count: int, sizes: str, seed: int) -> list[Demand]:
    draw = random.Random(seed)
    pairs = [part.split(":") for part in sizes.split(",")]
    drawn = draw.choices([int(size) for size, _ in pairs], [float(share) for _, share in pairs], k=count)
    known = {size: Demand(role=0, accelerator=ACCELERATOR, count=size) for size in set(drawn)}
    return [known[size] for size in drawn]


def measure(fleet: Fleet, demands: Sequence[Demand], policy: str, fill: float, seed: int) -> dict[str, Any]:
    room, strategy = Room(fleet), strategy_named(policy, fleet, seed)
    limit = int(fill * numpy.bitwise_count(fleet.devices).sum())
    running: deque[tuple[int, tuple[Grant, ...]]] = deque()
    held = turn = 0
    while held < limit:  # until the fleet is as full as it is to stay
        grants = place(room, 0, (demands[turn % len(demands)],), strategy)
        if grants is None:
            break
        room.take(grants)
        running.append((demands[turn % len(demands)].count, grants))
        held += demands[turn % len(demands)].count
        turn += 1
    shuffled = list(running)
    random.Random(seed).shuffle(shuffled)  # so that those to leave lie scattered
    running = deque(shuffled)
    found: list[tuple[Grant, ...]] = []
    failed = releases = 0
    began = time.process_time()
    for demand in demands:
        grants = place(room, 0, (demand,), strategy)
        if grants is None:
            failed += 1
        else:
            room.take(grants)
            running.append((demand.count, grants))
            found.append(grants)
            held += demand.count
        while held > limit:
            size, old = running.popleft()
            room.give(old)
            held -= size
            releases += 1
    cpu_s = time.process_time() - began
    several = [grants for grants in found if len(grants) > 1]
    racks = [len({int(fleet.domain[grant.node]) for grant in grants}) for grants in several]
    return {
        "strategy": policy,
        "nodes": len(fleet.pool),
        "racks": int(fleet.domain.max()) + 1,
        "decisions": len(demands),
        "releases": releases,
        "failed": failed,
        "decisions_per_s": len(demands) / cpu_s,
        "cpu_s": cpu_s,
        "nodes_per_gang": fmean(len(grants) for grants in several) if several else 0.0,
        "racks_per_gang": fmean(racks) if racks else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--rack-nodes", type=int, default=32)
    parser.add_argument("--strategies", default="topology,best-fit", help=f"of {', '.join(STRATEGIES)}")
    parser.add_argument("--decisions", type=int, default=50_000)
    parser.add_argument("--sizes", default=SIZES, help="devices:share of the gangs")
    parser.add_argument("--fill", type=float, default=0.8)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    fleet = fleet_of(given.nodes, given.rack_nodes)
    demands = gangs(given.decisions, given.sizes, given.seed)
    found = []
    for policy in given.strategies.split(","):
        runs = [measure(fleet, demands, policy, given.fill, given.seed) for _ in range(given.repeat)]
        found.append(max(runs, key=lambda run: float(run["decisions_per_s"])))
        if given.output == "table":
            print(" ".join(f"{key}={value}" for key, value in found[-1].items()))
    if given.output == "json":
        machine = f"{platform.platform()}, {platform.processor() or platform.machine()}"
        versions = {"dualtrack": scheduler.__version__, "python": platform.python_version(), "numpy": numpy.__version__}
        head = {"schema": "dualtrack/v1", "command": " ".join(sys.argv), "machine": machine, "versions": versions}
        print(json.dumps({**head, "results": found}, indent=1))


if __name__ == "__main__":
    main()
