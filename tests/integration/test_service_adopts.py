"""A scheduler that is killed comes back and goes on with what still runs, on the local executor."""

import json
import os
import signal
import sys

import pytest

from scheduler.cli.main import run
from scheduler.service.client import Client
from scheduler.service.settings import find_endpoint, read_service
from tests.support.tree import ROOT
from tests.support.waiting import until

WORK = """
import pathlib, time
print("begun", flush=True)
while not pathlib.Path("go").exists():
    time.sleep(0.05)
print("done")
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    place = tmp_path / "home"
    monkeypatch.setenv("DUALTRACK_HOME", str(place))
    monkeypatch.delenv("DUALTRACK_SERVER", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    assert run(["up", "--cluster", "laptop", "--executor", "local"]) == 0
    yield place
    (tmp_path / "go").touch()
    with client(place) as asked:
        until(lambda: not asked.jobs(state="live"), what="the end of the jobs")
    run(["down"])


def client(home):
    return Client(find_endpoint(None, str(home), {}))


def test_the_restarted_scheduler_adopts_the_running_attempt(home, tmp_path, capfd):
    (tmp_path / "work.py").write_text(WORK)
    words = ["submit", "--accelerator", "cpu:1", "--name", "adopted", "--", sys.executable, "work.py"]
    assert run(words) == 0
    with client(home) as asked:
        until(lambda: b"begun" in (asked.logs("adopted")[0] if asked.job("adopted")["attempts"] else b""))
    first = read_service(home)
    os.kill(first.pid, signal.SIGKILL)
    with client(home) as asked:
        until(lambda: not asked.ready(), what="the end of the service")
    assert run(["up"]) == 0
    assert read_service(home).pid != first.pid
    with client(home) as asked:
        assert asked.job("adopted")["state"] == "running"
        (tmp_path / "go").touch()
        until(lambda: asked.job("adopted")["state"] == "succeeded")
        attempts = asked.job("adopted")["attempts"]
    assert [(attempt["n"], attempt["how"]) for attempt in attempts] == [(1, "exited")]
    capfd.readouterr()
    assert run(["logs", "adopted"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["begun", "done"]
    assert run(["get", "adopted", "-o", "json"]) == 0
    assert json.loads(capfd.readouterr().out)["exit_code"] == 0
