"""A whole service in a process of its own, and clients that speak to it over HTTP: for `admission.py`.

The service is the one that `dualtrack up` runs (uvicorn, API, engine's thread, journal, links to cells), but for its
executors, which take every command and never report: a job's own life is not what is measured. Where the machine has
two cores, the service is kept on one and the clients on the other.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scheduler.engine.records import JobRecord
from scheduler.errors import UnavailableError
from scheduler.model.cluster import Cell
from scheduler.model.commands import Release, Start, Stop
from scheduler.model.events import Configured
from scheduler.ports import AttemptKey, AttemptStatus, Executor, Report
from scheduler.service.client import Client
from scheduler.service.daemon import ServeOptions, Service, listening
from scheduler.service.recovery import recover
from scheduler.service.rehearsal import rehearse
from scheduler.service.settings import find_endpoint
from scheduler.service.wiring import Backends

READY_WITHIN_S = 120.0


class Mute:
    """An executor that takes every command and never reports."""

    def start(self, command: Start) -> None:
        pass

    def stop(self, command: Stop | Release) -> None:
        pass

    def list(self) -> tuple[AttemptStatus, ...]:
        return ()

    def reports(self, seen: dict[AttemptKey, int], wait_s: float) -> tuple[Report, ...]:
        time.sleep(wait_s)
        return ()

    def logs(self, key: AttemptKey, rank: int | None = None, offset: int = 0) -> bytes:
        return b""

    def close(self) -> None:
        pass


class Muted:
    def executor(self, cell: Cell) -> Executor:
        return Mute()


def serve(home: Path) -> None:
    """The process of the service: the configuration lies in its home. Ends at SIGTERM."""
    from scheduler.journal.store import open_journal

    config = msgspec.json.decode((home / "config.json").read_bytes(), type=Configured)
    rehearse(config)
    journal = open_journal(home / "journal.db")
    found = recover(journal, config)
    service = Service(ServeOptions(home=home, sources=None), config, journal, found, cast(Backends, Muted()))
    signal.signal(signal.SIGTERM, lambda number, frame: service.stop())
    with listening("127.0.0.1", 0) as listener:
        try:
            service.run(listener, lambda url: None)
        finally:
            service.close()
            journal.close()


class Served:
    """The service of `config` in a process of its own, while the context lasts."""

    def __init__(self, config: Configured) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dualtrack-served-")
        self.home = Path(self._folder.name)
        (self.home / "config.json").write_bytes(msgspec.json.encode(config))

    def __enter__(self) -> "Served":
        self._cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._process = subprocess.Popen([sys.executable, __file__, str(self.home)])
        if len(self._cpus) > 1:
            first, *others = sorted(self._cpus)
            os.sched_setaffinity(self._process.pid, {first})
            os.sched_setaffinity(0, others)
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.endpoint = find_endpoint(home=str(self.home))
                with Client(self.endpoint) as client:
                    if client.ready():
                        return self
            except UnavailableError:
                pass
            time.sleep(0.1)
        self.__exit__()
        raise UnavailableError("the service did not begin to answer")

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=READY_WITHIN_S)
        if self._cpus:
            os.sched_setaffinity(0, self._cpus)
        self._folder.cleanup()

    def cpu_s(self) -> float:
        """CPU time of the service's process so far, all threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def replayed(self) -> Sequence[JobRecord]:
        """The jobs as the journal alone tells them, asked of a fresh reader."""
        from scheduler.journal.replay import replay
        from scheduler.journal.store import open_journal

        journal = open_journal(self.home / "journal.db")
        try:
            engine = replay(journal).engine
        finally:
            journal.close()
        return engine.state.jobs if engine else ()


class Connection(asyncio.Protocol):
    """One kept-alive connection: a request at a time, as cheap for the client as Python allows."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        size = int(lower.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) >= size and self._answer is not None:
            answer, self._answer, self._buffer = self._answer, None, b""
            if head.split(b" ", 2)[1] in (b"200", b"201"):
                answer.set_result(body)
            else:
                answer.set_exception(RuntimeError(refusal(head, body)))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None:
            self._answer.set_exception(error or ConnectionResetError("the service closed the connection"))

    async def ask(self, request: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer


def refusal(head: bytes, body: bytes) -> str:
    return f"{head.splitlines()[0].decode()}: {body[:500].decode(errors='replace')}"


def request(path: str, token: str, body: bytes, key: str = "") -> bytes:
    """A whole POST as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}",
             "Content-Type: application/json", f"Content-Length: {len(body)}"]  # fmt: skip
    if key:
        lines.append(f"Idempotency-Key: {key}")
    return "\r\n".join((*lines, "", "")).encode() + body


async def ask_all(url: str, requests: Iterator[bytes], clients: int, seconds: float) -> None:
    """Each client waits for its answer before it sends the next."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    loop = asyncio.get_running_loop()
    deadline = time.perf_counter() + seconds

    async def client() -> None:
        _, connection = await loop.create_connection(Connection, host, int(port))
        for wanted in requests:
            await connection.ask(wanted)
            if time.perf_counter() >= deadline:
                break
        connection._transport.close()

    await asyncio.gather(*(client() for _ in range(clients)))


def undecided(served: Served) -> int:
    """How many jobs wait without having been told why."""
    with Client(served.endpoint) as client:
        return sum(job["reason"] is None for job in client.jobs(state="waiting", limit=1_000_000))


def measured(served: Served, requests: Sequence[bytes], clients: int, seconds: float) -> dict[str, float]:
    """Send them all, or as many as `seconds` allow, and wait until each job is decided."""
    theirs, ours = served.cpu_s(), time.process_time()
    began = time.perf_counter()
    asyncio.run(ask_all(served.endpoint.url, iter(requests), clients, seconds))
    used = time.process_time() - ours
    while undecided(served):
        time.sleep(0.05)
    took = time.perf_counter() - began
    return {"took": took, "server_cpu_s": served.cpu_s() - theirs, "client_cpu_s": used}


def body_of(values: dict[str, Any] | list[dict[str, Any]]) -> bytes:
    return json.dumps(values).encode()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
