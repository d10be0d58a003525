"""The actor of one task, as a plain object in this process: a real supervisor, and no Ray."""

import os
import signal

import msgspec
import pytest

from backends.conformance.executors import SLEEPS, attempt
from backends.executors.ray.actor import TaskActor, TaskReport
from backends.executors.ray.guard import main as guard
from backends.runtime.places import AttemptPlace
from backends.runtime.ports import choose_ports
from backends.runtime.prepare import prepare
from backends.runtime.request import TaskRequest
from backends.runtime.supervisor import read_state
from scheduler.model.events import AttemptEnded, AttemptStarted
from scheduler.model.lifecycle import AttemptEnd
from tests.support.waiting import until

NOTICE_US = 20_000_000


class Seat:
    """An actor with what the gateway would know about it."""

    def __init__(self, root, code=SLEEPS, epoch=3):
        self.place = AttemptPlace(root, "job-a", 1).task(0)
        (task,) = choose_ports(prepare(attempt(code, epoch=epoch)).tasks)
        self.body = msgspec.json.encode(task)
        self.actor = TaskActor(str(root), "job-a", 1, 0)

    def start(self):
        assert self.actor.start(self.body) == ""

    def told(self, after=0, wait_s=30.0):
        return msgspec.json.decode(self.actor.reports(after, wait_s), type=TaskReport)

    def end(self):
        until(lambda: self.told().ended, what="the end")
        return self.told().entries[-1].report


@pytest.fixture
def seat(tmp_path):
    seat = Seat(tmp_path)
    yield seat
    seat.actor.release()


def gone(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_start_is_told_and_the_same_start_twice_is_one(seat):
    seat.start()
    _, supervisor, _ = seat.actor.status()
    seat.start()
    assert seat.actor.status() == (os.getpid(), supervisor, 3)
    assert isinstance(seat.told().entries[0].report, AttemptStarted)


def test_it_says_what_it_runs_so_that_another_scheduler_can_adopt_it(seat):
    assert seat.actor.describe() == b""
    seat.start()
    assert msgspec.json.decode(seat.actor.describe(), type=TaskRequest).start.job_id == "job-a"


def test_a_notice_of_an_older_epoch_has_no_effect(seat):
    seat.start()
    assert seat.actor.stop(2, 0, "preempt") == 3
    assert not seat.place.stop.exists()
    assert seat.actor.stop(4, NOTICE_US, "preempt") == 4
    assert seat.end().how is AttemptEnd.PREEMPTED


def test_a_supervisor_that_is_killed_is_told_as_lost_once(seat):
    seat.start()
    ranks = until_ranks(seat)
    os.kill(seat.actor.status()[1], signal.SIGKILL)
    assert seat.end().how is AttemptEnd.LOST
    until(lambda: all(gone(pid) for pid in ranks), what="the end of the ranks")
    ends = [entry for entry in seat.told().entries if isinstance(entry.report, AttemptEnded)]
    assert len(ends) == 1


def test_output_is_read_from_any_offset(tmp_path):
    seat = Seat(tmp_path, code="print('one'); print('two')")
    seat.start()
    seat.end()
    assert seat.actor.log(0, 0) == b"one\ntwo\n"
    assert seat.actor.log(0, 4) == b"two\n"
    seat.actor.release()


def test_a_release_kills_what_runs_and_leaves_no_file(seat, tmp_path):
    seat.start()
    ranks = until_ranks(seat)
    seat.actor.release()
    until(lambda: all(gone(pid) for pid in ranks), what="the end of the ranks")
    assert list(tmp_path.iterdir()) == []


def test_a_supervisor_goes_with_the_pipe_that_its_actor_holds(seat):
    seat.start()
    pids = [*until_ranks(seat), seat.actor.status()[1]]
    seat.actor._process.stdin.close()  # what the kernel does when the actor's process ends
    until(lambda: all(gone(pid) for pid in pids), what="the end of supervisor and ranks")


def test_a_guard_whose_actor_has_gone_before_it_looked_starts_nothing(seat, monkeypatch):
    read, write = os.pipe()
    os.close(write)
    with os.fdopen(read) as pipe, monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("sys.stdin", pipe)
        guard(str(seat.place.directory))
    signal.signal(signal.SIGIO, signal.SIG_DFL)


def until_ranks(seat):
    until(lambda: (state := read_state(seat.place)) is not None and state.ranks, what="the ranks")
    return [rank.pid for rank in read_state(seat.place).ranks]
