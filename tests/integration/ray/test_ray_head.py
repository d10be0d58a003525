"""The life of an embedded head: adopted, refused, lost, and reaped without a trace."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backends.conformance.executors import TELLS, attempt
from backends.executors.ray import RayExecutor, attach, find_head, start_head, stop_head
from scheduler.errors import ExecutorError, UnavailableError
from scheduler.model.events import AttemptEnded
from scheduler.model.lifecycle import AttemptEnd
from tests.support.ray_cluster import CELL
from tests.support.waiting import until

pytestmark = pytest.mark.ray

STOPS = """
import sys
from pathlib import Path
from backends.executors.ray import find_head, stop_head
print(stop_head(find_head(Path(sys.argv[1]), sys.argv[2])))
"""


@pytest.fixture
def head(tmp_path):
    handle = start_head(tmp_path, CELL)
    yield handle
    if (left := find_head(tmp_path, CELL.name)) is not None:
        stop_head(left)
    stop_head(handle)


def processes():
    """pid -> (session, command line) of all that runs."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                stat = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                words = Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if stat[0] != "Z":
                found[int(entry.name)] = (int(stat[3]), words)
    return found


def of(handle, place):
    """Whatever belongs to the head or to what runs on it."""
    return [words for session, words in processes().values() if session == handle.head.pid or str(place) in words]


def test_a_head_is_adopted_lost_with_its_attempts_started_again_and_reaped_by_another_process(head, tmp_path):
    assert start_head(tmp_path, CELL) == head
    assert Path(head.token_file).stat().st_mode & 0o777 == 0o600

    executor = RayExecutor(head, tmp_path / "cell")
    executor.start(attempt(TELLS, tasks=2))
    assert len(of(head, tmp_path / "cell")) > 4
    for pid, (session, _) in processes().items():
        if session == head.head.pid:
            os.kill(pid, signal.SIGKILL)
    until(lambda: of(head, tmp_path / "cell" / "node") == [], what="the end of all that ran")
    until(lambda: raises_unavailable(executor), what="a clear word about the head")

    again = start_head(tmp_path, CELL)
    assert again.head != head.head
    until(lambda: ends(executor), what="the end of the attempt")
    assert [end.how for end in ends(executor)] == [AttemptEnd.LOST]
    executor.start(attempt(TELLS, n=2))
    executor.close()

    done = subprocess.run(
        [sys.executable, "-c", STOPS, str(tmp_path), CELL.name], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) >= 4
    until(lambda: of(again, tmp_path) == [], what="the end of every process")
    assert not Path(again.temp_dir).exists()
    assert find_head(tmp_path, CELL.name) is None
    assert stop_head(again) == 0


def raises_unavailable(executor):
    try:
        executor.list()
    except UnavailableError:
        return True
    except ExecutorError:
        pass
    return False


def ends(executor):
    return [report for report in executor.reports({}, 0.0) if isinstance(report, AttemptEnded)]


def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(UnavailableError, match=r"no Ray cluster answers at 127\.0\.0\.1:9; start it"):
        attach("127.0.0.1:9", home=tmp_path, cell="one")
    with pytest.raises(UnavailableError, match="cannot be read"):
        attach("127.0.0.1:9", home=tmp_path, cell="one", token_file=tmp_path / "none")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="Ray is not installed; pip install"):
        start_head(tmp_path, CELL)
