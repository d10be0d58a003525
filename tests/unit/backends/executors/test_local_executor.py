"""What sets the local executor apart: its directory, half-done starts, and being opened by several processes."""

import os
import shutil
import subprocess
import sys

import msgspec
import pytest

from backends.executors.local import LocalExecutor
from backends.executors.local import executor as module
from backends.runtime.places import AttemptPlace
from backends.runtime.processes import is_alive
from backends.runtime.supervisor import read_state
from scheduler.errors import ExecutorError, NotFoundError
from scheduler.model.commands import Release, Stop
from scheduler.model.events import AttemptEnded, AttemptStarted
from scheduler.model.lifecycle import AttemptEnd
from tests.support.starts import start, task
from tests.support.waiting import until

SLEEPS = "import time; time.sleep(600)"


@pytest.fixture
def executor(tmp_path):
    executor = LocalExecutor(tmp_path / "root", kept_attempts=2)
    yield executor
    for status in executor.list():
        release(executor, status.job_id, status.attempt)


def release(executor, job_id="job-a", attempt=1):
    executor.stop(Release(job=0, attempt=attempt, epoch=1, job_id=job_id, cell="c"))


def ended(executor, job_id="job-a", attempt=1):
    until(lambda: any(s.ended for s in executor.list() if s.attempt == attempt), timeout_s=60, what="the end")
    (end,) = [r for r in executor.reports({}, 0) if isinstance(r, AttemptEnded) and r.attempt == attempt]
    return end


def gang(*codes, **changes):
    tasks = [task(code, node=f"n-{i}", first_rank=i, world_size=len(codes)) for i, code in enumerate(codes)]
    return start(*tasks, **changes)


def test_what_would_be_sent_can_be_printed_without_sending_it(executor):
    request = executor.prepare(gang("pass", "pass"))
    assert msgspec.json.encode(request)
    assert executor.list() == ()
    assert list(executor.root.glob("job-*")) == []


def test_a_start_that_cannot_be_completed_starts_nothing(executor, monkeypatch):
    spawned = []

    def spawn(place, request):
        if request.index == 1:
            raise ExecutorError("cannot start a supervisor: no memory")
        spawned.append(real(place, request))
        return spawned[-1]

    real = module.spawn
    monkeypatch.setattr(module, "spawn", spawn)
    with pytest.raises(ExecutorError, match=r"attempt 1 of job-a was not started: .*no memory"):
        executor.start(gang(SLEEPS, SLEEPS))
    assert executor.list() == ()
    assert spawned[0].wait(30) == -9
    monkeypatch.undo()
    executor.start(gang(SLEEPS, SLEEPS))
    assert len(executor.list()) == 1


def test_a_start_whose_scheduler_was_killed_halfway_leaves_nothing_and_can_be_sent_again(executor, tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from backends.executors.local import executor as e\n"
        "from tests.support.starts import start, task\n"
        "real = e.wait_until_up\n"
        "def crash(*arguments): real(*arguments); os.kill(os.getpid(), 9)\n"
        "e.wait_until_up = crash\n"
        f"e.LocalExecutor(Path(sys.argv[1])).start(start(task({SLEEPS!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(executor.root)], check=False, timeout=60)
    assert done.returncode == -9
    state = read_state(AttemptPlace(executor.root, "job-a", 1).task(0))
    assert state is not None
    assert is_alive(state.identity)
    after = LocalExecutor(executor.root)
    until(lambda: not is_alive(state.identity), what="the end of the half-started supervisor")
    assert after.list() == ()
    after.start(start(task(SLEEPS)))
    assert [status.ended for status in after.list()] == [False]


def test_attempts_outlive_the_scheduler_that_started_them(executor):
    code = (
        "import sys; from pathlib import Path; from backends.executors.local import LocalExecutor\n"
        "from tests.support.starts import start, task\n"
        f"LocalExecutor(Path(sys.argv[1])).start(start(task({SLEEPS!r})))"
    )
    subprocess.run([sys.executable, "-c", code, str(executor.root)], check=True, timeout=60)
    assert [status.ended for status in executor.list()] == [False]
    executor.stop(Stop(job=0, attempt=1, epoch=1, job_id="job-a", cell="c", notice_us=9_000_000, cause="cancel"))
    assert ended(executor).how is AttemptEnd.PREEMPTED


def test_one_task_that_fails_ends_the_others_and_tells_the_cause(executor):
    executor.start(gang(SLEEPS, "import sys; sys.exit(9)", SLEEPS))
    end = ended(executor)
    assert (end.how, end.exit_code) == (AttemptEnd.EXITED, 9)


def test_a_task_that_ends_well_leaves_the_others_alone(executor, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    executor.start(gang("pass", f"open({str(gate)!r}).read()"))
    until(lambda: executor._record("job-a", 1).files()[0].ended, what="the end of the first task")
    assert [status.ended for status in executor.list()] == [False]
    gate.write_text("go")
    assert (ended(executor).how, ended(executor).exit_code) == (AttemptEnd.EXITED, 0)


def test_a_services_replicas_start_together_and_each_has_its_endpoint(executor):
    code = (
        "import os, socket, time\n"
        "s = socket.create_server(('127.0.0.1', int(os.environ['DUALTRACK_SERVICE_PORT']))); time.sleep(600)"
    )
    executor.start(start(task(code), task(code, world=1, replica=1), service=True))
    until(lambda: executor.reports({}, 0.1), what="the start")
    (report,) = executor.reports({}, 0)
    assert isinstance(report, AttemptStarted)
    assert len(set(report.endpoints)) == 2


def test_waiting_for_reports_ends_in_time_when_there_are_none(executor):
    assert executor.reports({}, 0.05) == ()


def test_the_output_of_the_newest_released_attempts_is_kept(executor):
    for n in range(1, 5):
        executor.start(start(task(f"print({n})"), attempt=n))
        ended(executor, attempt=n)
        release(executor, attempt=n)
    assert executor.logs(("job-a", 4)) == b"[main/0] 4\n"
    assert executor.logs(("job-a", 3), rank=0) == b"3\n"
    with pytest.raises(NotFoundError):
        executor.logs(("job-a", 1))


@pytest.mark.parametrize("job_id", ["", "..", "../elsewhere", ".active", "a/b"])
def test_a_job_id_that_leads_elsewhere_is_refused(executor, job_id):
    with pytest.raises(ExecutorError, match="is no job id"):
        executor.start(start(job_id=job_id))


def test_an_adapter_that_does_not_exist_is_an_executors_error(executor):
    with pytest.raises(ExecutorError, match="abacus"):
        executor.start(start(task(adapter="abacus")))


def test_a_rank_that_does_not_exist_is_told_with_those_that_do(executor):
    executor.start(gang("pass", "pass"))
    with pytest.raises(NotFoundError, match="has ranks 0 to 1, not 2"):
        executor.logs(("job-a", 1), rank=2)


def test_a_directory_that_is_gone_is_an_executors_error(executor):
    shutil.rmtree(executor.root)
    with pytest.raises(ExecutorError, match="the directory of attempts cannot be used"):
        executor.list()
    executor.root.mkdir()
    (executor.root / ".active").mkdir()


def test_nobody_else_may_read_the_commands(executor):
    executor.start(start(task(SLEEPS)))
    assert executor.root.stat().st_mode & 0o077 == 0
