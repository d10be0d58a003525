from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.runtime.reports import Entry, ReportFile, append, mend, merge, worst
from scheduler.model.events import AttemptEnded, AttemptProgressed, AttemptStarted
from scheduler.model.lifecycle import AttemptEnd


def started(seq=1, endpoints=()):
    return AttemptStarted(job=0, attempt=1, epoch=1, seq=seq, endpoints=endpoints)


def progressed(seq, done=1.0):
    return AttemptProgressed(job=0, attempt=1, epoch=1, seq=seq, done=done)


def ended(seq, how=AttemptEnd.EXITED, exit_code=0):
    return AttemptEnded(job=0, attempt=1, epoch=1, seq=seq, how=how, exit_code=exit_code)


def written(path, *reports, first_us=0):
    for offset, report in enumerate(reports):
        append(path, Entry(first_us + offset, report))
    file = ReportFile(path)
    file.refresh()
    return file


def test_an_attempt_has_started_once_every_task_has(tmp_path):
    lead, other = written(tmp_path / "0", started(), progressed(2)), ReportFile(tmp_path / "1")
    assert merge([lead, other], 0, 0) == ()
    other = written(tmp_path / "1", started())
    assert [report.seq for report in merge([lead, other], 0, 0)] == [1, 2]


def test_an_attempt_has_ended_once_every_task_has(tmp_path):
    lead, other = written(tmp_path / "0", started(), ended(2)), written(tmp_path / "1", started())
    assert [type(report) for report in merge([lead, other], 0, 0)] == [AttemptStarted]
    other = written(tmp_path / "1", progressed(2), ended(3))
    assert [(type(report), report.seq) for report in merge([lead, other], 0, 1)] == [(AttemptEnded, 2)]


def test_an_attempt_that_never_started_still_ends(tmp_path):
    lead = written(tmp_path / "0", started(), ended(2, AttemptEnd.PREEMPTED))
    other = written(tmp_path / "1", ended(1, AttemptEnd.START_FAILED, 127))
    (end,) = merge([lead, other], 0, 0)
    assert (end.how, end.seq) == (AttemptEnd.START_FAILED, 2)


def test_endpoints_come_from_every_replica_in_order(tmp_path):
    files = [written(tmp_path / str(i), started(endpoints=(f"host:{i}",))) for i in range(3)]
    assert merge(files, 0, 0)[0].endpoints == ("host:0", "host:1", "host:2")


def test_a_cause_explains_an_end_better_than_what_it_brings_about():
    ends = [
        Entry(1, ended(1, AttemptEnd.PREEMPTED, 143)),
        Entry(2, ended(1, AttemptEnd.EXITED, 1)),
        Entry(3, ended(1, AttemptEnd.OUT_OF_MEMORY, 9)),
    ]
    assert worst(ends).how is AttemptEnd.OUT_OF_MEMORY
    assert worst([*ends, Entry(4, ended(1, AttemptEnd.LOST))]).how is AttemptEnd.LOST


def test_of_two_failures_the_earlier_one_counts():
    assert worst([Entry(5, ended(1, exit_code=1)), Entry(4, ended(1, exit_code=3))]).exit_code == 3
    assert worst([Entry(1, ended(1)), Entry(9, ended(1, exit_code=3))]).exit_code == 3


def test_a_torn_last_line_is_not_read_and_can_be_mended(tmp_path):
    path = tmp_path / "0"
    written(path, started())
    with path.open("ab") as file:
        file.write(b'{"time_us":1,"repo')
    assert written(path).last_seq == 1
    mend(path)
    assert written(path, ended(2)).ended is not None


def test_reports_that_were_seen_are_forgotten_and_read_again_when_asked_for(tmp_path):
    path = tmp_path / "0"
    file = written(path, started(), *(progressed(seq) for seq in range(2, 50)))
    file.refresh(seen=40)
    assert [entry.report.seq for entry in file.entries] == list(range(41, 50))
    file.refresh(seen=10)
    assert [report.seq for report in merge([file], 0, 10)] == list(range(11, 50))


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.data())
@settings(max_examples=50)
def test_the_merged_story_only_grows_however_its_parts_arrive(lengths, data):
    with TemporaryDirectory() as folder:
        hear_a_story(Path(folder), lengths, data)


def hear_a_story(folder, lengths, data):
    stories = [[started(), *(progressed(i + 2) for i in range(n)), ended(n + 2)] for n in lengths]
    files = [ReportFile(folder / str(i)) for i in range(len(stories))]
    heard, waiting = [], [list(story) for story in stories]
    while any(waiting):
        task = data.draw(st.sampled_from([i for i, story in enumerate(waiting) if story]))
        append(files[task].path, Entry(0, waiting[task].pop(0)))
        seen = heard[-1].seq if heard else 0
        for file in files:
            file.refresh(seen)
        heard += merge(files, 0, seen)
    fresh = [ReportFile(file.path) for file in files]
    for file in fresh:
        file.refresh()
    assert list(merge(fresh, 0, 0)) == heard
    assert [report.seq for report in heard] == list(range(1, len(stories[0]) + 1))
