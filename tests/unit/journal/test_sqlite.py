"""What holds for a journal in a SQLite file: privacy, the lock, the settings of durability, damage to the file."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from scheduler.errors import (
    JournalCorruptError,
    JournalError,
    JournalLockedError,
    JournalVersionError,
    JournalWriteError,
)
from scheduler.journal.store import open_journal
from scheduler.model.events import CarriedOver, EpochStarted
from tests.support.faults import outside
from tests.support.histories import numbered

ROOT = Path(__file__).resolve().parents[3]


def mode(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_the_file_is_its_owners_alone_and_so_are_new_folders_above_it(tmp_path):
    old = os.umask(0)
    try:
        journal = open_journal(tmp_path / "a" / "b" / "journal.db")
        journal.lead()
        journal.append(numbered([EpochStarted(1)]))
    finally:
        os.umask(old)
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700
    files = sorted((tmp_path / "a" / "b").iterdir())
    assert [file.name for file in files] == ["journal.db", "journal.db-shm", "journal.db-wal", "journal.db.lock"]
    assert {mode(file) for file in files} == {0o600}
    journal.close()


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_a_file_is_named_by_path_or_by_url(tmp_path, form):
    open_journal(form.format(tmp_path / "j.db")).close()
    assert (tmp_path / "j.db").exists()


def test_commits_are_synced_and_the_log_is_written_ahead(tmp_path):
    journal = open_journal(tmp_path / "j.db")
    journal.lead()
    found = [journal._writer.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert found == ["wal", 2]
    journal.close()


def test_a_second_live_scheduler_is_refused_and_told_who_leads(tmp_path):
    first, second = open_journal(tmp_path / "j.db"), open_journal(tmp_path / "j.db")
    first.lead()
    with pytest.raises(
        JournalLockedError, match=rf"another scheduler \(pid {os.getpid()} on .*\) leads on j.db; stop it"
    ):
        second.lead()
    first.append(numbered([EpochStarted(1)]))
    assert len(list(second.read())) == 1
    first.close()
    assert second.lead() == 2
    second.close()


def test_the_lock_of_another_process_is_seen_and_vanishes_with_it(tmp_path):
    program = (
        "import sys; from scheduler.journal.store import open_journal; j = open_journal(sys.argv[1]); j.lead();"
        "sys.stdout.write('led'); sys.stdout.flush(); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "j.db"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout.read(3) == b"led"
        journal = open_journal(tmp_path / "j.db")
        with pytest.raises(JournalLockedError, match=f"pid {child.pid} on"):
            journal.lead()
    finally:
        child.kill()
        child.communicate()
    assert journal.lead() == 2
    journal.close()


def test_a_forked_worker_does_not_keep_the_lock(tmp_path):
    journal = open_journal(tmp_path / "j.db")
    journal.lead()
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        journal.close()
        following = open_journal(tmp_path / "j.db")
        assert following.lead() == 2
        following.close()
    finally:
        os.write(done[1], b"x")
        os.waitpid(child, 0)
        for end in (*ready, *done):
            os.close(end)


def test_a_deleted_lock_file_does_not_make_two_writers(tmp_path):
    first = open_journal(tmp_path / "j.db")
    first.lead()
    (tmp_path / "j.db.lock").unlink()
    second = open_journal(tmp_path / "j.db")
    assert second.lead() == 2
    second.append(numbered([EpochStarted(2)], epoch=2))
    with pytest.raises(JournalLockedError, match=r"took the lead in epoch 2; ours was 1; this one has to stop"):
        first.append(numbered([EpochStarted(1)]))
    assert [record.epoch for record in second.read()] == [2]
    first.close()
    second.close()


def led(file, count: int):
    """A journal with `count` records, led."""
    journal = open_journal(file)
    journal.lead()
    journal.append(numbered([EpochStarted(1)] + [CarriedOver()] * (count - 1)))
    return journal


def outside_runs(file, *statements: str) -> None:
    with outside(file).begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_records_that_another_program_added_or_took_are_noticed_at_the_next_write(tmp_path):
    journal = led(tmp_path / "j.db", 3)
    outside_runs(tmp_path / "j.db", "DELETE FROM records WHERE seq = 3", "UPDATE leadership SET head = 2")
    with pytest.raises(JournalWriteError, match=r"at record 2, not 3: another program wrote to it; nothing more"):
        journal.append(numbered([CarriedOver()], after=3))
    journal.close()


def test_records_past_the_end_on_record_are_refused(tmp_path):
    journal = led(tmp_path / "j.db", 3)
    outside_runs(tmp_path / "j.db", "UPDATE leadership SET head = 2")
    with pytest.raises(JournalCorruptError, match="the journal ends at record 3, but 2 were written"):
        list(journal.read())
    journal.close()


def test_a_damaged_tail_can_be_given_up_as_the_guide_says_and_the_history_goes_on(tmp_path):
    journal = led(tmp_path / "j.db", 5)
    journal.save_checkpoint(4, b"of records that will be given up")
    journal.close()
    outside_runs(tmp_path / "j.db", "UPDATE records SET crc = 0 WHERE seq = 3")
    with pytest.raises(JournalCorruptError, match=r"record 3 "):
        list(open_journal(tmp_path / "j.db").read())
    outside_runs(tmp_path / "j.db", "DELETE FROM records WHERE seq >= 3", "UPDATE leadership SET head = 2")
    again = open_journal(tmp_path / "j.db")
    assert again.load_checkpoint() is None, "a checkpoint past the end is no checkpoint"
    assert again.lead() == 2
    again.append(numbered([CarriedOver()], epoch=2, after=2))
    assert [record.epoch for record in again.read()] == [1, 1, 2]
    again.close()


def test_a_lead_is_taken_once(tmp_path):
    journal = open_journal(tmp_path / "j.db")
    journal.lead()
    with pytest.raises(JournalLockedError, match="already leads"):
        journal.lead()
    journal.close()


def test_a_file_of_another_kind_is_refused_in_words(tmp_path):
    (tmp_path / "j.db").write_bytes(b"not a database at all, but some text of sufficient length" * 30)
    with pytest.raises(JournalCorruptError, match="file is not a database"):
        open_journal(tmp_path / "j.db")


@pytest.mark.parametrize("where", ["mysql://u:secret@host/db", "sqlite://", "postgresql:///x:y:z://", "://"])
def test_a_place_that_cannot_hold_a_journal_is_refused_without_its_password(where):
    with pytest.raises(JournalError) as refused:
        open_journal(where)
    assert "secret" not in str(refused.value)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(JournalError, match="Is a directory"):
        open_journal(tmp_path)


def test_tables_of_a_newer_layout_are_refused(tmp_path):
    open_journal(tmp_path / "j.db").close()
    with outside(tmp_path / "j.db").begin() as connection:
        connection.execute(text("UPDATE leadership SET layout = 2"))
    with pytest.raises(JournalVersionError, match="layout 2; this dualtrack knows layouts up to 1; upgrade"):
        open_journal(tmp_path / "j.db")


def test_a_column_of_another_type_is_damage_not_a_traceback(tmp_path):
    journal = open_journal(tmp_path / "j.db")
    journal.lead()
    journal.append(numbered([EpochStarted(1), CarriedOver()]))
    for column, value in (("payload", "text"), ("payload", 5), ("crc", "many"), ("epoch", "x"), ("kind", b"\xff")):
        with outside(tmp_path / "j.db").begin() as connection:
            kept = connection.execute(text(f"SELECT {column} FROM records WHERE seq = 2")).scalar()
            connection.execute(text(f"UPDATE records SET {column} = :v WHERE seq = 2"), {"v": value})
        with pytest.raises(JournalCorruptError):
            list(journal.read())
        with outside(tmp_path / "j.db").begin() as connection:
            connection.execute(text(f"UPDATE records SET {column} = :v WHERE seq = 2"), {"v": kept})
    assert len(list(journal.read())) == 2
    journal.close()


def test_no_byte_of_the_file_can_change_what_is_read_without_an_error(tmp_path):
    """Every byte of the pages, in steps: either the same records come back, or an error of ours."""
    file = tmp_path / "j.db"
    journal = open_journal(file)
    journal.lead()
    history = numbered([EpochStarted(1)] + [CarriedOver(((f"row{n}", 0.5),)) for n in range(20)])
    journal.append(history)
    journal.close()  # the last to leave moves the log into the file
    whole = file.read_bytes()
    same = refused = 0
    for place in range(0, len(whole), 61):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            damaged = open_journal(file)
            assert list(damaged.read()) == history
            damaged.close()
            same += 1
        except JournalError:
            refused += 1
    assert same + refused == -(-len(whole) // 61)
    assert refused
