"""One task under its supervisor: real processes, without an executor."""

import json
import os
import signal
import time

import msgspec
import pytest

from backends.runtime.launch import spawn, wait_until_up
from backends.runtime.places import TaskPlace, write_atomically
from backends.runtime.ports import choose_ports
from backends.runtime.prepare import prepare
from backends.runtime.processes import identify, is_alive, kill_session
from backends.runtime.reports import ReportFile
from backends.runtime.request import StopRequest
from backends.runtime.supervisor import main, read_state
from scheduler.model.events import AttemptProgressed
from scheduler.model.lifecycle import AttemptEnd
from tests.support.starts import start, task
from tests.support.waiting import until

SLEEPS = "import time; time.sleep(600)"
TELL = "import os, time\ndef tell(line):\n    open(os.environ['DUALTRACK_REPORT_PATH'], 'a').write(line + '\\n')\n"


class Run:
    """A supervised task and what is on record about it."""

    def __init__(self, place, process):
        self.place = place
        self.process = process
        self.file = ReportFile(place.reports)

    def refreshed(self):
        self.file.refresh()
        return self.file

    def started(self):
        until(lambda: self.refreshed().started, what="the start")
        return self.file.started.report

    def ended(self):
        until(lambda: self.refreshed().ended, timeout_s=60, what="the end")
        self.process.wait(30)
        return self.file.ended.report

    def stop(self, notice_us):
        stop = StopRequest(
            epoch=1, notice_us=notice_us, deadline_us=time.time_ns() // 1000 + notice_us, cause="preempt"
        )
        write_atomically(self.place.stop, msgspec.json.encode(stop))

    def ranks(self):
        until(lambda: read_state(self.place).ranks, what="the ranks")
        return read_state(self.place).ranks

    def says(self, text, rank=0):
        log = self.place.log(rank)
        until(lambda: log.exists() and text in log.read_text(), what=f"{text!r} in the log")


@pytest.fixture
def supervise(tmp_path):
    runs = []

    def begin(code="pass", before=None, *, grace_us=3_000_000, log_limit_bytes=10_000, command=None, **changes):
        command = command or start(task(code, **changes), work=3.0)
        (request,) = choose_ports(prepare(command).tasks)
        request = msgspec.structs.replace(request, grace_us=grace_us, log_limit_bytes=log_limit_bytes)
        run = Run(TaskPlace(tmp_path / str(len(runs))), None)
        if before is not None:
            run.place.directory.mkdir()
            before(run)
        run.process = spawn(run.place, request)
        runs.append(run)
        wait_until_up(run.place, run.process, time.monotonic() + 60)
        return run

    yield begin
    for run in runs:
        kill_session(identify(run.process.pid))
        run.process.wait(30)


def test_a_task_that_succeeds_leaves_a_start_and_an_end(supervise):
    run = supervise("print('done')", local_ranks=2, world_size=2)
    end = run.ended()
    assert (end.how, end.exit_code, end.detail) == (AttemptEnd.EXITED, 0, "")
    assert run.process.returncode == 0
    assert [run.place.log(rank).read_text() for rank in (0, 1)] == ["done\n", "done\n"]
    assert not run.place.pipe(0).exists()


def test_a_failure_carries_the_ranks_last_words(supervise):
    end = supervise("raise ValueError('no such corpus')").ended()
    assert (end.how, end.exit_code) == (AttemptEnd.EXITED, 1)
    assert end.detail == "rank 0 exited with code 1: ValueError: no such corpus"


def test_a_rank_that_fails_takes_its_peers_with_it_after_a_short_grace(supervise):
    code = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "sys.exit(5) if os.environ['RANK'] == '1' else time.sleep(600)"
    )
    end = supervise(code, local_ranks=3, world_size=3, grace_us=100_000).ended()
    assert (end.how, end.exit_code) == (AttemptEnd.EXITED, 5)
    assert end.detail.startswith("rank 1 ")


def test_a_program_that_is_missing_or_may_not_run_or_has_no_folder_is_a_failed_start(supervise, tmp_path):
    (tmp_path / "text").write_text("no program")
    missing = supervise(entrypoint=("no-such-program",)).ended()
    forbidden = supervise(entrypoint=(str(tmp_path / "text"),)).ended()
    homeless = supervise(command=start(task(), workdir=str(tmp_path / "nowhere"))).ended()
    assert {end.how for end in (missing, forbidden, homeless)} == {AttemptEnd.START_FAILED}
    assert missing.detail == "cannot start 'no-such-program': No such file or directory"
    assert "Permission denied" in forbidden.detail
    assert homeless.detail.endswith("nowhere is not there")


def test_a_notice_lets_the_ranks_leave_in_time(supervise):
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit('saved'))\n"
        "print('up'); time.sleep(600)"
    )
    run = supervise(code)
    run.says("up")
    run.stop(60_000_000)
    end = run.ended()
    assert (end.how, end.exit_code) == (AttemptEnd.PREEMPTED, 1)
    run.says("saved")


def test_a_sooner_deadline_replaces_a_later_one(supervise):
    run = supervise(f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf')\n{SLEEPS}")
    run.says("deaf")
    run.stop(600_000_000)
    run.stop(0)
    assert run.ended().how is AttemptEnd.KILLED


def test_a_rank_that_finished_its_work_has_succeeded_whatever_notice_came_meanwhile(supervise):
    code = (
        f"import signal\nleave = []\nsignal.signal(signal.SIGTERM, lambda *_: leave.append(1))\n{TELL}"
        "print('up')\nwhile not leave: time.sleep(0.01)\ntell('{\"finished\": true}')"
    )
    run = supervise(code)
    run.says("up")
    run.stop(60_000_000)
    assert run.ended().how is AttemptEnd.EXITED


def test_a_task_that_was_stopped_before_it_began_never_begins(supervise):
    run = supervise("print('ran')", before=lambda run: run.stop(1_000_000))
    assert run.ended().how is AttemptEnd.PREEMPTED
    assert not run.place.log(0).exists()


def test_asking_the_supervisor_to_leave_is_a_notice(supervise):
    run = supervise(SLEEPS)
    run.started()
    os.kill(run.process.pid, signal.SIGTERM)
    assert run.ended().how is AttemptEnd.PREEMPTED


def test_ranks_die_with_their_supervisor_within_moments(supervise):
    run = supervise(
        f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SLEEPS}", local_ranks=2, world_size=2
    )
    ranks = run.ranks()
    os.kill(run.process.pid, signal.SIGKILL)
    until(lambda: not any(map(is_alive, ranks)), timeout_s=10, what="the end of the ranks")


def test_a_task_is_supervised_once(supervise):
    run = supervise(SLEEPS)
    assert main(str(run.place.directory)) == 3
    run.started()


def test_progress_is_told_thinned_out_and_the_last_of_it_never_lost(supervise):
    code = TELL + 'for i in range(1000):\n    tell(\'{"done": %d, "loss": 0.25, "saved": 1}\' % i)'
    run = supervise(code)
    assert run.ended().how is AttemptEnd.EXITED
    told = [entry.report for entry in run.file.entries]
    assert all(isinstance(report, AttemptProgressed) for report in told)
    assert (told[-1].done, told[-1].loss, told[-1].saved) == (999, 0.25, 1)
    assert len(told) < 200


def test_only_rank_zero_of_the_leading_task_tells_progress(supervise):
    code = TELL + "tell('{\"done\": %s}' % (7 if os.environ['RANK'] == '0' else 99))"
    run = supervise(code, local_ranks=2, world_size=2)
    run.ended()
    assert {entry.report.done for entry in run.file.entries} == {7}


def test_running_out_of_memory_is_told_apart_by_what_the_rank_says_or_prints(supervise):
    said = supervise(TELL + 'tell(\'{"out_of_memory": true, "detail": "77 GiB"}\'); raise SystemExit(1)').ended()
    printed = supervise("raise MemoryError").ended()
    vendors = supervise("import sys; sys.exit('RuntimeError: CUDA out of memory. Tried 2 GiB')", emulated=False).ended()
    assert [end.how for end in (said, printed, vendors)] == [AttemptEnd.OUT_OF_MEMORY] * 3
    assert said.detail == "rank 0: 77 GiB"


def test_a_service_has_started_when_its_port_answers(supervise, tmp_path):
    code = (
        "import os, socket, time\nprint('up')\nopen(os.environ['GATE']).read()\n"
        "s = socket.create_server(('127.0.0.1', int(os.environ['DUALTRACK_SERVICE_PORT'])))\ntime.sleep(600)"
    )
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    run = supervise(command=start(task(code, env={"GATE": str(gate)}), service=True))
    run.says("up")
    assert run.refreshed().started is None
    gate.write_text("go")
    (endpoint,) = run.started().endpoints
    assert endpoint.startswith("127.0.0.1:")


def test_a_service_may_say_itself_that_it_is_ready(supervise):
    code = TELL + "tell('{\"ready\": true}'); time.sleep(600)"
    run = supervise(command=start(task(code), service=True))
    assert len(run.started().endpoints) == 1


def test_a_flood_of_output_is_capped_and_its_end_is_kept(supervise):
    run = supervise("for i in range(50_000): print('line', i)", log_limit_bytes=20_000)
    run.ended()
    log = run.place.log(0).read_text()
    assert log.startswith("line 0\nline 1\n")
    assert log.endswith("line 49999\n")
    assert len(log) < 100_000


def test_a_script_of_torchruns_kind_needs_nothing_else(supervise):
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
    run = supervise(f"import json, os; print(json.dumps([os.environ[n] for n in {names!r}]))")
    run.ended()
    assert json.loads(run.place.log(0).read_text())[:5] == ["0", "1", "0", "1", "0"]
