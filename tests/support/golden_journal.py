"""Writes the journals under tests/golden: `python -m tests.support.golden_journal [--shapes-only]`.

`journal-1.jsonl` is a short history with every kind of event, as the engine and its shell write it; once a release is
out it is never written again, and the next versions get files of their own. `journal-future.jsonl` goes on with a
version that nobody knows yet, `journal-future-kind.jsonl` with a kind.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from msgspec import structs

from scheduler.engine.engine import Engine
from scheduler.engine.state import State
from scheduler.journal.codec import CODEC, KIND_VERSIONS, Row, checksum
from scheduler.journal.export import to_lines
from scheduler.journal.shapes import shape_of
from scheduler.model.cluster import Foreign, NodeState
from scheduler.model.events import (
    ActionRequested,
    AttemptEnded,
    AttemptProgressed,
    AttemptStarted,
    CarriedOver,
    CellReachability,
    EpochStarted,
    Event,
    ForeignChanged,
    JobAction,
    JobSubmitted,
    JobUpdated,
    NodeStateChanged,
    Record,
    ReservationCancelled,
    ReservationMade,
    ResolvedDependency,
)
from scheduler.model.jobs import DependsOn
from scheduler.model.lifecycle import AttemptEnd
from scheduler.model.reservations import Reservation
from tests.support.histories import ALICE, a_configuration, a_job

FOLDER = Path(__file__).resolve().parent.parent / "golden"
SECOND_US = 1_000_000


class Author:
    """Lets the engine live through inputs, and writes down what a scheduler would."""

    def __init__(self) -> None:
        config = a_configuration()
        self.engine = Engine(State.new(config))
        self.now_us = SECOND_US
        self.records = [Record(1, 1, self.now_us, config)]
        self.fold(EpochStarted(1))

    def fold(self, *events: Event) -> None:
        for event in events:
            self.engine.fold(event, self.now_us)
            self.records.append(Record(len(self.records) + 1, 1, self.now_us, event))

    def after(self, seconds: int, *events: Event) -> None:
        """Time passes, something happens, the engine decides."""
        self.now_us += seconds * SECOND_US
        self.fold(*events)
        self.fold(*self.engine.decide(self.now_us).events)


def summary(state: State) -> dict[str, Any]:
    """What any later version has to find in the state as well, whatever it adds."""
    return {
        "epoch": state.epoch,
        "nodes": {state.fleet.cluster.node_name(n): state.room.state_of(n) for n in range(len(state.room.state))},
        "foreign": [[f.node, f.devices, f.owner] for f in state.foreign],
        "jobs": {
            job.id: {
                "name": job.spec.name,
                "state": job.state,
                "priority": job.priority,
                "done": job.done,
                "waited_us": job.waited_us,
                "ran_us": job.ran_us,
                "reason": job.reason and job.reason.code,
                "attempts": [
                    {
                        "cell": a.cell,
                        "chosen": [[c.accelerator, c.count] for c in a.allocation.chosen],
                        "grants": [[g.node, g.role, g.devices] for g in a.allocation.grants],
                        "allocated_us": a.allocated_us,
                        "stop": a.stop,
                        "how": a.how,
                    }
                    for a in job.attempts
                ],
            }
            for job in state.jobs
        },
    }


def _submit(job: int, name: str, after: tuple[ResolvedDependency, ...] = (), priority: int = 500) -> JobSubmitted:
    spec = structs.replace(a_job(name), priority=priority)
    return JobSubmitted(job, f"golden-{job}", spec, ALICE, f"key-{job}", f"digest-{job}", None, after)


def history() -> tuple[list[Record], State]:
    """Records with every kind of event, and the state that they lead to."""
    author = Author()
    author.after(
        1, ForeignChanged((Foreign(node="big-1", devices=6, owner="somebody"),)), CellReachability("one", True)
    )
    author.after(1, _submit(0, "first"), _submit(1, "second", (ResolvedDependency(0, DependsOn.FAILURE),)))
    author.after(2, AttemptStarted(0, 1, 1, 1), JobUpdated(0, ALICE, priority=600, time_limit_us=9_000 * SECOND_US))
    author.after(1, *(_submit(n, f"more-{n}") for n in range(2, 6)), CarriedOver((("one/h200", 1 / 3),)))
    author.after(
        5, AttemptProgressed(0, 1, 1, 2, 40.0, 25.0, 8.0, 2.5, 1), ActionRequested(5, JobAction.SUSPEND, ALICE)
    )
    author.after(60, NodeStateChanged(0, NodeState.DRAINING, ALICE, "its fan is loud"))
    window = Reservation(id="r-1", nodes=("big-1",), from_us=10**9, until_us=2 * 10**9, why="new fans")
    author.after(1, ReservationMade(window, ALICE))
    author.after(1, ReservationCancelled("r-1", ALICE))
    author.after(9, AttemptEnded(0, 1, 1, 3, AttemptEnd.EXITED, 0, "done"))
    author.after(1, NodeStateChanged(0, NodeState.READY, ALICE), ActionRequested(5, JobAction.RESUME, ALICE))
    return author.records, author.engine.state


def _kinds(records: list[Record]) -> set[str]:
    return {CODEC.encode(record).kind for record in records}


def _future(row: Row, version: int, kind: str, payload: bytes) -> bytes:
    seq = row.seq + 1
    crc = checksum(seq, row.epoch, row.time_us, version, kind, payload)
    fields = {"seq": seq, "epoch": row.epoch, "time_us": row.time_us, "version": version, "kind": kind, "crc": crc}
    return json.dumps(fields).encode()[:-1] + b',"payload":' + payload + b"}"


def _files() -> Iterator[tuple[str, bytes]]:
    records, state = history()
    missing = set(KIND_VERSIONS) - _kinds(records)
    if missing:
        raise SystemExit(f"the golden history lacks {', '.join(sorted(missing))}")
    lines = list(to_lines(records))
    last = CODEC.encode(records[-1])
    newer = _future(last, 99, "cell_reachability", b'{"type":"cell_reachability","cell":"one","latency_us":7}')
    unknown = _future(last, 1, "teleported", b'{"type":"teleported","job":0}')
    yield "journal-1.jsonl", b"\n".join(lines) + b"\n"
    yield "journal-1-state.json", json.dumps(summary(state), indent=1).encode() + b"\n"
    yield "journal-future.jsonl", b"\n".join([*lines, newer]) + b"\n"
    yield "journal-future-kind.jsonl", b"\n".join([*lines, unknown]) + b"\n"


def shapes() -> dict[str, dict[str, object]]:
    """The version and shape of every kind, by name."""
    kinds = sorted((str(kind.__struct_config__.tag), kind) for kind in get_args(Event))
    return {name: {"version": KIND_VERSIONS[name], "shape": shape_of(kind)} for name, kind in kinds}


def main() -> None:
    (FOLDER / "journal_shapes.json").write_text(json.dumps(shapes(), indent=1) + "\n")
    if "--shapes-only" not in sys.argv:
        for name, content in _files():
            (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
