"""What every journal promises, shown on memory, SQLite and PostgreSQL alike."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings

from scheduler.errors import (
    JournalCorruptError,
    JournalError,
    JournalLockedError,
    JournalVersionError,
    JournalWriteError,
)
from scheduler.model.events import CarriedOver, EpochStarted, Record
from tests.support.histories import batches, numbered, one_of_each_kind

few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_a_fresh_journal_is_empty_and_has_no_checkpoint(place):
    journal = place.open()
    assert list(journal.read()) == []
    assert journal.load_checkpoint() is None
    assert journal.head == 0


def test_every_kind_of_event_comes_back_as_it_was_after_a_restart(place):
    journal, history = place.open(), numbered(one_of_each_kind())
    journal.lead()
    journal.append(history)
    assert list(place.open().read()) == history


def test_mappings_come_back_in_their_own_order(place):
    journal, history = place.open(), numbered(one_of_each_kind())
    journal.lead()
    journal.append(history)
    submitted = list(place.open().read())[2].event
    assert list(submitted.spec.roles[0].env) == ["ZEBRA", "ALPHA"]


@few
@given(history=batches)
def test_any_batches_come_back_in_order_from_any_point(new_place: Callable, history):
    place = new_place()
    journal, written = place.open(), []
    journal.lead()
    for events in history:
        batch = numbered(events, after=len(written))
        journal.append(batch)
        written += batch
    again = place.open()
    assert list(again.read()) == written
    assert list(again.read(len(written) // 2)) == written[len(written) // 2 :]
    assert again.head == len(written)


def test_each_lead_has_a_larger_epoch(place):
    assert [place.open().lead() for _ in range(3)] == [1, 2, 3]


def test_a_journal_without_the_lead_reads_but_does_not_write(place):
    with pytest.raises(JournalLockedError, match="reading only"):
        place.open().append(numbered([EpochStarted(1)]))


def test_a_deposed_leader_is_refused_and_its_records_are_not_there(place):
    journal = place.open()
    journal.lead()
    journal.append(numbered([EpochStarted(1)]))
    place.usurp()
    for _ in range(2):
        with pytest.raises(JournalLockedError, match="epoch 2; ours was 1"):
            journal.append(numbered([CarriedOver()], after=1))
    with pytest.raises(JournalLockedError):
        journal.save_checkpoint(1, b"late")
    assert len(list(place.open().read())) == 1
    assert place.open().load_checkpoint() is None


def test_a_record_of_another_epoch_is_refused(place):
    journal = place.open()
    journal.lead()
    with pytest.raises(JournalLockedError, match="epoch 7"):
        journal.append(numbered([EpochStarted(7)], epoch=7))


@pytest.mark.parametrize("seqs", [[2], [1, 3], [1, 1], [0]])
def test_numbers_with_a_gap_or_a_repeat_are_refused_and_stop_the_journal(place, seqs):
    journal = place.open()
    journal.lead()
    with pytest.raises(JournalWriteError, match="next record is number"):
        journal.append([Record(seq, 1, 0, CarriedOver()) for seq in seqs])
    with pytest.raises(JournalWriteError):
        journal.append(numbered([CarriedOver()]))
    assert list(place.open().read()) == []


def test_an_event_that_cannot_be_read_back_is_refused_before_it_is_written(place):
    journal = place.open()
    journal.lead()
    with pytest.raises(JournalWriteError, match="not finite"):
        journal.append(numbered([CarriedOver(), CarriedOver((("h200", float("nan")),))]))
    assert list(place.open().read()) == []


def test_an_empty_batch_changes_nothing(place):
    journal = place.open()
    journal.lead()
    journal.append([])
    assert journal.head == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("payload", b'{"type":"carried_over","prices":[["h200",0.2]]}'),
        ("crc", 1),
        ("epoch", 2),
        ("time_us", 0),
        ("kind", "x"),
    ],
)
def test_a_changed_column_is_refused_with_the_number_of_the_record(place, column, value):
    journal = place.open()
    journal.lead()
    journal.append(numbered([EpochStarted(1), CarriedOver((("h200", 0.1),)), CarriedOver()]))
    place.damage(2, column, value)
    found, reading = [], place.open().read()
    with pytest.raises(JournalCorruptError, match=r"record 2 .*checksum.*restore the journal from a backup"):
        found.extend(reading)
    assert [record.seq for record in place.open().read(2)] == [3]


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_record_lost_anywhere_is_noticed_even_at_the_end(place, lost):
    journal = place.open()
    journal.lead()
    journal.append(numbered([EpochStarted(1), CarriedOver(), CarriedOver()]))
    place.delete(lost)
    with pytest.raises(JournalCorruptError, match=r"missing|does not match|ends at record 2, but 3"):
        list(place.open().read())


def test_checkpoints_are_read_newest_first_and_only_two_are_kept(place):
    journal = place.open()
    journal.lead()
    for seq in range(1, 5):
        journal.append(numbered([CarriedOver()], after=seq - 1))
        journal.save_checkpoint(seq, b"image %d" % seq)
    again = place.open()
    assert again.load_checkpoint() == (4, b"image 4")
    assert again.load_checkpoint(4) == (3, b"image 3")
    assert again.load_checkpoint(3) is None


def test_a_damaged_checkpoint_gives_way_to_the_one_before(place):
    journal = place.open()
    journal.lead()
    journal.append(numbered([CarriedOver()] * 2))
    journal.save_checkpoint(1, b"first")
    journal.save_checkpoint(2, b"second")
    place.damage_checkpoint(2)
    assert place.open().load_checkpoint() == (1, b"first")
    place.damage_checkpoint(1)
    assert place.open().load_checkpoint() is None


def test_a_checkpoint_can_be_saved_again_and_the_later_image_holds(place):
    journal = place.open()
    journal.lead()
    journal.append(numbered([CarriedOver()]))
    journal.save_checkpoint(1, b"first")
    journal.save_checkpoint(1, b"again")
    assert place.open().load_checkpoint() == (1, b"again")


def test_a_checkpoint_of_records_that_are_not_there_is_refused(place):
    journal = place.open()
    journal.lead()
    with pytest.raises(JournalWriteError, match="the journal ends at 0"):
        journal.save_checkpoint(5, b"future")


def test_a_closed_journal_can_be_led_by_the_next(place):
    journal = place.open()
    journal.lead()
    journal.append(numbered([EpochStarted(1)]))
    journal.close()
    following = place.open()
    assert following.lead() == 2
    following.append(numbered([EpochStarted(2)], epoch=2, after=1))
    assert [record.epoch for record in place.open().read()] == [1, 2]


def test_a_kind_from_the_future_is_refused_by_name(place):
    journal = place.open()
    journal.lead()
    journal.append(numbered([EpochStarted(1)]))
    from scheduler.journal.codec import checksum

    payload = b'{"type":"teleported"}'
    for column, value in (
        ("kind", "teleported"),
        ("payload", payload),
        ("crc", checksum(1, 1, 1_000_001, 1, "teleported", payload)),
    ):
        place.damage(1, column, value)
    with pytest.raises(JournalVersionError, match=r"record 1 .*'teleported'.*upgrade dualtrack"):
        list(place.open().read())
    assert issubclass(JournalVersionError, JournalError)
