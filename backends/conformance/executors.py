"""The suite that every executor passes. Derive a test class, say how to open an executor on one world, and run it.

class TestMine(ProcessContract):
    def open(self, place: Path) -> Executor:
        return MyExecutor(place)

`ExecutorContract` is for every executor; `ProcessContract` adds what real processes on this machine owe. Opening twice
with the same `place` gives two executors on the same world, as after a restart of the scheduler.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from scheduler.errors import ExecutorError, OutcomeUnknownError, StaleEpochError
from scheduler.model.commands import Release, Start, Stop, Task
from scheduler.model.events import AttemptEnded, AttemptProgressed, AttemptStarted
from scheduler.model.lifecycle import AttemptEnd
from scheduler.ports import AttemptKey, AttemptStatus, Executor, Report

__all__ = ["CELL", "ExecutorContract", "ProcessContract", "RankStory", "SLEEPS", "attempt", "release", "stop"]

CELL = "cell-one"
TIMEOUT_S = 60.0
NOTICE_US = 20_000_000
SLEEPS = "import time; time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
FAILS = "import sys; print('something broke'); sys.exit(7)"
REPORTS = """
import os
with open(os.environ["DUALTRACK_REPORT_PATH"], "a") as pipe:
    pipe.write('{"done": 3, "saved": 2, "loss": 0.5}\\n')
"""
TELLS = """
import json, os, time
print(json.dumps({"pid": os.getpid(), "parent": os.getppid(), "env": dict(os.environ)}), flush=True)
time.sleep(600)
"""


def attempt(
    code: str, *, job: str = "job-a", n: int = 1, epoch: int = 1, tasks: int = 1, ranks: int = 1, name: str = "sleeps"
) -> Start:
    """A start of `tasks` tasks of `ranks` ranks each, every one running the Python program `code`.

    A fake executor goes by `name`: `sleeps` runs until it is stopped, `deaf` ignores a notice, `fails` exits with 7,
    `reports` tells that 3 units are done and succeeds.
    """
    return Start(
        job=1,
        attempt=n,
        epoch=epoch,
        job_id=job,
        name=name,
        tenant="t",
        user="u",
        cell=CELL,
        tasks=tuple(_task(code, index, tasks, ranks) for index in range(tasks)),
    )


def _task(code: str, index: int, tasks: int, ranks: int) -> Task:
    return Task(
        node=f"node-{index}",
        node_index=index,
        role="main",
        accelerator="h200",
        adapter="nvidia",
        emulated=True,
        devices=tuple(range(2, 2 + ranks)),
        world=0,
        world_size=tasks * ranks,
        first_rank=index * ranks,
        local_ranks=ranks,
        entrypoint=("python", "-c", code),
        env={"MINE": "kept", "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7", "RAY_ADDRESS": "10.0.0.1:6379"},
        cpu_milli=100,
        memory_mib=100,
    )


def stop(start: Start, notice_us: int = NOTICE_US, epoch: int | None = None) -> Stop:
    return Stop(
        job=start.job,
        attempt=start.attempt,
        epoch=start.epoch if epoch is None else epoch,
        job_id=start.job_id,
        cell=start.cell,
        notice_us=notice_us,
        cause="preempt",
    )


def release(start: Start) -> Release:
    return Release(job=start.job, attempt=start.attempt, epoch=start.epoch, job_id=start.job_id, cell=start.cell)


class ExecutorContract:
    """What every executor owes: idempotent commands, fencing, one story per attempt, adoption."""

    def open(self, place: Path) -> Executor:
        raise AssertionError("say how to open the executor")

    def pass_time(self) -> None:
        """Called while a test waits; a fake moves its clock here."""
        time.sleep(0.02)

    @pytest.fixture
    def executor(self, tmp_path: Path) -> Iterator[Executor]:
        executor = self.open(tmp_path)
        yield executor
        for status in executor.list():
            with contextlib.suppress(ExecutorError):
                executor.stop(_release_of(status))
        executor.close()

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come true"
            self.pass_time()

    def story(self, executor: Executor, start: Start, last: type[Report] = AttemptEnded) -> list[Report]:
        """The reports of the attempt, up to the first of the type `last`."""
        key: AttemptKey = (start.job_id, start.attempt)
        found: list[Report] = []

        def told() -> bool:
            seen = {key: found[-1].seq} if found else {}
            found.extend(r for r in executor.reports(seen, 0.0) if r.attempt == start.attempt)
            return any(isinstance(report, last) for report in found)

        self.until(told, f"{last.__name__} of {key}")
        return found

    def end(self, executor: Executor, start: Start) -> AttemptEnded:
        last = self.story(executor, start)[-1]
        assert isinstance(last, AttemptEnded)
        return last

    def test_an_attempt_starts_once_and_ends_once_with_rising_numbers(self, executor: Executor) -> None:
        start = attempt("", name="succeeds")
        executor.start(start)
        story = self.story(executor, start)
        assert [type(r) for r in story if not isinstance(r, AttemptProgressed)] == [AttemptStarted, AttemptEnded]
        assert [r.seq for r in story] == sorted({r.seq for r in story})
        assert story[0].seq == 1
        assert {(r.job, r.attempt, r.epoch) for r in story} == {(1, 1, 1)}

    def test_the_same_start_twice_is_one_start(self, executor: Executor) -> None:
        start = attempt(SLEEPS)
        executor.start(start)
        executor.start(start)
        assert len(executor.list()) == 1
        self.story(executor, start, AttemptStarted)
        assert [r for r in executor.reports({(start.job_id, 1): 1}, 0.0) if isinstance(r, AttemptStarted)] == []

    def test_a_repeated_question_gets_the_same_numbers(self, executor: Executor) -> None:
        start = attempt(REPORTS, name="reports")
        executor.start(start)
        story = self.story(executor, start)
        assert list(executor.reports({}, 0.0)) == story
        assert executor.reports({(start.job_id, 1): story[-1].seq}, 0.0) == ()

    def test_progress_and_success_are_told(self, executor: Executor) -> None:
        start = attempt(REPORTS, name="reports")
        executor.start(start)
        story = self.story(executor, start)
        done = [r.done for r in story if isinstance(r, AttemptProgressed)]
        end = story[-1]
        assert done[-1] == 3
        assert isinstance(end, AttemptEnded)
        assert (end.how, end.exit_code) == (AttemptEnd.EXITED, 0)

    def test_a_failure_tells_its_exit_code_and_a_reason(self, executor: Executor) -> None:
        start = attempt(FAILS, name="fails")
        executor.start(start)
        end = self.end(executor, start)
        assert (end.how, end.exit_code) == (AttemptEnd.EXITED, 7)
        assert end.detail

    def test_an_attempt_that_leaves_after_the_notice_is_preempted(self, executor: Executor) -> None:
        start = attempt(SLEEPS)
        executor.start(start)
        self.story(executor, start, AttemptStarted)
        executor.stop(stop(start))
        assert self.end(executor, start).how is AttemptEnd.PREEMPTED

    def test_an_attempt_that_ignores_the_notice_is_killed_when_it_runs_out(self, executor: Executor) -> None:
        start = attempt(DEAF, name="deaf")
        executor.start(start)
        self.story(executor, start, AttemptStarted)
        self.until(lambda: executor.logs((start.job_id, 1)), "the first line of output")
        executor.stop(stop(start, notice_us=300_000))
        assert self.end(executor, start).how is AttemptEnd.KILLED

    def test_stopping_twice_and_stopping_what_has_ended_is_no_error(self, executor: Executor) -> None:
        start = attempt(SLEEPS)
        executor.start(start)
        executor.stop(stop(start))
        executor.stop(stop(start))
        self.end(executor, start)
        executor.stop(stop(start))

    def test_a_released_attempt_is_no_longer_listed_but_keeps_its_output(self, executor: Executor) -> None:
        start = attempt("print('hello')", name="succeeds")
        executor.start(start)
        self.end(executor, start)
        assert [status.ended for status in executor.list()] == [True]
        executor.stop(release(start))
        executor.stop(release(start))
        assert executor.list() == ()
        assert executor.reports({}, 0.0) == ()
        assert executor.logs((start.job_id, 1)).startswith(b"[main/0] ")

    def test_commands_of_a_smaller_epoch_are_refused(self, executor: Executor) -> None:
        start = attempt(SLEEPS, epoch=5)
        executor.start(start)
        with pytest.raises(StaleEpochError):
            executor.stop(stop(start, epoch=4))
        with pytest.raises(StaleEpochError):
            executor.start(attempt(SLEEPS, epoch=4))
        assert [status.ended for status in executor.list()] == [False]

    def test_a_newer_scheduler_may_stop_what_an_older_one_started(self, executor: Executor) -> None:
        start = attempt(SLEEPS, epoch=5)
        executor.start(start)
        executor.stop(stop(start, epoch=6))
        assert self.end(executor, start).epoch == 5
        with pytest.raises(StaleEpochError):
            executor.stop(stop(start, epoch=5))

    def test_an_attempt_that_was_stopped_before_it_started_never_starts(self, executor: Executor) -> None:
        start = attempt(SLEEPS)
        executor.stop(stop(start))
        with pytest.raises(StaleEpochError):
            executor.start(start)
        assert executor.list() == ()

    def test_a_newer_attempt_of_a_job_ends_the_older_one(self, executor: Executor) -> None:
        older, newer = attempt(SLEEPS), attempt(SLEEPS, n=2)
        executor.start(older)
        executor.start(newer)
        assert self.end(executor, older).how in (AttemptEnd.LOST, AttemptEnd.KILLED)
        assert [status.attempt for status in executor.list() if not status.ended] == [2]

    def test_an_older_attempt_of_a_job_does_not_start_after_a_newer_one(self, executor: Executor) -> None:
        executor.start(attempt(SLEEPS, n=2))
        with pytest.raises(StaleEpochError):
            executor.start(attempt(SLEEPS, n=1, epoch=2))

    def test_a_new_executor_adopts_what_runs_and_goes_on_with_the_same_story(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        start = attempt(SLEEPS)
        executor.start(start)
        before = self.story(executor, start, AttemptStarted)
        executor.close()
        second = self.open(tmp_path)
        assert [(s.job_id, s.attempt, s.epoch, s.ended) for s in second.list()] == [("job-a", 1, 1, False)]
        assert list(second.reports({}, 0.0))[:1] == before[:1]
        second.stop(stop(start, epoch=2))
        assert self.end(second, start).how is AttemptEnd.PREEMPTED
        second.close()

    def test_after_an_unknown_outcome_the_list_tells_and_the_start_can_be_sent_again(self, executor: Executor) -> None:
        start = attempt(SLEEPS)
        with contextlib.suppress(OutcomeUnknownError):
            executor.start(start)
        known = [(status.job_id, status.attempt) for status in executor.list()]
        assert known in ([], [("job-a", 1)])
        executor.start(start)
        assert len(executor.list()) == 1

    def test_two_jobs_do_not_touch_each_other(self, executor: Executor) -> None:
        first, second = attempt(SLEEPS), attempt(SLEEPS, job="job-b")
        executor.start(first)
        executor.start(second)
        executor.stop(stop(first, notice_us=0))
        self.until(lambda: {s.job_id for s in executor.list() if s.ended} == {"job-a"}, "the end of job-a alone")


class RankStory(msgspec.Struct, frozen=True):
    """What a rank that runs `TELLS` says about itself."""

    pid: int
    parent: int
    env: dict[str, str]


class ProcessContract(ExecutorContract):
    """What an executor of real processes owes besides, when they run on this machine."""

    def told(self, executor: Executor, start: Start) -> list[RankStory]:
        """The story of each rank of an attempt that runs `TELLS`."""
        key = (start.job_id, start.attempt)
        count = sum(task.local_ranks for task in start.tasks)
        self.until(lambda: all(executor.logs(key, rank) for rank in range(count)), "a word from each rank")
        return [msgspec.json.decode(executor.logs(key, rank), type=RankStory) for rank in range(count)]

    def gone(self, pids: list[int]) -> bool:
        return not any(_runs(pid) for pid in pids)

    def test_ranks_find_torchruns_variables_and_exactly_their_devices(self, executor: Executor) -> None:
        start = attempt(TELLS, tasks=2, ranks=2)
        executor.start(start)
        envs = [rank.env for rank in self.told(executor, start)]
        assert [(e["RANK"], e["WORLD_SIZE"], e["LOCAL_RANK"], e["GROUP_RANK"]) for e in envs] == [
            ("0", "4", "0", "0"),
            ("1", "4", "1", "0"),
            ("2", "4", "0", "1"),
            ("3", "4", "1", "1"),
        ]
        assert len({(e["MASTER_ADDR"], e["MASTER_PORT"]) for e in envs}) == 1
        assert {e["CUDA_VISIBLE_DEVICES"] for e in envs} == {"2,3"}
        assert {e["MINE"] for e in envs} == {"kept"}

    def test_ranks_find_no_way_to_ray_and_no_token(self, executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "DUALTRACK_TOKEN", "DUALTRACK_SERVER", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "canary-of-a-secret")
        start = attempt(TELLS)
        executor.start(start)
        (rank,) = self.told(executor, start)
        env = rank.env
        assert [name for name in env if name.startswith("RAY_") or "TOKEN" in name] == []
        assert "canary-of-a-secret" not in env.values()
        supervisor = Path(f"/proc/{rank.parent}/environ").read_bytes()
        assert b"canary-of-a-secret" not in supervisor
        assert b"RAY_" not in supervisor

    def test_a_killed_rank_ends_the_whole_attempt(self, executor: Executor) -> None:
        start = attempt(TELLS, tasks=2)
        executor.start(start)
        pids = [rank.pid for rank in self.told(executor, start)]
        os.kill(pids[1], signal.SIGKILL)
        end = self.end(executor, start)
        assert (end.how, end.exit_code) == (AttemptEnd.EXITED, 128 + signal.SIGKILL)
        self.until(lambda: self.gone(pids), "the end of every rank")

    def test_a_killed_supervisor_is_a_lost_attempt_and_its_ranks_are_gone(self, executor: Executor) -> None:
        start = attempt(TELLS, tasks=2, ranks=2)
        executor.start(start)
        ranks = self.told(executor, start)
        self.story(executor, start, AttemptStarted)
        os.kill(ranks[0].parent, signal.SIGKILL)
        assert self.end(executor, start).how is AttemptEnd.LOST
        self.until(lambda: self.gone([rank.pid for rank in ranks]), "the end of every rank")

    def test_what_ranks_leave_behind_is_reaped(self, executor: Executor) -> None:
        orphan = "subprocess.Popen(['sleep', '601'], start_new_session=True)"
        start = attempt(f"import subprocess; p = {orphan}; print(p.pid)")
        executor.start(start)
        assert self.end(executor, start).how is AttemptEnd.EXITED
        pid = int(executor.logs((start.job_id, 1), 0))
        self.until(lambda: self.gone([pid]), "the end of the orphan")

    def test_releasing_an_attempt_that_still_runs_reaps_its_processes(self, executor: Executor) -> None:
        start = attempt(TELLS, tasks=2)
        executor.start(start)
        pids = [rank.pid for rank in self.told(executor, start)]
        executor.stop(release(start))
        self.until(lambda: self.gone(pids), "the end of every rank")

    def test_a_program_that_is_not_there_is_a_failed_start_in_words(self, executor: Executor) -> None:
        start = attempt("")
        task = structs.replace(start.tasks[0], entrypoint=("no-such-program-anywhere",))
        start = structs.replace(start, tasks=(task,))
        executor.start(start)
        end = self.end(executor, start)
        assert end.how is AttemptEnd.START_FAILED
        assert "no-such-program-anywhere" in end.detail

    def test_output_of_all_ranks_names_role_and_rank_and_offsets_stay_true(self, executor: Executor) -> None:
        start = attempt("print('one'); print('two')", ranks=2)
        executor.start(start)
        self.end(executor, start)
        output = executor.logs((start.job_id, 1))
        assert sorted(output.splitlines()) == [b"[main/0] one", b"[main/0] two", b"[main/1] one", b"[main/1] two"]
        assert executor.logs((start.job_id, 1), offset=5) == output[5:]
        assert executor.logs((start.job_id, 1), rank=1, offset=4) == b"two\n"


def _release_of(status: AttemptStatus) -> Release:
    return Release(job=status.job, attempt=status.attempt, epoch=2**31, job_id=status.job_id, cell=CELL)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
