"""Starting a supervisor: detached, in a session of its own, with a clean environment."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping

import msgspec

from backends.runtime.environment import base_environment
from backends.runtime.places import TaskPlace, write_atomically
from backends.runtime.reports import ReportFile
from backends.runtime.request import TaskRequest
from backends.runtime.supervisor import read_state
from scheduler.errors import ExecutorError, OutcomeUnknownError

__all__ = ["spawn", "wait_until_up"]


def spawn(
    place: TaskPlace, request: TaskRequest, inherited: Mapping[str, str] = os.environ
) -> "subprocess.Popen[bytes]":
    """Write the request and start its supervisor. Of `inherited` only the allow-list is handed on."""
    place.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(place.request, msgspec.json.encode(request))
    with place.supervisor_log.open("ab") as log:
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "backends.runtime.supervisor", str(place.directory)],
                cwd=place.directory,
                env=base_environment(inherited),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        except OSError as error:
            raise ExecutorError(f"cannot start a supervisor: {error.strerror}") from None


def wait_until_up(place: TaskPlace, process: "subprocess.Popen[bytes]", deadline: float) -> None:
    """Return once the supervisor is on record; `deadline` is on the monotonic clock.

    Raises ExecutorError when it has gone without a word, OutcomeUnknownError when the deadline passes.
    """
    reports = ReportFile(place.reports)
    while read_state(place) is None:
        reports.refresh()
        if process.poll() is not None and read_state(place) is None and reports.ended is None:
            tail = place.supervisor_log.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
            raise ExecutorError(f"the supervisor ended before it began: {tail[0][:200]}")
        if time.monotonic() > deadline:
            raise OutcomeUnknownError("the supervisor did not answer in time")
        time.sleep(0.01)
