"""The verb `reserve` as it is typed, and the exit codes of `why`."""

import pytest

from scheduler.cli.insight import band, exit_code
from scheduler.cli.main import run


@pytest.fixture
def command(capsys):
    def call(*words: str) -> tuple[int, str]:
        code = run([*words])
        return code, capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("reserve", "h200-0"), "needs an end"),
        (("reserve", "--to", "4h"), "nothing to reserve"),
        (("reserve", "--count", "4"), "nothing to reserve"),
        (("reserve", "h200-0", "--cancel", "x"), "takes no nodes"),
        (("reserve", "h200-0", "--to", "soon", "--server", "http://127.0.0.1:9"), "not a date and time"),
        (
            ("reserve", "h200-0", "--to", "4h", "--from", "then", "--server", "http://127.0.0.1:9"),
            "not a date and time",
        ),
        (("reserve", "h200-0", "--count", "-1", "--to", "4h"), "--count"),
    ],
)
def test_what_is_typed_wrong_is_told_in_one_line(command, words, told):
    code, err = command(*words)
    assert (code, err.count("\n")) == (2, 1)
    assert told in err


def option(*codes: str, delivery: dict | None = None, for_ever: bool = True) -> dict:
    return {"reasons": [{"code": code} for code in codes], "delivery": delivery, "for_ever": for_ever}


def waits(*options: dict) -> dict:
    return {"state": "waiting", "options": list(options)}


def test_why_leaves_with_a_code_only_where_waiting_does_not_help():
    lot = {"lot": "l", "count": 8, "expected": "2027-01-01T00:00:00+00:00", "p90": None}
    assert exit_code({"state": "running", "options": []}) == 0
    assert exit_code(waits(option("no_room", for_ever=False), option("exceeds_fleet"))) == 0
    assert exit_code(waits(option("exceeds_fleet", delivery=lot), option("exceeds_quota"))) == 3
    assert exit_code(waits(option("exceeds_fleet"), option("memory_floor"))) == 4
    assert exit_code(waits(option("exceeds_quota"))) == 5


def test_a_band_is_told_where_its_ends_differ():
    at = "2027-01-01T0{}:00:00+00:00"
    told = {"start_low": at.format(1), "start_high": at.format(2), "finish_low": at.format(3), "finish_high": None}
    assert band(told, "start").startswith(", between ")
    assert band(told, "finish").startswith(", at the earliest ")
    assert band({"start_low": at.format(1), "start_high": at.format(1)}, "start") == ""
