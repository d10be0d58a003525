"""A restart finds the state that lived: from all records, from a checkpoint, and from the one before if that is bad."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.engine.engine import Engine
from scheduler.engine.image import encode
from scheduler.engine.state import State
from scheduler.errors import JournalCorruptError
from scheduler.journal.memory import MemoryJournal
from scheduler.journal.replay import checkpoint_image, replay
from scheduler.model.events import CarriedOver, EpochStarted
from tests.support.golden_journal import history
from tests.support.histories import numbered

RECORDS, _ = history()


def lived(count: int) -> State:
    """The state after the first `count` records."""
    engine = Engine(State.new(RECORDS[0].event))
    for record in RECORDS[1:count]:
        engine.fold(record.event, record.time_us)
    return engine.state


def written(place, *, checkpoints=()):
    journal = place.open()
    journal.lead()
    journal.append(RECORDS)
    for seq in checkpoints:
        journal.save_checkpoint(seq, checkpoint_image(lived(seq)))
    return journal


def test_an_empty_journal_has_no_state_yet(place):
    found = replay(place.open())
    assert (found.engine, found.seq, found.epoch, found.records) == (None, 0, 0, 0)


def test_all_records_give_the_state_that_lived(place):
    written(place)
    found = replay(place.open())
    assert encode(found.engine.state) == encode(lived(len(RECORDS)))
    assert (found.seq, found.epoch, found.time_us) == (len(RECORDS), 1, RECORDS[-1].time_us)


@pytest.mark.parametrize("seq", [1, 7, 20, len(RECORDS)])
def test_a_checkpoint_and_the_records_after_it_give_the_same(place, seq):
    written(place, checkpoints=[seq])
    found = replay(place.open())
    assert encode(found.engine.state) == encode(lived(len(RECORDS)))
    assert (found.checkpoint_seq, found.records) == (seq, len(RECORDS) - seq)
    assert (found.seq, found.epoch, found.time_us) == (len(RECORDS), 1, RECORDS[-1].time_us)


def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_that_to_all_records(place):
    written(place, checkpoints=[10, 20])
    for damaged, base in ((20, 10), (10, 0)):
        place.damage_checkpoint(damaged)
        found = replay(place.open())
        assert found.checkpoint_seq == base
        assert encode(found.engine.state) == encode(lived(len(RECORDS)))


@pytest.mark.parametrize(
    "image", [b"", b"{}", b"0123456789abcdef " + encode(lived(5)), checkpoint_image(lived(5))[:-1]]
)
def test_a_checkpoint_that_is_sound_but_not_of_this_state_is_passed_over(place, image):
    journal = written(place, checkpoints=[10])
    journal.save_checkpoint(20, image)
    found = replay(place.open())
    assert found.checkpoint_seq == 10
    assert encode(found.engine.state) == encode(lived(len(RECORDS)))


def test_damage_before_the_checkpoint_does_not_stop_a_restart_but_damage_after_it_does(place):
    written(place, checkpoints=[20])
    place.damage(5, "crc", 1)
    assert replay(place.open()).checkpoint_seq == 20
    place.damage(21, "crc", 1)
    with pytest.raises(JournalCorruptError, match=r"record 21 "):
        replay(place.open())


def test_a_history_that_does_not_begin_with_a_configuration_is_refused(place):
    journal = place.open()
    journal.lead()
    journal.append(numbered([EpochStarted(1), CarriedOver()]))
    with pytest.raises(JournalCorruptError, match="begins with EpochStarted, not with Configured"):
        replay(place.open())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, len(RECORDS)), st.data())
def test_however_a_history_is_cut_into_batches_and_checkpoints_its_prefix_is_the_state_that_lived(length, data):
    journal, seq = MemoryJournal(), 0
    journal.lead()
    while seq < length:
        count = data.draw(st.integers(1, length - seq))
        journal.append(RECORDS[seq : seq + count])
        seq += count
        if data.draw(st.booleans()):
            journal.save_checkpoint(seq, checkpoint_image(lived(seq)))
    assert encode(replay(journal).engine.state) == encode(lived(length))
