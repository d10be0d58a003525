"""What happened, for those who watch: the newest events in memory, and a queue for each listener."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from scheduler.errors import OverloadedError
from scheduler.model.events import Configured, ReasonsChanged, Record, ReservationMade
from scheduler.model.units import US_PER_S

__all__ = ["Entry", "Feed", "Listener", "iso"]

KEPT: Final = 20_000
LISTENERS: Final = 64
BACKLOG: Final = 2_000

Entry = dict[str, Any]


def iso(time_us: int | None) -> str | None:
    """`2026-05-01T08:00:00.250000+00:00`."""
    return None if time_us is None else datetime.fromtimestamp(time_us / US_PER_S, UTC).isoformat()


class Listener:
    """An asyncio queue that other threads may fill. One that falls behind is cut off, and says so by ending."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[Entry | None] = asyncio.Queue()

    def put(self, entry: Entry | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._accept, entry)

    def _accept(self, entry: Entry | None) -> None:
        if self._queue.qsize() < BACKLOG:
            self._queue.put_nowait(entry)
        elif self._queue.qsize() == BACKLOG:
            self._queue.put_nowait(None)

    async def next(self, timeout_s: float) -> Entry | None:
        """The next entry, or None at the end. Raises TimeoutError."""
        return await asyncio.wait_for(self._queue.get(), timeout_s)


class Feed:
    """`describe` gives the job id and tenant of a job number, for those events that concern one."""

    def __init__(self, describe: Callable[[int], tuple[str, str]]) -> None:
        self._describe = describe
        self._records: deque[Record] = deque(maxlen=KEPT)
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self._closed = False

    def publish(self, records: Iterable[Record]) -> None:
        """Records are kept as they are; entries are made for those who listen, or ask later."""
        fresh = list(records)
        with self._lock:
            self._records.extend(fresh)
            listeners = list(self._listeners)
        if listeners:
            for entry in [entry for record in fresh for entry in self._entries_of(record)]:
                for listener in listeners:
                    listener.put(entry)

    def history(self, after: int = 0, job: str = "") -> Iterator[Entry]:
        """Entries with a larger sequence number, oldest first."""
        with self._lock:
            kept = [record for record in self._records if record.seq > after]
        return (e for record in kept for e in self._entries_of(record) if not job or e.get("job") == job)

    def listen(self, loop: asyncio.AbstractEventLoop) -> Listener:
        with self._lock:
            if len(self._listeners) >= LISTENERS:
                raise OverloadedError(f"{LISTENERS} listeners are connected already", "close one, or poll instead")
            listener = Listener(loop)
            self._listeners.append(listener)
        if self._closed:
            listener.put(None)
        return listener

    def leave(self, listener: Listener) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def close(self) -> None:
        """End every listener."""
        self._closed = True
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.put(None)

    def _entries_of(self, record: Record) -> Iterator[Entry]:
        event = record.event
        head: Entry = {"seq": record.seq, "time": iso(record.time_us), "epoch": record.epoch}
        if isinstance(event, ReasonsChanged):
            for job, reason in event.reasons:
                yield {**head, **self._about(job), "kind": "reason_changed", "detail": _plain(reason)}
        elif isinstance(event, Configured):
            yield {**head, "kind": "configured", "detail": {"cluster": event.cluster.name, "policy": event.policy.name}}
        else:
            detail = _plain(event)
            kind = detail.pop("type")
            about = self._about(detail.pop("job")) if "job" in detail else {}
            if isinstance(event, ReservationMade) and event.reservation.tenant:
                about = {"tenant": event.reservation.tenant}  # whose it is, only those learn who see the tenant
            for bulky in ("spec", "grants", "digest", "key"):
                detail.pop(bulky, None)
            yield {**head, **about, "kind": kind, "detail": detail}

    def _about(self, job: int) -> Entry:
        job_id, tenant = self._describe(job)
        return {"job": job_id, "tenant": tenant}


def _plain(value: object) -> Entry:
    """The value as JSON has it; the allocation shortened to what was chosen."""
    plain: Entry = msgspec.to_builtins(value)
    if "allocation" in plain:
        plain["allocation"] = plain["allocation"]["chosen"]
    return plain
