"""The engine's thread: durable before it answers, and an end in words when it cannot be."""

import contextlib
import threading
import time

import pytest

from scheduler.engine.invariants import check
from scheduler.errors import ConflictError, JournalWriteError, UnavailableError
from scheduler.journal.replay import replay
from scheduler.journal.store import open_journal
from scheduler.model.events import CellReachability
from scheduler.service.loop import Proposal
from scheduler.service.modes import RunMode
from tests.support.embedded import embedded
from tests.support.waiting import until


@pytest.fixture
def service(tmp_path):
    with embedded(tmp_path) as found:
        yield found


def test_what_was_acknowledged_is_in_the_journal(service, tmp_path):
    job = service.submit()
    with contextlib.closing(open_journal(tmp_path / "journal.db")) as reader:
        engine = replay(reader).engine
    assert job["id"] in engine.state.by_id


def test_the_journal_replays_to_the_live_state(service, tmp_path):
    for n in range(5):
        service.submit(name=f"job-{n}", workload={"steps": 1})
    service.call("POST", "/v1/jobs/job-3/cancel")
    loop = service.service.loop
    until(lambda: not loop.ask(lambda state: state.active), what="the end of all jobs")
    service.service.close()
    with contextlib.closing(open_journal(tmp_path / "journal.db")) as reader:
        replayed = replay(reader).engine.state
    check(replayed)
    assert replayed.image() == service.service._found.state.image()


def test_a_refusal_reaches_the_one_who_asked_and_changes_nothing(service):
    loop = service.service.loop
    version = loop.ask(lambda state: state.version)

    def refuse(state, now_us):
        raise ConflictError("no", "never")

    with pytest.raises(ConflictError, match="no"):
        loop.change(refuse)
    assert loop.ask(lambda state: state.version) == version


def test_a_question_that_fails_does_not_stop_the_thread(service):
    loop = service.service.loop
    with pytest.raises(ZeroDivisionError):
        loop.ask(lambda state: 1 // 0)
    assert loop.ask(lambda state: 7) == 7


def test_when_the_journal_cannot_be_written_nothing_is_acknowledged_and_the_service_ends(service):
    loop = service.service.loop

    def fail(records):
        raise JournalWriteError("the disk is full", "free some space")

    loop._journal.append = fail
    with pytest.raises(UnavailableError, match="the disk is full"):
        loop.change(lambda state, now_us: Proposal((CellReachability("imported", True),), lambda s: "accepted"))
    until(lambda: loop.failure is not None)
    answer = service.call("POST", "/v1/jobs", json={})
    assert answer.status_code in (422, 503)
    answer = service.call("GET", "/v1/jobs")
    assert answer.status_code == 503
    assert "the disk is full" in answer.json()["error"]["message"]
    assert service.call("GET", "/readyz").status_code == 503
    assert service.call("GET", "/healthz").status_code == 200
    assert service.service._stopped


def test_every_one_of_a_batch_is_told_when_its_commit_fails(service):
    loop = service.service.loop
    hold = threading.Event()
    threading.Thread(target=lambda: contextlib.suppress(Exception) and loop.ask(lambda state: hold.wait(10))).start()

    def fail(records):
        raise JournalWriteError("the disk is full")

    loop._journal.append = fail
    told = []

    def ask():
        try:
            loop.change(lambda state, now_us: Proposal((CellReachability("imported", True),), lambda s: "accepted"))
        except UnavailableError as error:
            told.append(error)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    hold.set()
    for thread in threads:
        thread.join(timeout=20)
    assert len(told) == 5


def test_an_executor_that_falls_silent_makes_its_cell_unreachable_and_then_reachable_again(service):
    loop, link = service.service.loop, service.service.links["imported"]
    loop.ask(lambda state: setattr(link, "silent_s", lambda: 1e9))
    until(lambda: not loop.ask(lambda state: state.room.reachable[0]), what="the cell's silence")
    assert service.call("GET", "/v1/fleet").json()["cells"][0]["reachable"] is False
    loop.ask(lambda state: setattr(link, "silent_s", lambda: 0.0))
    until(lambda: loop.ask(lambda state: state.room.reachable[0]), what="the cell's return")


@pytest.mark.parametrize("mode", [RunMode.OBSERVE, RunMode.ADVISE])
def test_observing_starts_nothing_and_says_so(tmp_path, mode):
    with embedded(tmp_path, mode=mode) as service:
        job = service.submit()
        loop = service.service.loop
        until(lambda: loop.ask(lambda state: state.jobs[0].reason), what="the reason")
        found = service.call("GET", f"/v1/jobs/{job['id']}/reasons").json()
        assert found["state"] == "waiting"
        assert found["reason"]["code"] == "observing"
        assert bool(found["offer"]) is (mode is RunMode.ADVISE)
        assert service.service.links["imported"]._executor.list() == ()
        assert service.call("POST", f"/v1/jobs/{job['id']}/cancel").json()["state"] == "cancelled"


def test_a_service_that_idles_writes_nothing(service):
    loop = service.service.loop
    service.submit(workload={"steps": 1})
    until(lambda: not loop.ask(lambda state: state.active))
    seq = loop._seq
    time.sleep(1.2)  # more than two ticks of the thread
    assert loop._seq == seq


def test_after_a_long_cycle_a_submission_is_durable_before_it_is_decided(service, tmp_path):
    loop = service.service.loop
    loop.ask(lambda state: setattr(loop, "_rest_until_s", time.monotonic() + 60.0))
    job = service.submit()
    assert loop.ask(lambda state: state.jobs[0].state.value) == "waiting"
    with contextlib.closing(open_journal(tmp_path / "journal.db")) as reader:
        assert job["id"] in replay(reader).engine.state.by_id
    loop.ask(lambda state: setattr(loop, "_rest_until_s", 0.0))
    until(lambda: loop.ask(lambda state: state.jobs[0].attempts), what="the decision that was put off")


def test_changes_that_are_offered_together_are_answered_each_on_its_own(service):
    loop = service.service.loop

    def refuse(state, now_us):
        raise ConflictError("no", "never")

    answers = [loop.offer(lambda state, now_us: Proposal((), lambda later: 7)), loop.offer(refuse)]
    assert answers[0].result(timeout=30) == 7
    with pytest.raises(ConflictError):
        answers[1].result(timeout=30)


def test_a_stopped_loop_takes_no_offers(service):
    service.service.close()
    with pytest.raises(UnavailableError):
        service.service.loop.offer(lambda state, now_us: Proposal((), lambda later: None))
