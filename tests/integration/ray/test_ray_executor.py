"""What the Ray executor owes beyond the suite: deaths, adoption without its own notes, and nothing left in Ray."""

import os
import shutil
import signal
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from backends.conformance.executors import TELLS, attempt, release, stop
from backends.executors.ray import RayExecutor
from backends.runtime.supervisor import SupervisorState
from scheduler.errors import ExecutorError, UnavailableError
from scheduler.model.events import AttemptEnded, AttemptStarted
from scheduler.model.lifecycle import AttemptEnd
from tests.support.ray_cluster import executor_in, handle_for
from tests.support.ray_inspection import holdings
from tests.support.waiting import until

pytestmark = pytest.mark.ray

KEY = ("job-a", 1)


@pytest.fixture
def executor(tmp_path):
    executor = executor_in(tmp_path)
    yield executor
    for status in executor.list():
        executor.stop(release(structs.replace(attempt("", job=status.job_id, n=status.attempt), epoch=2**31)))
    executor.close()


def started(executor, start):
    executor.start(start)
    return until_report(executor, AttemptStarted)


def until_report(executor, kind):
    until(lambda: find(executor, kind), timeout_s=60, what=kind.__name__)
    return find(executor, kind)[0]


def find(executor, kind):
    return [report for report in executor.reports({}, 0.0) if isinstance(report, kind)]


def supervisors(place):
    files = sorted(place.glob("ray/node/*/*/*/supervisor.json"))
    return [msgspec.json.decode(file.read_bytes(), type=SupervisorState) for file in files]


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_killed_actor_is_a_lost_attempt_told_once_and_nothing_is_left(executor, tmp_path):
    started(executor, attempt(TELLS, tasks=2))
    until(lambda: all(executor.logs(KEY, rank) for rank in (0, 1)), what="a word from each rank")
    found = supervisors(tmp_path)
    pids = [pid for state in found for pid in (state.identity.pid, *(rank.pid for rank in state.ranks))]
    assert len(pids) == 4
    os.kill(parent_of(found[0].identity.pid), signal.SIGKILL)
    end = until_report(executor, AttemptEnded)
    assert end.how is AttemptEnd.LOST
    until(lambda: all(gone(pid) for pid in pids), what="the end of supervisors and ranks")
    executor.close()  # the next call is answered by a new gateway, as after a restart of the scheduler
    assert find(executor, AttemptEnded) == [end]
    assert executor.reports({KEY: end.seq}, 0.0) == ()
    assert holdings(executor.handle)[1] != []
    executor.stop(release(attempt(TELLS)))
    assert holdings(executor.handle) == ([], [])
    assert b'"pid"' in executor.logs(KEY)


def test_a_killed_gateway_is_replaced_and_a_scheduler_without_notes_adopts_what_runs(executor, tmp_path):
    begin = started(executor, attempt(TELLS, tasks=2, epoch=4))
    os.kill(executor._connection._process.pid, signal.SIGKILL)
    until(lambda: not executor._connection.alive, what="the end of the gateway")
    assert [status.ended for status in executor.list()] == [False]
    executor.close()
    shutil.rmtree(tmp_path / "ray" / "attempts")
    other = RayExecutor(handle_for(tmp_path), tmp_path / "ray")
    assert [(s.job_id, s.attempt, s.epoch, s.ended) for s in other.list()] == [("job-a", 1, 4, False)]
    assert until_report(other, AttemptStarted) == begin
    other.stop(stop(attempt(TELLS), epoch=5))
    assert until_report(other, AttemptEnded).how is AttemptEnd.PREEMPTED
    other.close()


def test_a_start_that_cannot_be_placed_fails_in_words_and_leaves_nothing(executor):
    start = attempt(TELLS, tasks=5)  # the cell has four nodes of this pool
    with pytest.raises(ExecutorError, match="node_node-4"):
        executor.start(start)
    assert executor.list() == ()
    assert holdings(executor.handle) == ([], [])


def test_a_gang_that_finds_no_room_leaves_nothing_and_starts_once_there_is_some(tmp_path):
    executor = RayExecutor(handle_for(tmp_path), tmp_path / "ray", room_timeout_s=1.0)
    first, second = attempt(TELLS, ranks=8), attempt(TELLS, ranks=8, job="job-b")
    executor.start(structs.replace(first, tasks=(one_rank(first),)))
    with pytest.raises(ExecutorError, match="job-b was not started: Ray has no room for the gang within 1 s"):
        executor.start(structs.replace(second, tasks=(one_rank(second),)))
    assert [status.job_id for status in executor.list()] == ["job-a"]
    executor.stop(release(first))
    until(lambda: starts(executor, structs.replace(second, tasks=(one_rank(second),))), what="the second start")
    executor.stop(release(second))
    executor.close()


def one_rank(start):
    """The task with all its devices and a single process."""
    return structs.replace(start.tasks[0], local_ranks=1, world_size=1)


def starts(executor, start):
    try:
        executor.start(start)
    except ExecutorError:
        return False
    return True


def test_a_wrong_token_and_a_dead_address_are_one_clear_line_each(tmp_path):
    token = tmp_path / "token"
    token.write_text("0" * 64)
    refused = RayExecutor(structs.replace(handle_for(tmp_path), head=None, token_file=str(token)), tmp_path / "a")
    with pytest.raises(UnavailableError, match=r"^Ray at 127\.0\.0\.1:\d+ refuses our token; use the token file"):
        refused.list()
    dead = RayExecutor(structs.replace(handle_for(tmp_path), head=None, address="127.0.0.1:9"), tmp_path / "b")
    with pytest.raises(UnavailableError, match=r"^no Ray cluster answers at 127\.0\.0\.1:9;"):
        dead.list()
