"""When the disk fails: what was acknowledged is there, nothing of a failed batch is acknowledged, acceptance stops."""

import os
import resource
from contextlib import contextmanager

import pytest

from scheduler.errors import JournalError, JournalLockedError, JournalWriteError
from scheduler.journal.store import open_journal
from scheduler.model.events import CellReachability
from tests.support.faults import FSYNC, FULL, Faults, faulty_journal
from tests.support.histories import numbered

LONG = "x" * 4_000


def batch(first: int, count: int = 3, epoch: int = 1):
    return numbered([CellReachability(f"{n} {LONG}", True) for n in range(count)], epoch, first - 1)


def reopened(file):
    journal = open_journal(file)
    try:
        return [record.seq for record in journal.read()]
    finally:
        journal.close()


@contextmanager
def files_at_most(size: int):
    """The kernel refuses to let any file of this process grow beyond `size` bytes: a full disk, for real."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("after", [False, True], ids=["without effect", "with effect"])
@pytest.mark.parametrize("persistent", [False, True], ids=["once", "for good"])
def test_whichever_call_fails_the_acknowledged_prefix_is_there_and_the_batch_whole_or_absent(
    tmp_path, after, persistent
):
    at, struck = 0, True
    while struck:
        at += 1
        file, faults, acknowledged = tmp_path / f"{at}.db", Faults(), 0
        journal = faulty_journal(file, faults)
        journal.lead()
        faults.arm(at, after=after, persistent=persistent)
        try:
            for first in (1, 4, 7):
                journal.append(batch(first))
                acknowledged = first + 2
        except JournalWriteError as error:
            assert "nothing more is accepted" in str(error)
            faults.arm(0)
            with pytest.raises(JournalWriteError):
                journal.append(batch(acknowledged + 1))
        struck = faults.struck
        journal.close()
        found = reopened(file)
        assert found in (list(range(1, acknowledged + 1)), list(range(1, acknowledged + 4)))
        if acknowledged < 9 and not after:
            assert len(found) == acknowledged
    assert at > 9, "three batches are several calls each"


def test_a_failed_sync_stops_acceptance_in_words(tmp_path):
    faults = Faults()
    journal = faulty_journal(tmp_path / "j.db", faults)
    journal.lead()
    journal.append(batch(1))
    faults.arm(4, after=True, said=FSYNC)  # BEGIN, head, records, COMMIT
    with pytest.raises(
        JournalWriteError, match=r"^cannot append to the journal: disk I/O error; nothing more is accepted"
    ):
        journal.append(batch(4))
    with pytest.raises(JournalWriteError, match="disk I/O error"):
        journal.save_checkpoint(3, b"image")
    journal.close()
    assert reopened(tmp_path / "j.db") == [1, 2, 3, 4, 5, 6]  # unknown to us, but whole


def test_a_full_database_stops_acceptance_in_words(tmp_path):
    file = tmp_path / "j.db"
    journal = open_journal(file)
    journal.lead()
    journal.append(batch(1))
    pages = journal._writer.exec_driver_sql("PRAGMA page_count").scalar()
    journal._writer.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    journal._writer.rollback()
    with pytest.raises(JournalWriteError, match=FULL):
        journal.append(batch(4, 50))
    with pytest.raises(JournalWriteError, match=FULL):
        journal.append(batch(4, 1))
    journal.close()
    assert reopened(file) == [1, 2, 3]


def test_a_disk_that_refuses_to_grow_stops_acceptance_and_keeps_what_was_acknowledged(tmp_path):
    file = tmp_path / "j.db"
    journal = open_journal(file)
    journal.lead()
    journal.append(batch(1))
    wal = os.path.getsize(f"{file}-wal")
    with files_at_most(wal + 10_000), pytest.raises(JournalWriteError, match="cannot append to the journal"):
        journal.append(batch(4, 20))
    with pytest.raises(JournalWriteError):
        journal.append(batch(4, 1))
    journal.close()
    assert reopened(file) == [1, 2, 3]


def test_a_checkpoint_that_fails_stops_acceptance_and_leaves_the_one_before(tmp_path):
    file, faults = tmp_path / "j.db", Faults()
    journal = faulty_journal(file, faults)
    journal.lead()
    journal.append(batch(1))
    journal.save_checkpoint(2, b"before")
    faults.arm(3, said=FULL)
    with pytest.raises(JournalWriteError, match=r"cannot save a checkpoint in the journal: .*full"):
        journal.save_checkpoint(3, b"after")
    with pytest.raises(JournalWriteError):
        journal.append(batch(4))
    journal.close()
    assert open_journal(file).load_checkpoint() == (2, b"before")


def test_a_journal_whose_lead_cannot_be_written_is_not_led(tmp_path):
    file = tmp_path / "j.db"
    at, struck = 0, True
    while struck:
        at += 1
        faults = Faults()
        journal = faulty_journal(file, faults)
        faults.arm(at, said=FULL)
        try:
            journal.lead()
        except JournalError as error:
            assert "cannot take the lead on the journal: database or disk is full" in str(error)
            with pytest.raises(JournalLockedError):
                journal.append(batch(1))
        struck = faults.struck
        journal.close()
    assert at > 3


def test_an_interrupted_write_counts_as_failed(tmp_path):
    journal = open_journal(tmp_path / "j.db")
    journal.lead()

    def interrupted():
        raise KeyboardInterrupt

    journal._encode = lambda records: interrupted()
    with pytest.raises(KeyboardInterrupt):
        journal.append(batch(1))
    del journal._encode
    with pytest.raises(JournalWriteError, match="interrupted"):
        journal.append(batch(1))
    journal.close()
