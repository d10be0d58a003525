"""The demo's short variant, end to end, as a person runs it; and an interruption leaves nothing behind."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scheduler.cli.demo_stage import sharing
from tests.support.tree import ROOT
from tests.support.waiting import until

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-m", "scheduler.cli.main", "demo", "--quick"]


def environment(folder):
    """Temporary files of the demo go where nobody else's are."""
    return {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def scratch():
    """A short path: sockets of Ray live below it, and their names have a limit."""
    with tempfile.TemporaryDirectory(prefix="dt-") as folder:
        yield Path(folder)


def check(executor, scratch):
    report = scratch / "report"
    command = [*COMMAND, "--executor", executor, "--report", str(report)]
    done = subprocess.run(
        command, check=False, cwd=scratch, env=environment(scratch), capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every job ended as it should" in done.stdout
    record = json.loads((report / "report.json").read_text())
    jobs = {job["name"]: job for job in record["jobs"]}
    assert {job["state"] for job in jobs.values()} == {"succeeded", "cancelled"}
    moved = [span for span in record["spans"] if span["job"] == "pretrain"]
    assert {(span["attempt"], span["accelerator"]) for span in moved} == {(1, "h200"), (2, "h20-96")}
    assert sum(span["ranks"] for span in moved if span["attempt"] == 2) == 2
    assert jobs["pretrain"]["loss"] < jobs["pretrain"]["first_loss"]
    assert record["requests"]["answered"] > 0
    assert record["requests"]["failed"] == 0
    assert record["ranks_at_once"] <= 6
    assert "<svg" in (report / "report.html").read_text()
    assert list(sharing(scratch)) == []
    assert not list(scratch.glob("dualtrack-demo-*"))


def test_the_quick_demo_moves_a_job_and_serves_throughout_on_the_local_executor(scratch):
    check("local", scratch)


@pytest.mark.ray
def test_the_quick_demo_moves_a_job_and_serves_throughout_on_ray(scratch):
    check("ray", scratch)


@pytest.fixture
def heeding_interrupts():
    """Whoever runs tests in the background of a shell ignores Ctrl-C, and so would every program that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding_interrupts")
@pytest.mark.parametrize(
    ("executor", "number"), [("local", signal.SIGTERM), pytest.param("ray", signal.SIGINT, marks=pytest.mark.ray)]
)
def test_an_interrupted_demo_leaves_no_process_and_no_file_behind(scratch, executor, number):
    command = [*COMMAND, "--executor", executor, "--report", str(scratch / "report")]
    with subprocess.Popen(
        command, cwd=scratch, env=environment(scratch), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as demo:
        lines = []

        def a_job_runs():
            lines.append(demo.stdout.readline())
            return re.search(r"running on", lines[-1]) or not lines[-1]

        until(a_job_runs, timeout_s=120, what="a running job")
        demo.send_signal(number)
        demo.stdout.read()
        assert demo.wait(90) == 130, "".join(lines)
    assert list(sharing(scratch)) == []
    assert not list(scratch.glob("dualtrack-demo-*"))
