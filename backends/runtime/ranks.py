"""One rank: a child process with its output, its reports and its end."""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from backends.runtime.capped_log import CappedLog
from backends.runtime.places import TaskPlace
from backends.runtime.processes import die_with_parent
from backends.runtime.rank_reports import RankLine, RankPipe

__all__ = ["Rank"]

READ_BYTES = 256 * 1024


class Rank:
    """Raises OSError when its program cannot be started. Leads a process group of its own."""

    def __init__(
        self, number: int, entrypoint: tuple[str, ...], workdir: str, env: Mapping[str, str], log_limit_bytes: int
    ) -> None:
        self.number = number
        self._entrypoint = entrypoint
        self._workdir = workdir
        self._env = env
        self._log_limit_bytes = log_limit_bytes
        self.exit_code: int | None = None
        self.out_of_memory = ""
        self.finished = False
        self.ready = False

    def start(self, place: TaskPlace, selector: selectors.BaseSelector) -> None:
        self.log = CappedLog(place.log(self.number), self._log_limit_bytes)
        self.pipe = RankPipe(place.pipe(self.number))
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        self._output = read
        try:
            self._process = self._spawn(write, place.directory)
        except OSError as error:
            self.log.write(f"cannot start {self._entrypoint[0]!r}: {error.strerror}\n".encode())
            raise
        finally:
            os.close(write)
        self.pid = self._process.pid
        self._selector = selector
        selector.register(read, selectors.EVENT_READ, self)

    def _spawn(self, output: int, directory: Path) -> "subprocess.Popen[bytes]":
        supervisor = os.getpid()
        program = self._entrypoint[0]
        workdir = self._workdir or str(directory)
        if os.sep not in program:
            program = shutil.which(program, path=self._env.get("PATH")) or program
        return subprocess.Popen(
            [program, *self._entrypoint[1:]],
            cwd=workdir,
            env=dict(self._env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=lambda: die_with_parent(supervisor),  # noqa: PLW1509 - the supervisor has no threads
        )

    def pump(self) -> None:
        """Move what the rank has printed into its log; never blocks."""
        try:
            chunk = os.read(self._output, READ_BYTES)
        except BlockingIOError:
            return
        if chunk:
            self.log.write(chunk)
        else:
            self._hang_up()

    def lines(self) -> list[RankLine]:
        lines = self.pipe.read()
        for line in lines:
            self.ready |= line.ready
            self.finished |= line.finished
            if line.out_of_memory:
                self.out_of_memory = line.detail or "the rank ran out of memory"
        return lines

    def poll(self) -> bool:
        """Whether the rank runs; its exit code is 128 + n when signal n ended it."""
        if self.exit_code is None and (code := self._process.poll()) is not None:
            self.signal(signal.SIGKILL)  # what is left of its group; later the number may be another's
            self.exit_code = code if code >= 0 else 128 - code
        return self.exit_code is None

    def signal(self, number: signal.Signals) -> None:
        """To the whole group of a rank that has not ended."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def last_words(self) -> str:
        """The last line of output, for the one line that explains a failure."""
        lines = self.log.recent().decode(errors="replace").strip().splitlines()
        last = lines[-1] if lines else ""
        return "".join(c if c.isprintable() else " " for c in last).strip()[:200]

    def close(self) -> None:
        """Take what is left in the pipes, and let go of them."""
        if self._output >= 0:
            with contextlib.suppress(BlockingIOError):
                while chunk := os.read(self._output, READ_BYTES):
                    self.log.write(chunk)
            self._hang_up()
        self.log.close()
        self.pipe.close()

    def _hang_up(self) -> None:
        self._selector.unregister(self._output)
        os.close(self._output)
        self._output = -1
