"""The reader: bounded, and every refusal is a ConfigError with file, line and path."""

import os
import stat
from pathlib import Path

import pytest
import yaml

from scheduler.config import bounded_yaml
from scheduler.config.bounded_yaml import Node, parse, read
from scheduler.config.limits import Limits
from scheduler.errors import ConfigError

SMALL = Limits(size=1000, events=50, documents=3)


def plain(node: Node) -> object:
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    return node.value


def value_of(text: str) -> object:
    return plain(parse(f"v: {text}", "f.yaml")[0])["v"]  # type: ignore[index]


def refusal(text: str | bytes, limits: Limits | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.yaml", limits) if limits else parse(text, "f.yaml")
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8e9", 8e9),
        ("1.5e11", 1.5e11),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("-3", -3),
        (".5", 0.5),
        ("12:30", "12:30"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("2026-02-31", "2026-02-31"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("=", "="),
        ('"8"', "8"),
        ("'true'", "true"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".inf", "-.inf", "+.Inf", "1e999", "-1e400"])
def test_numbers_that_cannot_be_reckoned_with_are_refused(text):
    assert "number" in refusal(f"a: {text}").problem


@pytest.mark.parametrize("text", ["9" * 5000, "-" + "9" * 20, "9223372036854775808", "0x" + "f" * 17])
def test_integers_beyond_64_bits_are_refused_without_converting_them(text):
    assert "integer" in refusal(f"a: {text}").problem
    assert len(str(refusal(f"a: {text}"))) < 300


def test_every_value_knows_its_line():
    root = parse("a: 1\nb:\n  - x\n  - {c: 2}\n", "f.yaml")[0]
    assert root.value["a"].line == 1
    assert root.value["b"].value[0].line == 3
    assert root.value["b"].value[1].value["c"].line == 4


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("a:\n  - {b: &x 1}", "f.yaml:2: a[0].b: ", "anchors and aliases"),
        ("a: [1, *x]", "f.yaml:1: a[1]: ", "anchors and aliases"),
        ("a:\n  b: !!int 3", "f.yaml:2: a.b: ", "tag"),
        ("a: !!python/object:os.system x", "f.yaml:1: a: ", "tag"),
        ("a: ! x", "f.yaml:1: a: ", "tag"),
        ("a: 1\nb: 2\na: 3", "f.yaml:3: ", "`a` is given twice, first on line 1"),
        ("a: {b: 1, b: 2}", "f.yaml:1: a: ", "`b` is given twice"),
        ("? [a]\n: b", "f.yaml:1: ", "a key must be a plain text"),
        ("? {a: b}\n: c", "f.yaml:1: ", "a key must be a plain text"),
        ("%YAML 1.1\n---\na: 1", "f.yaml:1: ", "directive"),
        ("%TAG ! tag:x,2000:\n---\na: 1", "f.yaml:1: ", "directive"),
        ("a: 'x", "f.yaml:1: a: ", "not valid YAML"),
        ("a: [1, 2", "f.yaml:1: a[2]: ", "not valid YAML"),
        ("a:\n\tb: 1", "f.yaml:2: ", "not valid YAML"),
        ("a: b: c", "f.yaml:1: ", "not valid YAML"),
        ('a: "\\x1b[2J"', "f.yaml:1: a: ", "U+001B"),
        ('a: "\\0"', "f.yaml:1: a: ", "U+0000"),
        ('"\\x07": 1', "f.yaml:1: ", "U+0007"),
        ("a: 1\nb: \x1b[0m", "f.yaml:2: ", "U+001B"),
        ("a: x\u202ey", "f.yaml:1: ", "U+202E"),
        ("a: x\u2028y", "f.yaml:1: ", "U+2028"),
    ],
)
def test_what_yaml_could_do_and_a_file_may_not_is_refused_at_its_place(text, place, problem):
    message = str(refusal(text))
    assert message.startswith(place)
    assert problem in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00a", b"a: \xc3\x28", b"a: 1\nb: \xed\xa0\x80", b"\x00", b"a: \xf8\x88\x80\x80\x80"]
)
def test_bytes_that_are_not_text_are_refused(data):
    assert refusal(data).line >= 1


def test_a_byte_order_mark_is_no_error():
    assert plain(parse(b"\xef\xbb\xbfa: 1", "f.yaml")[0]) == {"a": 1}


@pytest.mark.parametrize("text", ["", "---\n---\n", "# nothing\n", "~", "--- null\n..."])
def test_a_file_that_holds_nothing_is_refused(text):
    assert refusal(text).problem == "holds nothing"


@pytest.mark.parametrize("text", ["[" * 1_000_000, "{a: " * 200_000, "- " * 300_000, "{a: [" * 200_000])
def test_nesting_stops_at_the_bound_however_deep_it_goes_on(text):
    error = refusal(text, Limits(size=2_000_000, events=10_000))
    assert "deeper than 32 levels" in error.problem
    assert len(str(error)) < 600


def test_thirty_two_levels_are_allowed():
    assert parse("[" * 32 + "]" * 32, "f.yaml")
    assert "deeper" in refusal("[" * 33 + "]" * 33).problem


def test_events_are_counted_before_anything_is_composed():
    assert "more than 50 values" in refusal("[" + "1, " * 60 + "]", SMALL).problem


def test_size_is_checked_before_the_text_is_looked_at():
    assert "larger than 1,000 bytes" in refusal(b"\xff" * 2000, SMALL).problem


def test_documents_are_counted():
    assert len(parse("a: 1\n---\nb: 2\n---\n---\nc: 3\n", "f.yaml", SMALL)) == 3
    error = refusal("--- 1\n--- 2\n--- 3\n--- 4\n", SMALL)
    assert error.line == 4


def test_a_scalar_may_not_be_a_file_pasted_by_mistake():
    assert "longer than" in refusal("a: " + "x" * 70_000).problem


def test_a_missing_file_a_folder_and_a_name_with_a_nul_are_refused_in_words(tmp_path: Path):
    for path in (tmp_path / "none.yaml", tmp_path, "a\0b"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read(path)


def test_an_endless_file_is_read_to_the_limit_only():
    if not stat.S_ISCHR(os.stat("/dev/zero").st_mode):
        pytest.skip("no /dev/zero here")
    with pytest.raises(ConfigError, match="larger than"):
        read("/dev/zero")


def test_the_python_parser_is_as_safe_where_the_c_one_is_missing(monkeypatch):
    monkeypatch.setattr(bounded_yaml, "LOADER", yaml.SafeLoader)
    assert value_of("[1, {a: no}]") == [1, {"a": "no"}]
    for text in ("[" * 20_000, "- " * 5_000, "a: &x [*x]", "a: !!timestamp x", "a: 'x", "%YAML 3.0\n--- 1", "a: \x85"):
        assert refusal(text).file == "f.yaml"
