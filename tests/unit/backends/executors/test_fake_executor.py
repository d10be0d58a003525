"""The fake executor follows its script, its clock and nothing else."""

import pytest

from backends.executors.fake import Behaviour, FakeExecutor, FakeWorld, Faults, Unknown
from scheduler.errors import OutcomeUnknownError
from scheduler.model.commands import Stop
from scheduler.model.events import AttemptEnded, AttemptProgressed, AttemptStarted
from scheduler.model.lifecycle import AttemptEnd
from tests.support.starts import start, task


class Clock:
    def __init__(self):
        self.time_us = 0

    def now_us(self):
        return self.time_us

    def set_s(self, seconds):
        self.time_us = int(seconds * 1e6)


@pytest.fixture
def clock():
    return Clock()


def executor(clock, faults=None, **behaviour):
    return FakeExecutor(FakeWorld(clock, {"a": Behaviour(**behaviour)}, faults))


def stop(notice_s, attempt=1):
    return Stop(
        job=0, attempt=attempt, epoch=1, job_id="job-a", cell="c", notice_us=int(notice_s * 1e6), cause="preempt"
    )


def told(fake, kind, seen=0):
    return [report for report in fake.reports({("job-a", 1): seen}, 0) if isinstance(report, kind)]


def test_work_goes_at_the_pace_of_the_command_and_ends_with_success(clock):
    fake = executor(clock)
    fake.start(start(task(pace_s=0.5), work=10.0))
    clock.set_s(4.0)
    assert [report.done for report in told(fake, AttemptProgressed)] == [2.0, 4.0, 6.0, 8.0]
    assert told(fake, AttemptEnded) == []
    clock.set_s(5.0)
    (end,) = told(fake, AttemptEnded)
    assert (end.how, end.exit_code) == (AttemptEnd.EXITED, 0)


def test_the_story_is_the_same_however_often_it_is_asked_for(clock):
    often, once = executor(clock), executor(clock)
    for fake in (often, once):
        fake.start(start(work=20.0))
    for tenth in range(250):
        clock.set_s(tenth / 10)
        often.reports({}, 0)
    assert often.reports({}, 0) == once.reports({}, 0)


def test_a_slow_start_is_told_when_it_is_over(clock):
    fake = executor(clock, start_us=3_000_000)
    fake.start(start())
    clock.set_s(2.9)
    assert fake.reports({}, 0) == ()
    clock.set_s(3.0)
    assert len(told(fake, AttemptStarted)) == 1


def test_a_preempted_attempt_saves_and_the_next_one_goes_on_from_there(clock):
    fake = executor(clock)
    fake.start(start(work=10.0))
    clock.set_s(4.5)
    fake.stop(stop(notice_s=30))
    (end,) = told(fake, AttemptEnded)
    assert end.how is AttemptEnd.PREEMPTED
    assert told(fake, AttemptProgressed)[-1].saved == 4.5
    fake.start(start(attempt=2, work=10.0))
    clock.set_s(10.0)
    assert [s.ended for s in fake.list()] == [True, True]


def test_a_killed_attempt_loses_what_it_did_not_save(clock):
    fake = executor(clock, leaves_after_us=None, save_every_us=2_000_000)
    fake.start(start(work=100.0))
    clock.set_s(5)
    fake.stop(stop(notice_s=2))
    clock.set_s(6.9)
    assert told(fake, AttemptEnded) == []
    clock.set_s(7)
    assert told(fake, AttemptEnded)[0].how is AttemptEnd.KILLED
    assert told(fake, AttemptProgressed)[-1].saved == 6.0


def test_a_script_makes_attempts_fail_hang_or_never_start(clock):
    failing = executor(clock, ends_at=2, exit_code=3)
    hanging = executor(clock, hangs_at=2)
    stillborn = executor(clock, start_fails="no such image")
    for fake in (failing, hanging, stillborn):
        fake.start(start(work=10.0))
    clock.set_s(50)
    assert told(failing, AttemptEnded)[0].exit_code == 3
    assert told(hanging, AttemptEnded) == []
    assert told(hanging, AttemptProgressed)[-1].done == 2
    assert [type(r) for r in stillborn.reports({}, 0)] == [AttemptEnded]
    assert told(stillborn, AttemptEnded)[0].detail == "no such image"


def test_an_attempt_can_be_struck_from_outside(clock):
    fake = executor(clock)
    fake.start(start())
    fake.world.end(("job-a", 1), AttemptEnd.LOST, detail="the node is gone")
    assert told(fake, AttemptEnded)[0].how is AttemptEnd.LOST


@pytest.mark.parametrize(("outcome", "listed"), [(Unknown.DONE, 1), (Unknown.NOT_DONE, 0)])
def test_a_start_that_times_out_may_or_may_not_have_had_its_effect(clock, outcome, listed):
    fake = executor(clock, Faults(starts=(outcome,)))
    with pytest.raises(OutcomeUnknownError):
        fake.start(start())
    assert len(fake.list()) == listed
    fake.start(start())
    assert len(fake.list()) == 1


def test_a_stop_that_times_out_may_have_had_no_effect(clock):
    fake = executor(clock, Faults(stops=(Unknown.NOT_DONE,)))
    fake.start(start())
    with pytest.raises(OutcomeUnknownError):
        fake.stop(stop(0))
    assert [s.ended for s in fake.list()] == [False]
    fake.stop(stop(0))
    assert [s.ended for s in fake.list()] == [True]


def test_lost_repeated_and_reordered_reports_never_lose_a_start_or_an_end(clock):
    fake = executor(clock, Faults(seed=1, lose=0.5, repeat=0.5, reorder=1.0))
    fake.start(start(work=30.0))
    clock.set_s(40)
    replies = [fake.reports({}, 0) for _ in range(10)]
    assert all({AttemptStarted, AttemptEnded} <= {type(report) for report in reply} for reply in replies)
    assert any([r.seq for r in reply] != sorted(r.seq for r in reply) for reply in replies)
    assert any(len({r.seq for r in reply}) < len(reply) for reply in replies)
    assert any(len({r.seq for r in reply}) < 32 for reply in replies)


def test_the_same_seed_brings_the_same_faults(clock):
    faults = Faults(seed=5, lose=0.3, repeat=0.3, reorder=0.5)
    fakes = [executor(clock, faults) for _ in range(2)]
    for fake in fakes:
        fake.start(start(work=30.0))
    clock.set_s(40)
    assert [fakes[0].reports({}, 0) for _ in range(5)] == [fakes[1].reports({}, 0) for _ in range(5)]


def test_it_waits_as_it_is_told_to_and_not_at_all_on_a_clock_that_stands_still(clock):
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        clock.set_s(clock.time_us / 1e6 + 1)

    fake = FakeExecutor(FakeWorld(clock), sleep)
    fake.start(start(task(pace_s=1.0), work=2.0))
    assert len(fake.reports({("job-a", 1): 1}, 5.0)) == 1
    assert slept
    assert executor(clock).reports({}, 60) == ()
