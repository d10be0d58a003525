"""A rank, a supervisor and the scheduler are each killed with -9 while jobs run on Ray and as local processes: every
job ends well, what still runs is adopted, and nothing that an older attempt did is taken for the newer one's."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.cli.main import run
from scheduler.service.client import Client
from scheduler.service.settings import find_endpoint, read_service
from tests.support.tree import ROOT
from tests.support.waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

WORK = """
import os, pathlib, time
place = pathlib.Path(os.environ["SEEN_BY_THE_TEST"])
seat = place / f"{os.environ['DUALTRACK_JOB_NAME']}-{os.environ['DUALTRACK_ATTEMPT']}"
seat.with_suffix(".tmp").write_text(f"{os.getpid()} {os.getppid()}")
seat.with_suffix(".tmp").rename(seat)
while not (place / "go").exists():
    time.sleep(0.05)
"""
JOB = """\
schema: dualtrack/v1
kind: job
type: training
name: {name}
tenant: foundation
entrypoint: [python, {script}]
env: {{SEEN_BY_THE_TEST: "{place}"}}
workload: {{class: vision_training, steps: 10, measured: [{{accelerator: {accelerator}, count: 1, rate: 10}}]}}
resources: {{options: [{{accelerator: {accelerator}, count: 1}}], ranks_per: node}}
retries: {{limit: 2, on: [interrupted, failed], backoff: 1s}}
"""
JOBS = {"on-ray": "h200", "other-on-ray": "h20-96", "on-local": "ascend-910c", "other-on-local": "ascend-910c"}


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short path: sockets of Ray live below it, and their names have a limit."""
    with tempfile.TemporaryDirectory(prefix="dt-") as folder:
        monkeypatch.setenv("DUALTRACK_HOME", f"{folder}/home")
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.delenv("DUALTRACK_SERVER", raising=False)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.chdir(folder)
        assert run(["up", "--cluster", "demo", "--tenants", "demo", "--policy", "demo"]) == 0
        try:
            yield Path(folder)
        finally:
            Path(folder, "go").touch()
            run(["down"])


def client(place: Path) -> Client:
    return Client(find_endpoint(None, str(place / "home"), {}))


def processes(place: Path, name: str, attempt: int) -> tuple[int, int]:
    """(rank, supervisor) of the attempt, once its script has begun."""
    seat = place / f"{name}-{attempt}"
    until(seat.exists, timeout_s=120, what=f"attempt {attempt} of {name}")
    rank, supervisor = seat.read_text().split()
    return int(rank), int(supervisor)


def test_all_jobs_end_well_after_a_rank_a_supervisor_and_the_scheduler_were_killed(place: Path) -> None:
    (place / "work.py").write_text(WORK)
    for name, accelerator in JOBS.items():
        job = JOB.format(name=name, accelerator=accelerator, script=place / "work.py", place=place)
        (place / f"{name}.yaml").write_text(job)
        assert run(["submit", f"{name}.yaml"]) == 0
    first = {name: processes(place, name, 1) for name in JOBS}

    os.kill(first["on-ray"][0], signal.SIGKILL)
    os.kill(first["on-local"][1], signal.SIGKILL)
    second = {name: processes(place, name, 2) for name in ("on-ray", "on-local")}
    before = read_service(place / "home")
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)
    with client(place) as asked:
        until(lambda: not asked.ready(), what="the end of the service")
    os.kill(first["other-on-ray"][1], signal.SIGKILL)  # while nobody schedules
    os.kill(second["on-ray"][0], signal.SIGKILL)
    assert run(["up"]) == 0

    third = processes(place, "on-ray", 3)
    again = processes(place, "other-on-ray", 2)
    assert {*third, *again}.isdisjoint({*first["on-ray"], *second["on-ray"], *first["other-on-ray"]})
    (place / "go").touch()
    with client(place) as asked:
        until(lambda: all(asked.job(name)["state"] == "succeeded" for name in JOBS), timeout_s=120, what="all ends")
        ends = {name: [attempt["how"] for attempt in asked.job(name)["attempts"]] for name in JOBS}
    assert {name: len(hows) for name, hows in ends.items()} == {
        "on-ray": 3,
        "other-on-ray": 2,
        "on-local": 2,
        "other-on-local": 1,
    }
    assert {hows[-1] for hows in ends.values()} == {"exited"}
    assert not (place / "other-on-local-2").exists()
