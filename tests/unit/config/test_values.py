"""Durations, dates, names and amounts as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.config.bounded_yaml import Node, parse
from scheduler.config.cursor import Cursor
from scheduler.config.limits import MAX_DURATION_US
from scheduler.config.values import (
    date,
    duration,
    fen,
    format_date,
    format_duration,
    labels,
    memory_mib,
    name,
    tenant_path,
)
from scheduler.errors import ConfigError


def cursor(text: str) -> Cursor:
    return Cursor(parse(text, "f.yaml")[0], "f.yaml")


def text_cursor(text: str) -> Cursor:
    return Cursor(Node(text, text, 1), "f.yaml")


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("90s", 90_000_000),
        ("10m", 600_000_000),
        ("4h", 14_400_000_000),
        ("7d", 604_800_000_000),
        ("1h30m", 5_400_000_000),
        ("1d2h3m4s5ms6us", 93_784_005_006),
        ("0.5s", 500_000),
        ("1.5h", 5_400_000_000),
        ("500ms", 500_000),
        ("0s", 0),
    ],
)
def test_durations_are_numbers_with_units(text, us):
    assert duration(cursor(text)) == us


@pytest.mark.parametrize(
    "text",
    ["90", "1.5", "h", "-5s", "5 s", "1m1h", "1s1s", "1w", "1e3s", "[1s]", "true", "0.0000001s", "99999999d", "５s"],
)
def test_a_duration_without_a_clear_meaning_is_refused(text):
    with pytest.raises(ConfigError, match=r"^f.yaml:1: "):
        duration(cursor(text))


@given(st.integers(0, MAX_DURATION_US))
def test_a_duration_written_out_reads_as_itself(us):
    assert duration(text_cursor(format_duration(us))) == us


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T08:00:00+08:00", 0),
        ("2026-12-24T00:00:00Z", 1_798_070_400_000_000),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01 00:01Z", 60_000_000),
    ],
)
def test_dates_carry_their_zone(text, us):
    assert date(cursor(text)) == us


@pytest.mark.parametrize(
    "text",
    [
        "2026-12-24",
        "2026-12-24T00:00:00",
        "2026-02-31T00:00:00Z",
        "24.12.2026",
        "1",
        "20261224T000000Z",
        "2026-W01-1T00:00:00Z",
    ],
)
def test_a_date_without_zone_or_that_does_not_exist_is_refused(text):
    with pytest.raises(ConfigError, match="2026-12-24T00:00:00Z"):
        date(cursor(text))


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_date_written_out_reads_as_itself(us):
    assert date(text_cursor(format_date(us))) == us


@pytest.mark.parametrize("text", ["a", "a-b", "0", "x" * 63])
def test_names_are_lower_case_with_hyphens(text):
    assert name(cursor(text)) == text


@pytest.mark.parametrize("text", ["A", "-a", "a-", "a_b", "a.b", "x" * 64, "ä", '""', "a/b", '"a\\nb"', "[a]", "{}"])
def test_other_names_are_refused(text):
    with pytest.raises(ConfigError):
        name(cursor(text))


def test_a_name_with_a_newline_at_its_end_is_refused():
    with pytest.raises(ConfigError):
        name(text_cursor("abc\n"))


def test_tenants_are_paths_of_names():
    assert tenant_path(cursor("search/ranking")) == "search/ranking"
    for text in ("/search", "search/", "a//b", "../x", "a/b/c/d/e/f/g"):
        with pytest.raises(ConfigError):
            tenant_path(cursor(text))


def test_amounts_are_kept_in_small_integers():
    assert memory_mib(cursor("1.5")) == 1536
    assert fen(cursor("12.34")) == 1234
    with pytest.raises(ConfigError, match="finer than a fen"):
        fen(cursor("0.001"))


def test_labels_take_numbers_as_text():
    assert labels(cursor("{a: 1.10, b: true}")) == {"a": "1.10", "b": "true"}
    for text in ("{'a b': 1}", '{a: "x\\ny"}', "{a: [1]}", "{a: }"):
        with pytest.raises(ConfigError):
            labels(cursor(text))
