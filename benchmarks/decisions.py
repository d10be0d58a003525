"""Single decisions at the sizes with which the makers of KAI test their scheduler, without an API server.

    python benchmarks/decisions.py [--nodes 500] [--gang 2000] [--verdict-nodes 12500] [--repeat 5] [-o json]

`fill`: as many one-device jobs as there are devices on `--nodes` empty nodes of eight, one cycle. `reclaim`: the same
fleet full of jobs that borrow, and a gang of `--gang` devices within its nominal quota, one cycle that names the
victims. `verdict`: every reason, for each of its options, of a job that no fleet of this size can ever run, asked about
while `--verdict-nodes` nodes are full. Each is done `--repeat` times on a fresh or unchanged state; `decide_ms` is the
median. `peer_ms` are KAI's published figures, with the API server that its tests run against.
"""

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _crowd as crowd

from scheduler.config import load_catalog
from scheduler.engine import Engine, State
from scheduler.engine.explain import OptionReport, explain_spec
from scheduler.engine.records import JobRecord
from scheduler.model.cluster import Cell, Cluster, Pool
from scheduler.model.events import Actor, Allocated, AttemptStarted, Configured, EpochStarted, JobSubmitted
from scheduler.model.jobs import Job, JobType, Option, Resources, Role
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.tenants import Quota, Tenant, Tenants
from scheduler.model.units import US_PER_S

DEVICES = 8
HOUR_US = 3_600 * US_PER_S
PUBLISHED_MS = {"fill": 398_000.0, "reclaim": 102_000.0, "verdict": 249_000.0}


def fleet(nodes: int) -> Configured:
    """One cell of h200; `owner` has half of it as its nominal quota, `guest` borrows."""
    total = nodes * DEVICES
    pool = Pool(
        name="h", accelerator="h200", nodes=nodes, devices_per_node=DEVICES, cpu_milli=192_000, memory_mib=2_000_000
    )
    tree = Tenants(
        tenants=(
            Tenant(name="owner", quotas=(Quota(resource="h200", nominal=total, borrowing_limit=0),)),
            Tenant(name="guest", quotas=(Quota(resource="h200", nominal=0, borrowing_limit=total),)),
        )
    )
    cluster = Cluster(name="bench", cells=(Cell(name="cell", executor="fake", pools=(pool,)),))
    return Configured(load_catalog(), cluster, tree, Rules(), Policy())


def job(name: str, tenant: str, *options: Option) -> Job:
    role = Role(entrypoint=("python", "train.py"), resources=Resources(options=options))
    return Job(name=name, type=JobType.TRAINING, roles=(role,), tenant=tenant)


def engine(nodes: int) -> Engine:
    made = Engine(State.new(fleet(nodes)))
    made.fold(EpochStarted(1), 0)
    return made


def submit(made: Engine, count: int, tenant: str, size: int, now_us: int) -> None:
    spec_of = (job(f"{tenant}-{n}", tenant, Option(accelerator="h200", counts=(size,))) for n in range(count))
    for spec in spec_of:
        number = len(made.state.jobs)
        made.fold(JobSubmitted(number, f"{number:08x}", spec, Actor("ann", tenant, True)), now_us)


def full(nodes: int) -> Engine:
    """Every device runs a one-device job of the guest, long enough to be told to leave."""
    made = engine(nodes)
    submit(made, nodes * DEVICES, "guest", 1, 0)
    for event in made.decide(US_PER_S).events:
        made.fold(event, US_PER_S)
    for held in made.state.holding():
        attempt = held.attempts[-1]
        made.fold(AttemptStarted(held.number, attempt.n, attempt.epoch, 1), US_PER_S)
    return made


def timed(repeat: int, do: Callable[[], Any]) -> tuple[list[float], Any]:
    took, found = [], do()  # the first loads what is loaded once
    gc.collect()
    gc.disable()
    for _ in range(repeat):
        began = time.perf_counter()
        found = do()
        took.append(1000 * (time.perf_counter() - began))
    gc.enable()
    return took, found


def row(workload: str, took: list[float], **more: Any) -> dict[str, Any]:
    return {
        "workload": workload,
        **more,
        "repeat": len(took),
        "decide_ms": round(statistics.median(took), 2),
        "max_ms": round(max(took), 2),
        "peer_ms": PUBLISHED_MS[workload],
        "peak_rss_mib": crowd.peak_rss_mib(),
    }


def fill(nodes: int, repeat: int) -> dict[str, Any]:
    made = engine(nodes)
    submit(made, nodes * DEVICES, "guest", 1, 0)
    took, decision = timed(repeat, lambda: made.decide(US_PER_S))
    started = sum(isinstance(event, Allocated) for event in decision.events)
    return row("fill", took, devices=nodes * DEVICES, jobs=len(made.state.jobs), started=started)


def reclaim(nodes: int, gang: int, repeat: int) -> dict[str, Any]:
    made = full(nodes)
    submit(made, 1, "owner", gang, HOUR_US)
    took, decision = timed(repeat, lambda: made.decide(HOUR_US))
    victims = sum(stop.for_job == len(made.state.jobs) - 1 for stop in decision.plan.stops)
    return row("reclaim", took, devices=nodes * DEVICES, jobs=len(made.state.jobs), gang=gang, victims=victims)


def verdict(nodes: int, repeat: int) -> dict[str, Any]:
    made = full(nodes)
    total = nodes * DEVICES
    sizes = iter(range(total + DEVICES, 2 * total, DEVICES))  # another one each time: nothing is remembered

    def ask() -> tuple[OptionReport, ...]:
        wanted = Option(accelerator="h200", counts=(next(sizes),)), Option(accelerator="ascend-910c", counts=(64,))
        spec, actor = job("never", "owner", *wanted), Actor("ann", "owner", True)
        record = JobRecord(number=len(made.state.jobs), id="never", spec=spec, actor=actor, submitted_us=HOUR_US)
        return explain_spec(made.state, record, HOUR_US)

    took, reports = timed(repeat, ask)
    reasons = sum(len(report.reasons) for report in reports)
    for_ever = all(report.never for report in reports)
    return row("verdict", took, devices=total, jobs=len(made.state.jobs), reasons=reasons, for_ever=for_ever)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--gang", type=int, default=2_000)
    parser.add_argument("--verdict-nodes", type=int, default=12_500)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    rows = [fill(given.nodes, given.repeat), reclaim(given.nodes, given.gang, given.repeat)]
    crowd.show([*rows, verdict(given.verdict_nodes, given.repeat)], given.output)


if __name__ == "__main__":
    main()
