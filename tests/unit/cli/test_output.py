"""One module prints: tables, documents and names."""

import json

import pytest

from scheduler.cli.output import Column, Format, complain, fields, say, table
from scheduler.cli.running import job_exit_code
from scheduler.cli.selection import sorted_by
from scheduler.errors import UsageError

ROWS = [{"name": "b", "n": 2, "deep": {"x": 1}}, {"name": "a", "n": 10, "deep": {"x": None}}]
COLUMNS = (
    Column("NAME", lambda r: r["name"]),
    Column("N", lambda r: str(r["n"]), right=True),
    Column("MORE", lambda r: "more", wide=True),
)


def test_a_table_is_aligned_and_has_no_trailing_blanks(capsys):
    table(ROWS, COLUMNS, Format.TABLE)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["NAME    N", "b       2", "a      10"]


def test_wide_shows_every_column(capsys):
    table(ROWS, COLUMNS, Format.WIDE)
    assert capsys.readouterr().out.splitlines()[0] == "NAME    N   MORE"


def test_documents_are_whole_and_names_are_bare(capsys):
    table(ROWS, COLUMNS, Format.JSON)
    assert json.loads(capsys.readouterr().out) == ROWS
    table(ROWS, COLUMNS, Format.YAML)
    assert "name: b" in capsys.readouterr().out
    table(ROWS, COLUMNS, Format.NAME)
    assert capsys.readouterr().out == "b\na\n"


def test_an_empty_table_is_its_heading(capsys):
    table([], COLUMNS, Format.TABLE)
    assert capsys.readouterr().out == "NAME   N\n"


def test_text_of_others_cannot_drive_the_terminal(capsys):
    table([{"name": "a\x1b[2Jb\nc", "n": 1}], COLUMNS, Format.TABLE)
    say("x\x1b]0;title\x07")
    complain("two\nlines \x1b[31m")
    seen = capsys.readouterr()
    assert "\x1b" not in seen.out + seen.err
    assert len(seen.err.splitlines()) == 1
    assert len(seen.out.splitlines()) == 3


def test_fields_without_a_value_are_left_out(capsys):
    fields((("One", "1"), ("Nothing", ""), ("Three", "3")))
    assert capsys.readouterr().out.splitlines() == ["One:    1", "Three:  3"]


@pytest.mark.parametrize(
    ("field", "names"), [("", "ba"), ("name", "ab"), ("-name", "ba"), ("n", "ba"), ("deep.x", "ba")]
)
def test_rows_are_sorted_by_any_field(field, names):
    assert "".join(row["name"] for row in sorted_by(list(ROWS), field)) == names


def test_an_unknown_field_to_sort_by_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match="deep, n, name"):
        sorted_by(list(ROWS), "weight")


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("succeeded", 0, 0), ("failed", 3, 103), ("failed", 0, 101), ("failed", 137, 237), ("failed", 200, 250),
        ("failed", -9, 109), ("cancelled", 0, 252), ("running", 0, 253), ("waiting", 0, 253),
    ],
)  # fmt: skip
def test_wait_gives_the_jobs_own_exit_code(state, code, expected):
    assert job_exit_code(state, code) == expected
