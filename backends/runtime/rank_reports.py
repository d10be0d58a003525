"""What a rank may tell its supervisor: JSON lines into a named pipe, which is bounded whatever the rank does."""

import contextlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct

__all__ = ["RankLine", "RankPipe", "send_line"]

MAX_LINE_BYTES = 4096  # of which the kernel writes each whole
READ_BYTES = 64 * 1024


class RankLine(Struct, frozen=True, omit_defaults=True):
    """One line; every field may be missing, others are ignored. `done` and `saved` are in the workload's unit."""

    done: float | None = None
    saved: float | None = None
    rate: float = 0.0
    loss: float | None = None
    overruns: int = 0
    came: float = 0.0  # requests of a service, answered or not; `done` are those that are answered
    ready: bool = False  # a service answers
    finished: bool = False  # the declared work is done, whatever signal came meanwhile
    out_of_memory: bool = False
    detail: str = ""


_DECODER = msgspec.json.Decoder(RankLine)


class RankPipe:
    """The supervisor's end of a rank's pipe. Lines that are too long or cannot be decoded are counted, not kept."""

    def __init__(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        os.mkfifo(path, 0o600)
        # Open for reading and writing, so that it never reports an end while ranks come and go.
        self.handle = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.path = path
        self.ignored = 0
        self._pending = b""
        self._skipping = False

    def read(self) -> list[RankLine]:
        """The lines that have arrived, at most 64 KiB of them; never blocks."""
        try:
            chunk = os.read(self.handle, READ_BYTES)
        except BlockingIOError:
            return []
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        if self._skipping and lines:
            lines, self._skipping = lines[1:], False
        if len(self._pending) > MAX_LINE_BYTES:
            self.ignored += not self._skipping
            self._pending, self._skipping = b"", True
        return [decoded for line in lines if line.strip() and (decoded := self._decode(line)) is not None]

    def _decode(self, line: bytes) -> RankLine | None:
        try:
            if len(line) <= MAX_LINE_BYTES:
                return _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        self.ignored += 1
        return None

    def close(self) -> None:
        os.close(self.handle)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


def send_line(path: str, line: RankLine) -> bool:
    """Write one line into the pipe (or file) at `path`; False when nobody reads it or it is full."""
    content = msgspec.json.encode(line) + b"\n"
    if len(content) > MAX_LINE_BYTES:
        return False
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.write(handle, content) == len(content)
    except OSError:  # full, or the supervisor has gone: a report is never worth the work it reports
        return False
    finally:
        os.close(handle)
