"""A log that cannot fill the disk: its head and its tail are kept, the middle of a flood is dropped and counted."""

from pathlib import Path
from typing import IO

__all__ = ["CappedLog"]

TAIL_BYTES = 64 * 1024


class CappedLog:
    """Everything up to `limit_bytes` is written as it comes, so that offsets stay true; of the rest the last 64 KiB are
    appended when the log is closed, after a line that says how much is missing."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self._file: IO[bytes] = path.open("ab", buffering=0)
        self._room = max(0, limit_bytes - path.stat().st_size)
        self._tail = bytearray()
        self._beyond = 0

    def write(self, chunk: bytes) -> None:
        head, rest = chunk[: self._room], chunk[self._room :]
        if head and not self._append(head):
            rest, self._room = chunk, 0
        else:
            self._room -= len(head)
        if rest:
            if not self._beyond:
                self._append(b"\n[log limit reached: the end follows when the rank has ended]\n")
            self._beyond += len(rest)
            self._tail = (self._tail + rest)[-TAIL_BYTES:]

    def recent(self) -> bytes:
        """The last 64 KiB of output, wherever they are kept."""
        if len(self._tail) >= TAIL_BYTES:
            return bytes(self._tail)
        with self.path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES + len(self._tail)))
            return file.read() + bytes(self._tail)

    def close(self) -> None:
        if self._beyond > len(self._tail):
            self._append(b"[%d bytes of output dropped]\n" % (self._beyond - len(self._tail)))
        self._append(bytes(self._tail))
        self._file.close()

    def _append(self, content: bytes) -> bool:
        """A full disk costs output, never the job."""
        try:
            self._file.write(content)
        except OSError:
            return False
        return True
