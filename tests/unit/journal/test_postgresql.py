"""What holds for a journal in PostgreSQL: the lock of the session, a connection that is cut, a server that is down."""

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from scheduler.errors import JournalError, JournalLockedError, JournalWriteError
from scheduler.journal.store import open_journal
from scheduler.model.events import EpochStarted
from tests.support.histories import numbered
from tests.support.postgres import free_port, fresh_schema


def test_a_second_live_scheduler_is_refused_and_told_who_leads(postgres_port):
    where = fresh_schema(postgres_port, "locked")
    first, second = open_journal(where), open_journal(where)
    first.lead()
    with pytest.raises(JournalLockedError, match=r"another scheduler \(dualtrack, pid \d+ on .*\) leads"):
        second.lead()
    first.close()
    assert second.lead() == 2
    second.close()


def test_schemas_of_one_database_are_led_apart(postgres_port):
    journals = [open_journal(fresh_schema(postgres_port, name)) for name in ("east", "west")]
    assert [journal.lead() for journal in journals] == [1, 1]
    for journal in journals:
        journal.close()


def test_a_cut_connection_stops_acceptance_and_frees_the_lead(postgres_port):
    where = fresh_schema(postgres_port, "cut")
    journal = open_journal(where)
    journal.lead()
    journal.append(numbered([EpochStarted(1)]))
    pid = journal._writer.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    journal._writer.rollback()
    with psycopg.connect(host="127.0.0.1", port=postgres_port, user="postgres", dbname="postgres") as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with pytest.raises(JournalWriteError, match=r"cannot append to the journal: .*nothing more is accepted"):
        journal.append(numbered([EpochStarted(1)], after=1))
    with pytest.raises(JournalWriteError):
        journal.append(numbered([EpochStarted(1)], after=1))
    following = open_journal(where)
    assert following.lead() == 2
    assert [record.seq for record in following.read()] == [1]
    journal.close()
    following.close()


def test_a_lead_that_could_not_be_written_does_not_keep_the_lock(postgres_port):
    where = fresh_schema(postgres_port, "half")
    journal, following = open_journal(where), open_journal(where)

    @event.listens_for(journal._engine, "before_cursor_execute")
    def fail(connection, cursor, statement, *_):
        if statement.startswith("UPDATE leadership"):
            raise SQLAlchemyError("the server is out of memory")

    with pytest.raises(JournalError, match="cannot take the lead on the journal: the server is out of memory"):
        journal.lead()
    assert following.lead() == 1
    journal.close()
    following.close()


def test_a_server_that_is_down_is_said_in_words_without_the_password():
    with pytest.raises(JournalError, match=r"cannot open the journal postgresql.*refused") as refused:
        open_journal(f"postgresql://someone:secret@127.0.0.1:{free_port()}/x")
    assert "secret" not in str(refused.value)
