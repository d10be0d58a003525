"""Journals that were written once are read for ever, and those of the future are refused in words."""

import json
from pathlib import Path

import pytest

from scheduler.errors import JournalCorruptError, JournalVersionError
from scheduler.journal.codec import KIND_VERSIONS, kind_of
from scheduler.journal.export import from_lines, to_lines
from scheduler.journal.replay import replay
from scheduler.journal.store import open_journal
from tests.support.golden_journal import summary

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def lines(name: str) -> list[bytes]:
    return (GOLDEN / name).read_bytes().splitlines()


@pytest.mark.parametrize("version", [1])
def test_a_golden_journal_replays_to_the_state_it_was_written_for(place, version):
    journal = place.open()
    assert journal.lead() == 1
    journal.append(list(from_lines(lines(f"journal-{version}.jsonl"))))
    found = replay(place.open())
    expected = json.loads((GOLDEN / f"journal-{version}-state.json").read_text())
    assert json.loads(json.dumps(summary(found.engine.state))) == expected
    assert found.records == found.seq == len(lines(f"journal-{version}.jsonl"))


def test_the_golden_journal_holds_every_kind_of_event():
    assert {kind_of(record.event) for record in from_lines(lines("journal-1.jsonl"))} == set(KIND_VERSIONS)


def test_what_is_exported_again_is_the_same_bytes():
    assert list(to_lines(from_lines(lines("journal-1.jsonl")))) == lines("journal-1.jsonl")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("journal-future.jsonl", r"\(cell_reachability\) has version 99; .* up to \d+; upgrade dualtrack"),
        ("journal-future-kind.jsonl", r"is of kind 'teleported' \(version 1\), .* does not know; upgrade dualtrack"),
    ],
)
def test_a_journal_from_the_future_fails_loudly_and_names_the_record(name, words):
    count = len(lines(name))
    with pytest.raises(JournalVersionError, match=f"record {count} of the journal.*{words}"):
        list(from_lines(lines(name)))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda found: found[:2] + found[3:], "line 3 holds record 4"),
        (
            lambda found: [*found[:2], found[2].replace(b"somebody", b"nobodies")],
            "record 3 .* does not match its checksum",
        ),
        (lambda found: [b"{"], "line 1 is not a record"),
        (lambda found: [b"\xff\xfe"], "line 1 is not a record"),
    ],
)
def test_a_damaged_export_is_refused_with_its_place(damage, words):
    with pytest.raises(JournalCorruptError, match=words):
        list(from_lines(damage(lines("journal-1.jsonl"))))


def test_a_story_moves_from_a_file_to_another_place_unchanged(place, tmp_path):
    source = open_journal(tmp_path / "source.db")
    source.lead()
    source.append(list(from_lines(lines("journal-1.jsonl"))))
    target = place.open()
    target.lead()
    target.append(list(source.read()))
    assert list(to_lines(place.open().read())) == lines("journal-1.jsonl")
    source.close()
