"""What the scheduler's machine keeps of a cell's attempts, without Ray."""

import time

import pytest

from backends.conformance.executors import SLEEPS, attempt
from backends.executors.ray.mirror import Mirror
from backends.runtime.output import MAX_BYTES
from backends.runtime.places import write_atomically
from backends.runtime.reports import Entry
from scheduler.model.events import AttemptEnded, AttemptProgressed, AttemptStarted
from scheduler.model.lifecycle import AttemptEnd

KEY = ("job-a", 1)


@pytest.fixture
def mirror(tmp_path):
    mirror = Mirror(tmp_path)
    begun(mirror, attempt(SLEEPS, tasks=2))
    return mirror


def begun(mirror, command):
    record = mirror.record(command.job_id, command.attempt)
    with record.changing():
        mirror.begin(record, command)
        write_atomically(record.place.launched, b"")
    return record


def tell(mirror, index, kind, seq, **fields):
    report = kind(job=1, attempt=1, epoch=1, seq=seq, **fields)
    mirror.take(KEY, index, [Entry(time.time_ns() // 1000, report)])


def test_a_task_is_asked_beyond_what_it_has_told_until_its_end_is_known(mirror):
    tell(mirror, 0, AttemptStarted, 1)
    tell(mirror, 0, AttemptProgressed, 2, done=5.0)
    assert mirror.open_tasks() == {(KEY, 0): 2, (KEY, 1): 0}
    tell(mirror, 1, AttemptEnded, 1, how=AttemptEnd.EXITED, exit_code=1)
    assert mirror.open_tasks() == {(KEY, 0): 2}
    assert mirror.failed(KEY)


def test_a_loss_is_written_once_and_read_alike_by_the_next_scheduler(mirror, tmp_path):
    for index in (0, 1):
        tell(mirror, index, AttemptStarted, 1)
        mirror.lose(KEY, index, "gone")
        mirror.lose(KEY, index, "gone again")
    reports = mirror.reports({})
    assert [(type(r), r.seq) for r in reports] == [(AttemptStarted, 1), (AttemptEnded, 2)]
    assert Mirror(tmp_path).reports({}) == reports
    assert [status.ended for status in Mirror(tmp_path).statuses()] == [True]


def test_an_end_that_was_told_is_not_overwritten_by_a_loss(mirror):
    for index in (0, 1):
        tell(mirror, index, AttemptStarted, 1)
        tell(mirror, index, AttemptEnded, 2, how=AttemptEnd.EXITED)
        mirror.lose(KEY, index, "gone")
    assert [r.how for r in mirror.reports({}) if isinstance(r, AttemptEnded)] == [AttemptEnd.EXITED]


def test_nothing_is_added_to_a_released_attempt(mirror):
    record = mirror.record(*KEY)
    mirror.release(record)
    mirror.lose(KEY, 0, "gone")
    tell(mirror, 1, AttemptStarted, 1)
    assert mirror.statuses() == ()
    assert not record.place.task(0).reports.exists()
    assert not record.place.task(1).reports.exists()


def test_a_log_is_copied_in_pieces_and_only_what_is_new(mirror):
    log = b"x" * (2 * MAX_BYTES + 17)
    asked = []

    def read(offset):
        asked.append(offset)
        return log[offset : offset + MAX_BYTES]

    path = mirror.record(*KEY).place.task(0).log(0)
    mirror.copy_log(path, read)
    mirror.copy_log(path, read)
    assert path.read_bytes() == log
    assert asked == [0, MAX_BYTES, 2 * MAX_BYTES, len(log)]


def test_the_oldest_released_attempts_make_room(tmp_path):
    mirror = Mirror(tmp_path, kept_attempts=2)
    for n in range(1, 5):
        mirror.release(begun(mirror, attempt(SLEEPS, n=n)))
    assert mirror.attempts_of("job-a") == {3, 4}
