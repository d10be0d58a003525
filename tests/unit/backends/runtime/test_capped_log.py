from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.runtime.capped_log import TAIL_BYTES, CappedLog


def test_output_below_the_limit_is_kept_as_it_came(tmp_path):
    log = CappedLog(tmp_path / "log", 100)
    log.write(b"one\n")
    log.write(b"two\n")
    assert log.recent() == b"one\ntwo\n"
    log.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_a_flood_keeps_its_head_and_its_tail_and_says_what_is_missing(tmp_path):
    log = CappedLog(tmp_path / "log", 10)
    log.write(b"head......")
    for _ in range(100):
        log.write(b"x" * 4096)
    log.write(b"the last words")
    assert log.recent().endswith(b"the last words")
    log.close()
    content = (tmp_path / "log").read_bytes()
    assert content.startswith(b"head......\n[log limit reached")
    assert content.endswith(b"the last words")
    assert b"[%d bytes of output dropped]" % (100 * 4096 + 14 - TAIL_BYTES) in content
    assert len(content) < 10 + TAIL_BYTES + 200


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(0, 200))
@settings(max_examples=50)
def test_what_is_on_disk_never_changes_but_grows(chunks, limit):
    with TemporaryDirectory() as folder:
        follow_a_log(Path(folder) / "log", chunks, limit)


def follow_a_log(path, chunks, limit):
    log, before = CappedLog(path, limit), b""
    for chunk in chunks:
        log.write(chunk)
        assert path.read_bytes().startswith(before)
        before = path.read_bytes()
    log.close()
    assert path.read_bytes().startswith(b"".join(chunks)[:limit])
    assert path.read_bytes().endswith(b"".join(chunks)[limit:][-10:])
