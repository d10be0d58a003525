"""Where the demo plays: a service of its own in a temporary home, and the promise that nothing of it is left behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scheduler.errors import UnavailableError

__all__ = ["Stage", "sharing"]

LEAVE_WITHIN_S: Final = 8.0
START_WITHIN_S: Final = 150.0


class Stage:
    """A home, and the service that runs in it. Use as a context: leaving it ends every process of the demo."""

    def __init__(self, executor: str, cluster: str = "demo") -> None:
        self.home = Path(tempfile.mkdtemp(prefix="dualtrack-demo-"))
        self.workdir = self.home / "work"
        self.workdir.mkdir()
        flags = ["--cluster", cluster, "--tenants", "demo", "--policy", "demo", "--home", str(self.home)]
        self._command = [sys.executable, "-m", "scheduler.cli.main", "up", *flags]
        if executor == "local":
            self._command += ["--executor", "local"]

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """The service accepts work when this returns. Raises UnavailableError with the service's own words."""
        # Ctrl-C at the terminal is for the demo, which then ends the service in good order.
        done = subprocess.run(
            self._command, capture_output=True, text=True, timeout=START_WITHIN_S, start_new_session=True, check=False
        )
        if done.returncode:
            said = done.stderr.strip().removeprefix("error: ") or f"`up` ended with code {done.returncode}"
            raise UnavailableError(f"the demo's service did not start: {said}")

    def close(self) -> None:
        """End the service, then whatever still mentions the home: first politely, then for good."""
        down = [sys.executable, "-m", "scheduler.cli.main", "down", "--home", str(self.home)]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(down, capture_output=True, timeout=40, start_new_session=True, check=False)
        _end_all(self.home)

    def discard(self) -> None:
        """Remove the home with its logs and journal."""
        shutil.rmtree(self.home, ignore_errors=True)


def _end_all(home: Path) -> None:
    for number, patience_s in ((signal.SIGTERM, LEAVE_WITHIN_S), (signal.SIGKILL, LEAVE_WITHIN_S)):
        deadline = time.monotonic() + patience_s
        told: set[int] = set()
        while (left := set(sharing(home))) and time.monotonic() < deadline:
            for pid in left - told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            told |= left
            time.sleep(0.1)


def sharing(home: Path) -> Iterator[int]:
    """Processes, other than this one, whose command line or environment mentions the home.

    Its name is unique, so that no other process is ever meant: supervisors and Ray have it in their arguments, ranks in
    the path where they report.
    """
    mark = os.fsencode(str(home))
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if mark in (entry / "cmdline").read_bytes() or mark in (entry / "environ").read_bytes():
                yield pid
