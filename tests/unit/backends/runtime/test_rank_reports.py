import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.runtime.rank_reports import MAX_LINE_BYTES, RankLine, RankPipe, send_line


@pytest.fixture
def pipe(tmp_path):
    pipe = RankPipe(tmp_path / "pipe")
    yield pipe
    pipe.close()


def test_a_line_arrives_as_it_was_sent(pipe):
    assert send_line(str(pipe.path), RankLine(done=3, loss=0.5))
    assert pipe.read() == [RankLine(done=3, loss=0.5)]
    assert pipe.read() == []


def test_lines_written_by_any_program_are_understood_and_unknown_fields_ignored(pipe):
    pipe.path.write_text('{"done": 1, "colour": "red"}\n\n{"ready": true}\n')
    assert pipe.read() == [RankLine(done=1), RankLine(ready=True)]
    assert pipe.ignored == 0


def test_half_a_line_waits_for_its_other_half(pipe):
    pipe.path.write_text('{"do')
    assert pipe.read() == []
    pipe.path.write_text('ne": 2}\n')
    assert pipe.read() == [RankLine(done=2)]


def test_lines_that_mean_nothing_are_counted_and_the_next_one_is_heard(pipe):
    pipe.path.write_bytes(b'nonsense\n{"done": "much"}\n{"done": NaN}\n\xff\xfe\n{"done": 4}\n')
    assert pipe.read() == [RankLine(done=4)]
    assert pipe.ignored == 4


def test_a_line_without_an_end_does_not_fill_the_memory(pipe):
    for _ in range(40):
        pipe.path.write_bytes(b"x" * (MAX_LINE_BYTES - 1))
        assert pipe.read() == []
    pipe.path.write_bytes(b'\n{"done": 5}\n')
    assert pipe.read() == [RankLine(done=5)]
    assert pipe.ignored == 1


def test_a_full_pipe_costs_the_report_and_not_the_step(pipe):
    sent = [send_line(str(pipe.path), RankLine(done=1, detail="x" * 2000)) for _ in range(100)]
    assert sent[0] is True
    assert sent[-1] is False


def test_nobody_listening_is_no_error(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert send_line(str(tmp_path / "pipe"), RankLine(done=1)) is False
    assert send_line(str(tmp_path / "nothing"), RankLine(done=1)) is False


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_whatever_a_rank_writes_only_lines_come_out(chunks):
    with TemporaryDirectory() as folder:
        pipe = RankPipe(Path(folder) / "pipe")
        for chunk in chunks:
            if chunk:
                pipe.path.write_bytes(chunk)
            assert all(isinstance(line, RankLine) for line in pipe.read())
        pipe.close()
