"""Events for those who watch: in order, without loss while they keep up, and an end when they do not."""

import asyncio
import threading

import pytest

from scheduler.errors import OverloadedError
from scheduler.model.events import ActionRequested, Actor, EpochStarted, JobAction, ReasonsChanged, Record
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.service import feed as feed_module
from scheduler.service.feed import Feed, iso

ACTOR = Actor("ada", "search", True)


def record(seq, event=None):
    return Record(seq, 1, 1_000_000 * seq, event or ActionRequested(0, JobAction.CANCEL, ACTOR))


@pytest.fixture
def feed():
    return Feed(lambda job: (f"id-{job}", "search"))


def test_an_event_of_a_job_carries_its_id_and_tenant(feed):
    feed.publish([record(1), record(2, EpochStarted(3))])
    first, second = feed.history()
    assert (first["job"], first["tenant"], first["kind"]) == ("id-0", "search", "action_requested")
    assert first["time"] == "1970-01-01T00:00:01+00:00"
    assert "job" not in second and second["detail"] == {"epoch": 3}


def test_changed_reasons_become_one_entry_for_each_job(feed):
    reason = Reason(code=ReasonCode.NO_ROOM, accelerator="h200", need=8)
    feed.publish([record(5, ReasonsChanged(((0, reason), (3, reason))))])
    assert [entry["job"] for entry in feed.history()] == ["id-0", "id-3"]
    assert [entry["job"] for entry in feed.history(job="id-3")] == ["id-3"]
    assert list(feed.history(after=5)) == []


def listening(feed, publish, count):
    """What a listener on an event loop gets while another thread publishes."""

    async def run():
        listener = feed.listen(asyncio.get_running_loop())
        thread = threading.Thread(target=publish)
        thread.start()
        found = []
        while len(found) < count:
            entry = await listener.next(10)
            found.append(entry and entry["seq"])
            if entry is None:
                break
        thread.join()
        feed.leave(listener)
        return found

    return asyncio.run(run())


def test_a_listener_gets_everything_in_order(feed):
    assert listening(feed, lambda: [feed.publish([record(n)]) for n in range(50)], 50) == list(range(50))


def test_a_listener_that_falls_behind_is_cut_off(feed, monkeypatch):
    monkeypatch.setattr(feed_module, "BACKLOG", 5)

    async def run():
        listener = feed.listen(asyncio.get_running_loop())
        feed.publish([record(n) for n in range(100)])  # all of it before the listener has its turn
        return [entry and entry["seq"] for entry in [await listener.next(10) for _ in range(6)]]

    assert asyncio.run(run()) == [0, 1, 2, 3, 4, None]


def test_closing_ends_every_listener_present_and_future(feed):
    assert listening(feed, feed.close, 9) == [None]
    assert listening(feed, lambda: None, 9) == [None]


def test_there_is_a_limit_on_listeners(feed, monkeypatch):
    monkeypatch.setattr(feed_module, "LISTENERS", 1)

    async def run():
        feed.listen(asyncio.get_running_loop())
        with pytest.raises(OverloadedError):
            feed.listen(asyncio.get_running_loop())

    asyncio.run(run())


def test_no_time_is_no_text():
    assert iso(None) is None
