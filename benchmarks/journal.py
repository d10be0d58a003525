"""How fast the journal makes events durable, and how fast it gives them back.

    python benchmarks/journal.py [--journal PLACE] [--records 20000] [--batches 1,10,100,1000] [--seconds 5] [-o json]

PLACE is a file or a URL as the service takes it; it has to be empty. Without it, a SQLite file in a temporary folder
(whose disk is then what is measured: a memory file system would flatter). One row per size of batch: commits and events
per second, and how long one commit takes. One row for reading: events per second, verified. Events are submissions of a
small job and reports of progress, half each.
"""

import argparse
import itertools
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import msgspec
import sqlalchemy

import scheduler
from scheduler.journal.store import SqlJournal, open_journal
from scheduler.model.events import Actor, AttemptProgressed, Event, JobSubmitted, Record
from scheduler.model.jobs import Job, JobType, Option, Resources, Role, Work


def events() -> Iterator[Event]:
    options = (Option(accelerator="h200", counts=(4, 8)), Option(accelerator="h20-96", counts=(8, 16, 32)))
    role = Role(entrypoint=("python", "train.py", "--epochs", "3"), resources=Resources(options=options))
    actor = Actor("ada", "search/ranking", True)
    for n in itertools.count():
        job = Job(name=f"train-{n}", type=JobType.TRAINING, roles=(role,), tenant=actor.tenant, work=Work(amount=1e4))
        yield JobSubmitted(n, f"{n:016x}", job, actor, key=f"key-{n}", digest=f"{n:064x}")
        yield AttemptProgressed(n, 1, 1, n + 1, n * 0.25, n * 0.125, 3.5, 2.0 / (n + 1))


def write(
    journal: SqlJournal, epoch: int, source: Iterator[Event], size: int, limit: int, seconds: float
) -> dict[str, Any]:
    """Commit batches of `size` until `limit` events or `seconds` have passed."""
    seq, took, start = journal.head, [], time.perf_counter()
    first = seq
    while seq - first < limit and time.perf_counter() - start < seconds:
        batch = [Record(seq + n, epoch, 1_700_000_000_000_000 + seq + n, next(source)) for n in range(1, size + 1)]
        before = time.perf_counter()
        journal.append(batch)
        took.append(time.perf_counter() - before)
        seq += size
    took.sort()
    busy = sum(took)
    return {
        "workload": "write",
        "batch": size,
        "commits": len(took),
        "commits_per_s": round(len(took) / busy, 1),
        "events_per_s": round((seq - first) / busy, 1),
        "commit_ms_p50": round(1000 * statistics.median(took), 3),
        "commit_ms_p99": round(1000 * took[int(0.99 * (len(took) - 1))], 3),
        "commit_ms_max": round(1000 * took[-1], 3),
    }


def read(journal: SqlJournal) -> dict[str, Any]:
    start = time.perf_counter()
    count = sum(1 for _ in journal.read())
    took = time.perf_counter() - start
    return {"workload": "read", "events": count, "events_per_s": round(count / took, 1), "wall_s": round(took, 3)}


def measure(place: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    journal = open_journal(place)
    try:
        if journal.head:
            raise SystemExit("the journal is not empty; name another place")
        epoch, source = journal.lead(), events()
        sizes = [int(size) for size in args.batches.split(",")]
        rows = [write(journal, epoch, source, size, args.records, args.seconds) for size in sizes]
        return [*rows, read(journal)]
    finally:
        journal.close()


def machine() -> dict[str, Any]:
    return {"system": platform.system(), "arch": platform.machine(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the journal.")
    parser.add_argument("--journal", default="", help="an empty file or URL; default: SQLite in a temporary folder")
    parser.add_argument("--records", type=int, default=20_000, help="events per size of batch, at most")
    parser.add_argument("--batches", default="1,10,100,1000", help="sizes of batch")
    parser.add_argument("--seconds", type=float, default=5.0, help="per size of batch, at most")
    parser.add_argument("-o", "--output", choices=["json", "table"], default="table")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dualtrack-journal-") as folder:
        rows = measure(args.journal or str(Path(folder) / "journal.db"), args)
    versions = {
        "dualtrack": scheduler.__version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "sqlalchemy": sqlalchemy.__version__,
        "msgspec": msgspec.__version__,
    }
    if args.output == "json":
        kind = "postgresql" if "://" in args.journal and "sqlite" not in args.journal else "sqlite"
        for row in rows:
            row["database"] = kind
        document = {"schema": "dualtrack/v1", "command": " ".join(sys.argv), "machine": machine()}
        print(json.dumps({**document, "versions": versions, "results": rows}))
        return
    for row in rows:
        print("  ".join(f"{key}={value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
