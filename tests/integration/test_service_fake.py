"""A real daemon with fake executors, driven by the real command."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.cli.main import run
from scheduler.service.settings import read_service
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
JOB = """
schema: dualtrack/v1
kind: job
type: training
name: {name}
tenant: {tenant}
entrypoint: [python, train.py, --lr, 1e-4]
workload: {{class: dense_training, steps: {steps}, measured: [{{accelerator: h200, count: 8, rate: 20}}]}}
resources: {{options: [{{accelerator: h200, count: {count}}}]}}
"""


class Shell:
    """Runs commands in this process, with what they print, and knows the daemon of its home."""

    def __init__(self, home, capfd):
        self.home = home
        self._capfd = capfd

    def __call__(self, *words):
        self._capfd.readouterr()
        code = run(list(words))
        seen = self._capfd.readouterr()
        return code, seen.out, seen.err

    def good(self, *words):
        code, out, err = self(*words)
        assert code == 0, (words, out, err)
        return out

    def json(self, *words):
        return json.loads(self.good(*words, "-o", "json"))

    @property
    def pid(self):
        service = read_service(self.home)
        return service.pid if service else 0


def alone(monkeypatch, home, folder):
    """Nothing but this home is known to the commands."""
    for name in [name for name in os.environ if name.startswith("DUALTRACK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DUALTRACK_HOME", str(home))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def shell(tmp_path, capfd, monkeypatch):
    """A home without a service."""
    alone(monkeypatch, tmp_path / "home", tmp_path)
    found = Shell(tmp_path / "home", capfd)
    yield found
    if found.pid:
        found("down")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home that the tests of this file share, with a service for as long as they run."""
    place = tmp_path_factory.mktemp("shared") / "home"
    assert run(["up", "--home", str(place), "--cluster", "demo", "--executor", "fake"]) == 0
    yield place
    run(["down", "--home", str(place)])


@pytest.fixture
def served(home, tmp_path, capfd, monkeypatch):
    """A service without live jobs."""
    alone(monkeypatch, home, tmp_path)
    found = Shell(home, capfd)
    left = found.good("list", "--state", "live", "-o", "name").split()
    if left:
        found.good("cancel", *left)
        until(lambda: found.json("list", "--state", "live") == [], what="the end of the jobs before")
    return found


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "Z"


def job_file(folder, name="one", tenant="search", steps=20, count=8):
    path = folder / f"{name}.yaml"
    path.write_text(JOB.format(name=name, tenant=tenant, steps=steps, count=count))
    return str(path)


def test_a_job_is_entered_waits_its_turn_runs_and_ends(served, tmp_path):
    entered = served.json("submit", job_file(tmp_path, "one"), job_file(tmp_path, "two", "foundation"))
    assert [job["name"] for job in entered] == ["one", "two"]
    until(lambda: served.json("get", "one")["state"] == "running")
    code, out, _ = served("why", "two")
    assert code == 0
    assert "waiting" in out and "It needs 8 h200" in out
    assert served("wait", "one", "two", "--timeout", "60s")[0] == 0
    listed = served.json("list", "--sort-by", "name")
    assert {job["state"] for job in listed} == {"succeeded"}
    assert served.json("list", "--state", "live") == []
    described = served.good("describe", "one")
    assert described.index("Events") > described.index("Attempts")
    assert "attempt_ended" in described
    assert "pretending" in served.good("logs", "one")
    assert "pretending" in served.good("logs", "-f", "one")
    assert [row["tenant"] for row in served.json("usage")] == ["foundation", "search"]
    assert set(served.good("list", "-o", "name").split()) == {job["id"] for job in listed}
    for verb in (["list", "-o", "wide"], ["fleet"], ["fleet", "-o", "yaml"], ["quota"], ["quota", "search"], ["rules"],
                 ["events"], ["events", "one", "-o", "json"], ["get", "one", "-o", "yaml"], ["version"]):  # fmt: skip
        assert served.good(*verb)


def test_cancelled_unfinished_and_failing_jobs_give_wait_their_codes(served, tmp_path):
    served.good("submit", job_file(tmp_path, "long", steps=100_000))
    assert served("wait", "long", "--timeout", "0.2s")[0] == 253
    served.good("cancel", "long")
    assert served("wait", "long", "--timeout", "60s")[0] == 252
    code, _, err = served("cancel", "long")
    assert code == 1 and len(err.splitlines()) == 1
    assert served("wait", "nobody")[0] == 1


def test_killing_the_daemon_loses_no_job_and_the_next_one_goes_on(shell, tmp_path):
    shell.good("up", "--cluster", "demo", "--executor", "fake")
    shell.good("submit", job_file(tmp_path, "one", steps=10), job_file(tmp_path, "two", steps=10))
    until(lambda: shell.json("get", "one")["state"] == "running")
    before = [(job["id"], job["name"]) for job in shell.json("list")]
    os.kill(shell.pid, signal.SIGKILL)
    pid = shell.pid
    until(lambda: gone(pid))
    code, _, err = shell("list")
    assert code == 1
    assert len(err.splitlines()) == 1 and "does not answer" in err
    shell.good("up")  # the cluster and the executor are those of the last time
    assert [(job["id"], job["name"]) for job in shell.json("list")] == before
    assert shell("wait", "one", "two", "--timeout", "90s")[0] == 0
    assert shell.json("get", "two")["attempts"][-1]["epoch"] == 2


def test_the_same_submission_key_enters_one_job(served, tmp_path):
    file = job_file(tmp_path, "keyed", steps=100_000)
    answers = {served.good("submit", file, "--key", "k", "-o", "name") for _ in range(3)}
    assert len(answers) == 1
    assert [job["id"] for job in served.json("list", "--state", "live")] == [answers.pop().strip()]


def test_a_second_daemon_on_the_same_home_is_refused_in_one_line(served):
    code, out, err = served("up")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1 and "another scheduler" in err
    assert served.good("list")


def test_a_port_in_use_is_told_in_one_line(shell):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = shell("up", "--cluster", "demo", "--executor", "fake", "--port", str(port))
    assert code == 1
    assert err.splitlines() == [f"error: port {port} of 127.0.0.1 is in use; free it, or choose another port"]
    assert not shell.pid


def test_verbs_without_a_service_say_how_to_start_one(shell, tmp_path):
    for words in (["list"], ["get", "x"], ["fleet"], ["submit", job_file(tmp_path)], ["why", "x"], ["down"]):
        code, out, err = shell(*words)
        assert (code, out) == (1, "")
        assert len(err.splitlines()) == 1 and "dualtrack up" in err
    code, _, err = shell("list", "--server", "127.0.0.1:9")
    assert code == 1 and len(err.splitlines()) == 1


def test_plans_tell_by_their_exit_code_what_would_happen(served, tmp_path):
    file = job_file(tmp_path, "big")
    assert served("plan", file)[0] == 0
    served.good("submit", job_file(tmp_path, "holder", "foundation", steps=100_000))
    code, out, _ = served("submit", "--dry-run", file)
    assert code == 3 and "would wait" in out
    assert served("plan", job_file(tmp_path, "denied", "vision"))[0] == 5
    assert served("plan", job_file(tmp_path, "never", count=800))[0] == 4
    assert [job["name"] for job in served.json("list", "--state", "live")] == ["holder"]


def test_nodes_are_cordoned_drained_and_put_back(served):
    assert served.good("cordon", "h200-0") == "h200-0 cordoned\n"
    assert served.good("drain", "h200-0") == "h200-0 draining\n"
    assert served.good("uncordon", "h200-0") == "h200-0 ready\n"
    assert served("drain", "nowhere")[0] == 1


def test_tokens_open_and_close_the_service_while_it_runs(served, monkeypatch):
    token = served.good("token", "create", "--user", "ada", "--tenant", "search").strip()
    monkeypatch.setenv("DUALTRACK_TOKEN", token)
    assert served("list")[0] == 0
    assert served("drain", "h200-0")[0] == 6
    accessor = next(row["accessor"] for row in served.json("token", "list") if row["user"] == "ada")
    served.good("token", "revoke", accessor)
    code, _, err = served("list")
    assert code == 6 and len(err.splitlines()) == 1
    monkeypatch.delenv("DUALTRACK_TOKEN")


def test_a_terminated_daemon_leaves_in_good_order_and_no_file_behind(shell, tmp_path):
    command = [
        sys.executable,
        "-m",
        "scheduler.cli.main",
        "up",
        "--foreground",
        "--cluster",
        "demo",
        "--executor",
        "fake",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        until(lambda: shell.pid == process.pid and shell("list")[0] == 0, what="the service")
        shell.good("submit", job_file(tmp_path))
        process.terminate()
        assert process.wait(timeout=30) == 0
    assert not shell.pid


def test_a_closed_disk_ends_the_daemon_with_its_reason(shell, tmp_path):
    """A journal file that cannot grow stands for a full disk."""
    limited = 'ulimit -f 256; exec "$0" -m scheduler.cli.main up --foreground --cluster demo --executor fake'
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(["bash", "-c", limited, sys.executable], stdout=log, stderr=log, cwd=ROOT)
        try:
            until(lambda: process.poll() is not None or (shell.pid == process.pid and shell("list")[0] == 0))
            acknowledged = []
            for n in range(400):
                code, out, err = shell("submit", job_file(tmp_path, f"job-{n}", steps=100_000), "-o", "name")
                if code:
                    break
                acknowledged.append(out.strip())
            assert code == 1 and len(err.splitlines()) == 1
            assert process.wait(timeout=30) == 1
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    assert "error: " in (tmp_path / "log").read_text().splitlines()[-1]
    shell.good("up")
    assert set(acknowledged) <= set(shell.good("list", "-o", "name").split())
