"""How many jobs a second are decided and durably committed, through the engine's thread and the journal of the service.

    python benchmarks/admission.py [--jobs 50000] [--queues 1000] [--clients 32] [--seconds 20] [-o json]

A submission is checked against the state, folded, and acknowledged once SQLite (WAL, synchronous FULL) has it on disk;
a whole cycle decides, with the batch or soon after. The fleet has room for all jobs, so a decision is nearly always a
start. The time ends when every job is acknowledged and every decision is on disk, too. Rows:

`decision`: submissions in batches of a thousand, without a journal. `batched`: one client that has up to a thousand
submissions on their way; batches share a cycle and a commit. `clients`: `--clients` threads, each of which waits for
its job to be durable before it submits the next; those that wait together share a commit. `http`: the same over HTTP,
against a service in a process of its own, kept on one core while the clients are on the others. `http-batches`: two
clients that send 500 jobs at a time to /v1/jobs/batch, as `dualtrack submit` does with many files. Rows with clients
stop after `--seconds`; for a figure of a long queue the others go on to the end.

`peer_jobs_per_s` is Kueue's published throughput for 50,000 workloads in 1,000 queues, API server included.
"""

import argparse
import itertools
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _crowd as crowd
import _served as served

from scheduler.config import encode, load_catalog
from scheduler.engine import State, intake
from scheduler.journal.memory import MemoryDisk, MemoryJournal
from scheduler.journal.store import open_journal
from scheduler.model.cluster import Cell, Cluster, Pool
from scheduler.model.commands import Command
from scheduler.model.events import Actor, Configured, EpochStarted, Event, Record
from scheduler.model.jobs import Job
from scheduler.model.lifecycle import JobState
from scheduler.model.plan import Plan
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.ports import JournalStore
from scheduler.service.daemon import spare_collector
from scheduler.service.loop import Change, EngineLoop, Proposal
from scheduler.service.modes import RunMode
from scheduler.service.rehearsal import rehearse

PUBLISHED_JOBS_PER_S = 42.0
WINDOW = 1_000
AT_ONCE = 500
"""Jobs of one request to /v1/jobs/batch."""

DEVICES = 8
SHARES = {"h200": 0.5, "h20-96": 0.3, "ascend-910c": 0.2}


class Silence:
    """A cell whose executor takes every command and never reports."""

    def send(self, commands: Sequence[Command]) -> None:
        pass

    def silent_s(self) -> float:
        return 0.0

    def relist(self) -> None:
        pass


class Unwatched:
    """No metrics: what the service counts is not what is measured."""

    def before(self, state: State, event: Event, now_us: int) -> None:
        pass

    def after(self, state: State, event: Event, now_us: int) -> None:
        pass

    def planned(self, policy: str, plan: Plan) -> None:
        pass

    def cycled(self, cycle_s: float, commit_s: float) -> None:
        pass


class WallClock:
    def now_us(self) -> int:
        return time.time_ns() // 1000


class Discarded(MemoryJournal):
    """Takes records and keeps nothing."""

    def append(self, records: Sequence[Record]) -> None:
        pass

    def save_checkpoint(self, seq: int, image: bytes) -> None:
        pass


def configured(jobs: int, queues: int) -> Configured:
    """One cell with about twice the devices that the jobs ask for, and as many tenants as queues."""
    nodes = {kind: max(4, round(share * jobs * 8.6 / DEVICES)) for kind, share in SHARES.items()}
    pools = tuple(
        Pool(
            name=kind, accelerator=kind, nodes=count, devices_per_node=DEVICES, cpu_milli=192_000, memory_mib=2_000_000
        )
        for kind, count in nodes.items()
    )
    devices = {kind: count * DEVICES for kind, count in nodes.items()}
    cluster = Cluster(name="bench", cells=(Cell(name="cell", executor="fake", pools=pools),))
    return Configured(load_catalog(), cluster, crowd.tenants(queues, devices, slack=4.0), Rules(), Policy())


def changes(config: Configured, jobs: int) -> Iterator[Change]:
    ids = (f"{n:016x}" for n in itertools.count())
    return (_change(job, actor, ids) for job, actor in crowd.jobs(jobs, config.tenants, 0, tuple(SHARES)))


def _change(spec: Job, actor: Actor, ids: Iterator[str]) -> Change:
    def propose(state: State, now_us: int) -> Proposal:
        events = intake.submission(state, spec, actor, lambda: next(ids), now_us)
        return Proposal(events, lambda later: later.jobs[events[0].job].state.value)

    return propose


def opened(config: Configured, journal: JournalStore, epoch: int) -> EngineLoop:
    """A service's engine at its beginning: the configuration and the epoch are on record."""
    state = State.new(config)
    loop = EngineLoop(
        state, seq=1, epoch=epoch, journal=journal, clock=WallClock(), mode=RunMode.ENFORCE, observer=Unwatched(),
        publish=lambda records: None,
    )  # fmt: skip
    journal.append([Record(1, epoch, 0, config)])
    loop.start({"cell": Silence()}, [EpochStarted(epoch)], ())
    return loop


def batched(loop: EngineLoop, given: Iterator[Change]) -> None:
    """All of them from one client, a thousand or two on their way at once."""
    waiting: deque[Future[str]] = deque()
    for change in given:
        waiting.append(loop.offer(change))
        if len(waiting) >= 2 * WINDOW:
            while len(waiting) > WINDOW:
                waiting.popleft().result(timeout=600)
    for future in waiting:
        future.result(timeout=600)


def by_clients(loop: EngineLoop, given: Iterator[Change], clients: int, seconds: float) -> None:
    """Each client waits for its own job before it submits the next."""
    lock = threading.Lock()
    deadline = time.perf_counter() + seconds

    def client() -> None:
        while time.perf_counter() < deadline:
            with lock:
                change = next(given, None)
            if change is None:
                return
            loop.change(change)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def undecided(state: State) -> int:
    """How many jobs wait without having been told why."""
    waiting = state.columns.in_state(JobState.WAITING)
    return int((state.columns.job("reason")[waiting] == 0).sum())


def decided(loop: EngineLoop) -> list[str]:
    """The jobs' states once each is started or has a reason to wait. A question is answered from what is durable."""
    while loop.ask(undecided):
        time.sleep(0.005)
    return loop.ask(lambda state: [job.state.value for job in state.jobs])


def over_http(workload: str, given: argparse.Namespace) -> dict[str, Any]:
    """A service of its own, and clients that each wait for their answer."""
    config = configured(given.jobs, given.queues)
    forms = [encode(job) for job, _ in crowd.jobs(given.jobs, config.tenants, 0, tuple(SHARES))]
    many = workload == "http-batches"
    clients = 2 if many else given.clients
    with served.Served(config) as service:
        token = service.endpoint.token
        if many:
            items = [{"job": form, "key": f"key-{n}"} for n, form in enumerate(forms)]
            parts = (served.body_of({"items": items[n : n + AT_ONCE]}) for n in range(0, len(items), AT_ONCE))
            requests = [served.request("/v1/jobs/batch", token, body) for body in parts]
        else:
            bodies = enumerate(map(served.body_of, forms))
            requests = [served.request("/v1/jobs", token, body, f"key-{n}") for n, body in bodies]
        found = served.measured(service, requests, clients, given.seconds)
        jobs = service.replayed()
    return {
        "workload": workload,
        "policy": config.policy.name,
        "jobs": len(jobs),
        "queues": given.queues,
        "devices": config.cluster.device_count(),
        "clients": clients,
        "started": sum(job.state.value == "starting" for job in jobs),
        "wall_s": round(found["took"], 3),
        "jobs_per_s": round(len(jobs) / found["took"], 1),
        "server_cpu_s_per_1000": round(1000 * found["server_cpu_s"] / len(jobs), 3),
        "client_cpu_s_per_1000": round(1000 * found["client_cpu_s"] / len(jobs), 3),
        "peer_jobs_per_s": PUBLISHED_JOBS_PER_S,
    }


def measure(workload: str, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if workload.startswith("http"):
        return over_http(workload, given)
    config = configured(given.jobs, given.queues)
    if workload == "decision":
        journal: Any = Discarded(MemoryDisk())
    else:
        journal = open_journal(folder / f"{workload}.db")
    source = iter(list(changes(config, given.jobs)))
    rehearse(config)
    loop = opened(config, journal, journal.lead())
    spare_collector()
    cpu, began = time.process_time(), time.perf_counter()
    if workload == "clients":
        by_clients(loop, source, given.clients, given.seconds)
    else:
        batched(loop, source)
    states = decided(loop)
    took, used = time.perf_counter() - began, time.process_time() - cpu
    loop.stop()
    journal.close()
    return {
        "workload": workload,
        "policy": config.policy.name,
        "jobs": len(states),
        "queues": given.queues,
        "devices": config.cluster.device_count(),
        "clients": given.clients if workload == "clients" else 1,
        "started": sum(state == "starting" for state in states),
        "wall_s": round(took, 3),
        "jobs_per_s": round(len(states) / took, 1),
        "cpu_s_per_1000": round(1000 * used / len(states), 3),
        "peer_jobs_per_s": PUBLISHED_JOBS_PER_S,
        "peak_rss_mib": crowd.peak_rss_mib(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--queues", type=int, default=1_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a row with clients, at most")
    parser.add_argument("--rows", default="decision,batched,clients,http,http-batches")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dualtrack-admission-") as folder:
        rows = [measure(name, given, Path(folder)) for name in given.rows.split(",")]
    crowd.show(rows, given.output)


if __name__ == "__main__":
    main()
