"""The process that holds the connection to Ray, so that the scheduler does not.

    python -m backends.executors.ray.gateway   (calls on standard input, replies on standard output)

It goes when its standard input closes; what runs in the cluster goes on. What Ray prints goes to the gateway's log.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import msgspec

from backends.executors.ray.wire import (
    SETTINGS,
    Call,
    GatewaySettings,
    List,
    Logs,
    Reply,
    Reports,
    Send,
    failure,
    read_frame,
    write_frame,
)
from scheduler.errors import DualtrackError, ExecutorError
from scheduler.model.commands import Release, Stop

__all__ = ["Gateway", "main"]

THREADS = 16


class Gateway:
    def __init__(self, settings: GatewaySettings, replies: IO[bytes]) -> None:
        from backends.executors.ray.cell import RayCell  # loads Ray, whose words must go to the log by then
        from backends.executors.ray.link import RayLink
        from backends.executors.ray.mirror import Mirror

        self._replies = replies
        self._lock = threading.Lock()
        link = RayLink(settings.address, settings.namespace)
        mirror = Mirror(Path(settings.mirror))
        self._cell = RayCell(link, mirror, Path(settings.node_root), settings.room_timeout_s)

    def serve(self, calls: IO[bytes]) -> None:
        """Answer calls, several at once, until there can be no more."""
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="call")
        self.reply(Reply(0))
        while (frame := read_frame(calls)) is not None:
            pool.submit(self._answer, msgspec.msgpack.decode(frame, type=Call))
        self._cell.close()

    def _answer(self, call: Call) -> None:
        try:
            reply = Reply(call.number, msgspec.msgpack.encode(self._do(call)))
        except DualtrackError as error:
            reply = failure(call.number, error)
        except Exception as error:  # noqa: BLE001 - the process boundary: whatever it is, the caller must hear of it
            reply = failure(call.number, ExecutorError(f"the gateway to Ray failed: {type(error).__name__}: {error}"))
        self.reply(reply)

    def _do(self, call: Call) -> object:
        body = call.body
        match body:
            case Send():
                self._cell.start(body.request)
                return None
            case Stop() | Release():
                self._cell.stop(body)
                return None
            case List():
                return self._cell.list()
            case Reports():
                return self._cell.reports({(job_id, n): seq for job_id, n, seq in body.seen}, body.wait_s)
            case Logs():
                return self._cell.logs((body.job_id, body.attempt), body.rank, body.offset)

    def reply(self, reply: Reply) -> None:
        with self._lock:
            write_frame(self._replies, reply)


def _own_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Keep standard input and output for the calls, and give everyone else here nothing and the log."""
    calls, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return calls, replies


def main(give_up: Callable[[int], None] = os._exit) -> None:
    """Join the cluster, serve, and leave at once: Ray's own farewell may wait for a head that is gone."""
    calls, replies = _own_streams()
    settings = msgspec.json.decode(os.environ.pop(SETTINGS).encode(), type=GatewaySettings)
    try:
        gateway = Gateway(settings, replies)
    except DualtrackError as error:
        write_frame(replies, failure(0, error))
        give_up(1)
        return
    gateway.serve(calls)
    sys.stderr.flush()
    give_up(0)


if __name__ == "__main__":
    main()
