"""Amounts as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.cli.humanise import amount, duration, parse_duration, parse_time, safe, seconds_between, share, when
from scheduler.errors import UsageError


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"), (0, "0s"), (0.04, "0s"), (0.4, "0.4s"), (9.96, "10s"), (42, "42s"), (59.6, "1m00s"),
        (192, "3m12s"),
        (3_599.7, "1h00m"), (18_420, "5h07m"), (86_400, "1d0h"), (1_051_200, "12d4h"), (-5, "-5s"),
    ],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds, text):
    assert duration(seconds) == text


@given(st.floats(0, 1e9))
def test_no_duration_is_wider_than_a_column(seconds):
    assert len(duration(seconds)) <= 9


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1h30m", 5_400), ("7d", 604_800), ("1.5h", 5_400)]
)
def test_durations_are_read_as_files_write_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "12x", "1h 30m", "-5s", "ten"])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="90s"):
        parse_duration(text)


def test_times_are_read_and_refused():
    assert parse_time("1970-01-01T00:00:01+00:00") == 1_000_000
    with pytest.raises(UsageError):
        parse_time("tomorrow")


def test_spans_between_times():
    assert seconds_between("2026-01-01T00:00:00+00:00", "2026-01-01T00:01:30+00:00") == 90
    assert seconds_between(None) is None
    assert when(None) == "-"
    assert len(when("2020-02-03T04:05:06+00:00")) == 16


@pytest.mark.parametrize(
    ("value", "text"), [(12, "12"), (0.25, "0.25"), (8_100.5, "8.1k"), (1.5e11, "1.5e+11"), (0, "0"), (43.333, "43.3")]
)
def test_amounts_carry_no_noise(value, text):
    assert amount(value) == text


def test_shares_are_percent():
    assert (share(None), share(0), share(0.256), share(1)) == ("-", "0%", "26%", "100%")


@given(st.text())
def test_nothing_that_drives_a_terminal_survives(text):
    cleaned = safe(text)
    assert not any(ord(c) < 32 and c not in "\n\t" for c in cleaned)
    assert "\x1b" not in cleaned and "\u202e" not in cleaned
