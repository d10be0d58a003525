"""Rows hold what records held, and nothing that was changed, is newer or cannot be read passes for a record."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from scheduler.errors import JournalCorruptError, JournalError, JournalVersionError, JournalWriteError
from scheduler.journal.codec import CODEC, KIND_VERSIONS, Codec, Row, checksum
from scheduler.journal.upgrades import unchanged
from scheduler.model.events import AttemptProgressed, CellReachability, Event, Record
from tests.support.histories import events, numbered, one_of_each_kind

UNREACHABLE = Record(1, 1, 5, CellReachability("one", False))


def row_of(kind: str, version: int, payload: bytes) -> Row:
    return Row(1, 1, 5, version, kind, payload, checksum(1, 1, 5, version, kind, payload))


def test_every_kind_of_event_has_a_version_and_an_example():
    kinds = {kind.__struct_config__.tag for kind in get_args(Event)}
    assert set(KIND_VERSIONS) == kinds
    assert {event.__struct_config__.tag for event in one_of_each_kind()} == kinds


@given(events, st.integers(1, 2**62), st.integers(1, 2**62), st.integers(-(2**62), 2**62))
def test_any_record_round_trips_to_the_same_value_and_the_same_bytes(event, seq, epoch, time_us):
    row = CODEC.encode(Record(seq, epoch, time_us, event))
    again = CODEC.decode(row)
    assert again == Record(seq, epoch, time_us, event)
    assert CODEC.encode(again) == row


@settings(max_examples=200)
@given(events, st.data())
def test_any_flipped_bit_of_a_row_is_noticed(event, data):
    row = CODEC.encode(Record(3, 1, 5, event))
    place, bit = data.draw(st.integers(0, len(row.payload) - 1)), 1 << data.draw(st.integers(0, 7))
    payload = bytearray(row.payload)
    payload[place] ^= bit
    number = 1 << data.draw(st.integers(0, 31))
    for changed in (
        {"payload": bytes(payload)},
        {"payload": row.payload[:place]},
        {"crc": row.crc ^ number},
        {"epoch": row.epoch ^ number},
        {"time_us": row.time_us ^ number},
        {"version": row.version ^ number},
        {"kind": row.kind[:-1]},
    ):
        with pytest.raises(JournalCorruptError, match="record 3 "):
            CODEC.decode(structs.replace(row, **changed))


def test_a_row_that_slid_to_another_number_is_noticed():
    row = CODEC.encode(UNREACHABLE)
    with pytest.raises(JournalCorruptError, match="record 2"):
        CODEC.decode(structs.replace(row, seq=2))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["done", "loss"])
def test_numbers_that_are_not_finite_are_refused(field, number):
    event = structs.replace(AttemptProgressed(0, 1, 1, 1, 1.0), **{field: number})
    with pytest.raises(JournalWriteError, match=r"record 4 \(attempt_progressed\) cannot be written.*not finite"):
        CODEC.encode(Record(4, 1, 0, event))


@pytest.mark.parametrize("cell", ["\ud800", object()])
def test_values_that_json_does_not_have_are_refused_in_words(cell):
    with pytest.raises(JournalWriteError, match="cannot be written"):
        CODEC.encode(Record(1, 1, 0, CellReachability(cell, True)))


def test_a_newer_version_is_refused_with_both_versions_and_what_to_do():
    with pytest.raises(
        JournalVersionError,
        match=r"record 1 .*\(cell_reachability\) has version 9; this dualtrack knows versions up to 1; upgrade",
    ):
        CODEC.decode(row_of("cell_reachability", 9, b"{}"))


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(
        JournalVersionError, match=r"kind 'teleported' \(version 1\), which this dualtrack does not know"
    ):
        CODEC.decode(row_of("teleported", 1, b'{"type":"teleported"}'))


@pytest.mark.parametrize("payload", [b'{"type":"cell_reachability"}', b"[]", b"", b'{"type":"other"}', b"\xff"])
def test_a_sound_row_of_another_shape_is_a_matter_of_versions(payload):
    with pytest.raises(JournalVersionError, match="written by another dualtrack"):
        CODEC.decode(row_of("cell_reachability", 1, payload))


def test_older_versions_are_led_step_by_step_to_the_present():
    def rename(value):
        return {"type": value["type"], "cell": value["name"], "up": value["up"]}

    def invert(value):
        return {"type": value["type"], "cell": value["cell"], "reachable": value["up"]}

    codec = Codec(
        {**KIND_VERSIONS, "cell_reachability": 4},
        {("cell_reachability", 1): rename, ("cell_reachability", 2): invert, ("cell_reachability", 3): unchanged},
    )
    old = row_of("cell_reachability", 1, b'{"type":"cell_reachability","name":"one","up":false}')
    assert codec.decode(old) == UNREACHABLE
    assert codec.encode(UNREACHABLE).version == 4
    assert codec.decode(codec.encode(UNREACHABLE)) == UNREACHABLE


def test_a_version_too_old_for_any_upgrade_is_refused():
    codec = Codec({**KIND_VERSIONS, "cell_reachability": 3}, {("cell_reachability", 2): unchanged})
    with pytest.raises(JournalVersionError, match="cannot read versions below 2; open the journal once with each"):
        codec.decode(row_of("cell_reachability", 1, b'{"type":"cell_reachability","cell":"one","reachable":true}'))


def test_an_upgrade_that_stumbles_is_an_error_of_ours():
    codec = Codec({**KIND_VERSIONS, "cell_reachability": 2}, {("cell_reachability", 1): lambda value: value["no"]})
    with pytest.raises(JournalError, match="another dualtrack"):
        codec.decode(row_of("cell_reachability", 1, b'{"type":"cell_reachability"}'))


def test_a_history_written_by_todays_code_is_of_todays_versions():
    assert {row.kind: row.version for row in map(CODEC.encode, numbered(one_of_each_kind()))} == dict(KIND_VERSIONS)
