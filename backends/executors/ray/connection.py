"""A gateway process as its caller holds it: calls go out from any thread, replies come back to who asked."""

import contextlib
import itertools
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TypeVar

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
    raised,
    read_frame,
    write_frame,
)
from backends.runtime.environment import base_environment
from scheduler.errors import OutcomeUnknownError, UnavailableError
from scheduler.model.commands import Release, Stop

__all__ = ["Connection"]

GOODBYE_S = 5.0

_T = TypeVar("_T")


class Connection:
    """Raises UnavailableError when the gateway cannot join the cluster within `timeout_s`."""

    def __init__(self, settings: GatewaySettings, env: Mapping[str, str], log: Path, timeout_s: float) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[Reply | None]] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self.alive = True
        greeting = self._expect(0)
        self._process = self._spawn(settings, env, log)
        assert self._process.stdin is not None
        self._calls: IO[bytes] = self._process.stdin
        threading.Thread(target=self._listen, name="ray-replies", daemon=True).start()
        self._greet(greeting, settings.address, timeout_s)

    def _spawn(self, settings: GatewaySettings, env: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
        """In a session of its own: an interrupt at the terminal is the scheduler's to handle."""
        variables = {**base_environment(os.environ), **env, SETTINGS: msgspec.json.encode(settings).decode()}
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "backends.executors.ray.gateway"],
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )

    def _greet(self, greeting: "queue.SimpleQueue[Reply | None]", address: str, timeout_s: float) -> None:
        try:
            reply = greeting.get(timeout=timeout_s)
        except queue.Empty:
            self.close()
            raise UnavailableError(f"Ray at {address} did not let us in within {timeout_s:g} s") from None
        if reply is None or reply.error:
            self.close()
            raise raised(reply) if reply else UnavailableError(f"the gateway to Ray at {address} ended at once")

    def call(self, body: Send | Stop | Release | List | Reports | Logs, answer: type[_T], timeout_s: float) -> _T:
        """The answer, or the error that the gateway met.

        Raises OutcomeUnknownError when none comes within `timeout_s`; the gateway is then given up.
        """
        number = next(self._numbers)
        waiting = self._expect(number)
        try:
            with self._writing:
                write_frame(self._calls, Call(number, body))
            reply = waiting.get(timeout=timeout_s)
        except (OSError, ValueError):
            reply = None
        except queue.Empty:
            self.close()
            raise OutcomeUnknownError(f"Ray did not answer within {timeout_s:g} s") from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if reply is None:
            raise OutcomeUnknownError("the gateway to Ray ended before it answered")
        if reply.error:
            raise raised(reply)
        return msgspec.msgpack.decode(reply.result, type=answer)

    def _expect(self, number: int) -> "queue.SimpleQueue[Reply | None]":
        waiting: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        with self._lock:
            self._waiting[number] = waiting
            if not self.alive:
                waiting.put(None)
        return waiting

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while (frame := read_frame(self._process.stdout)) is not None:
                reply = msgspec.msgpack.decode(frame, type=Reply)
                with self._lock:
                    waiting = self._waiting.get(reply.number)
                if waiting is not None:
                    waiting.put(reply)
        with self._lock:
            self.alive = False
            for waiting in self._waiting.values():
                waiting.put(None)

    def close(self) -> None:
        """End the gateway, by force when it does not go."""
        self.alive = False
        with contextlib.suppress(OSError, ValueError):
            self._calls.close()
        try:
            self._process.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
