"""A training job that is preempted on one device type goes on on another, with another world size, to the same end."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from backends.executors.local import LocalExecutor
from backends.runtime.checkpoint import Manifest
from scheduler.model.commands import Release, Start, Stop, Task
from scheduler.model.events import AttemptEnded, AttemptProgressed
from scheduler.model.lifecycle import AttemptEnd
from tests.support.waiting import until

SCRIPT = Path(__file__).resolve().parent.parent / "support" / "small_training.py"


def start(place: Path, n: int, world_size: int, accelerator: str, adapter: str, pace_s: float = 0.0) -> Start:
    task = Task(
        node="node-0",
        node_index=0,
        role="main",
        accelerator=accelerator,
        adapter=adapter,
        emulated=True,
        devices=tuple(range(world_size)),
        world=0,
        world_size=world_size,
        first_rank=0,
        local_ranks=world_size,
        entrypoint=("python", str(SCRIPT), str(place / "result.json")),
        pace_s=pace_s,
    )
    return Start(
        job=0,
        attempt=n,
        epoch=1,
        job_id="resumed",
        name="resumed",
        tenant="t",
        user="u",
        cell="c",
        tasks=(task,),
        checkpoint_path=str(place / "checkpoints"),
        work=100.0,
    )


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(tmp_path / "attempts")
    yield executor
    for s in executor.list():
        executor.stop(Release(job=s.job, attempt=s.attempt, epoch=s.epoch, job_id=s.job_id, cell="c"))


def follow(executor: LocalExecutor, n: int, enough: Callable[[list[object]], bool]) -> list[object]:
    """The reports of attempt `n`, until there are enough of them."""
    found: list[object] = []
    seen = 0

    def more() -> bool:
        nonlocal seen
        for report in executor.reports({("resumed", n): seen}, 0.1):
            if report.attempt == n:
                found.append(report)
                seen = report.seq
        return enough(found)

    until(more, timeout_s=120, what=f"the story of attempt {n}")
    return found


def ended(reports: list[object]) -> bool:
    return any(isinstance(report, AttemptEnded) for report in reports)


def progress(reports: list[object]) -> list[AttemptProgressed]:
    return [report for report in reports if isinstance(report, AttemptProgressed)]


def test_a_job_preempted_on_two_devices_ends_on_three_others_with_the_loss_of_an_undisturbed_run(
    executor: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.small_training import SAMPLES, STEPS, train

    first = start(tmp_path, 1, 2, "h200", "nvidia", pace_s=0.05)
    executor.start(first)
    follow(executor, 1, lambda reports: any(p.done >= 10 for p in progress(reports)))
    executor.stop(Stop(job=0, attempt=1, epoch=1, job_id="resumed", cell="c", notice_us=60_000_000, cause="preempt"))
    reports = follow(executor, 1, ended)
    end, last = reports[-1], progress(reports)[-1]
    assert isinstance(end, AttemptEnded)
    assert (end.how, end.exit_code) == (AttemptEnd.PREEMPTED, 0), end.detail
    assert 10 <= last.done == last.saved < STEPS

    executor.start(start(tmp_path, 2, 3, "ascend-910c", "ascend"))
    reports = follow(executor, 2, ended)
    end, resumed = reports[-1], json.loads((tmp_path / "result.json").read_text())
    assert isinstance(end, AttemptEnded)
    assert (end.how, end.exit_code) == (AttemptEnd.EXITED, 0), end.detail
    assert resumed["first"] == last.done
    assert resumed["samples"] == STEPS * 10 > SAMPLES

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for name in ("RANK", "WORLD_SIZE", "DUALTRACK_CHECKPOINT_PATH"):
        monkeypatch.delenv(name, raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    undisturbed = train(tmp_path / "alone.json")
    signal.signal(signal.SIGTERM, handler)
    assert resumed["loss"] == pytest.approx(undisturbed, abs=1e-4)

    newest = max((tmp_path / "checkpoints" / "resumed").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    manifest = msgspec.json.decode(newest.read_bytes(), type=Manifest)
    assert (manifest.attempt, manifest.step, manifest.world_size, manifest.accelerator) == (2, STEPS, 3, "ascend-910c")
