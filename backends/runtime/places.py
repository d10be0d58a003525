"""Where the files of an attempt lie, and how they are written so that a crash leaves the old file or the new one.

<root>/<job id>/<attempt>/
    attempt.json  fence.json  attempt.lock  launched  released  output.log
    <task>/request.json  supervisor.json  supervisor.log  stop.json  reports.jsonl  rank-<r>.log  rank-<r>.report
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["AttemptPlace", "TaskPlace", "locked", "sync_directory", "write_atomically"]


class TaskPlace:
    """The directory of one task: one supervisor and its ranks."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.request = directory / "request.json"
        self.supervisor = directory / "supervisor.json"
        self.supervisor_log = directory / "supervisor.log"
        self.lock = directory / "supervisor.lock"
        self.stop = directory / "stop.json"
        self.reports = directory / "reports.jsonl"

    def log(self, rank: int) -> Path:
        return self.directory / f"rank-{rank}.log"

    def pipe(self, rank: int) -> Path:
        """The named pipe into which the rank writes its reports."""
        return self.directory / f"rank-{rank}.report"


class AttemptPlace:
    """The directory of one attempt, with a directory for each of its tasks."""

    def __init__(self, root: Path, job_id: str, attempt: int) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.directory = root / job_id / str(attempt)
        self.command = self.directory / "attempt.json"
        self.fence = self.directory / "fence.json"
        self.lock = self.directory / "attempt.lock"
        self.launched = self.directory / "launched"
        self.released = self.directory / "released"
        self.output = self.directory / "output.log"
        self.output_cursor = self.directory / "output.json"

    def task(self, index: int) -> TaskPlace:
        return TaskPlace(self.directory / str(index))


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` as a whole, durably: temporary file, fsync, rename, fsync of the directory."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file's lock against other processes and threads; it goes with the process that holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
