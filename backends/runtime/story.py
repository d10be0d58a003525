"""What a supervisor tells of its task: started, progressed, ended, each with the next number."""

import math
import re
import socket
import time
from collections.abc import Sequence

from backends.runtime.places import TaskPlace
from backends.runtime.rank_reports import RankLine
from backends.runtime.ranks import Rank
from backends.runtime.reports import Entry, append
from backends.runtime.request import TaskRequest
from scheduler.model.events import AttemptEnded, AttemptProgressed, AttemptStarted
from scheduler.model.lifecycle import AttemptEnd
from scheduler.ports import Report

__all__ = ["Story", "how_it_ended"]

FASTEST_S = 0.2  # between two reports of progress, at first
SLOWEST_S = 10.0  # and at last, so that a month of them is some 30 MiB
CONNECT_TIMEOUT_S = 0.2
MEMORY_ERROR = re.compile(r"^([\w.]*\.)?\w*(MemoryError|OutOfMemoryError)\b")  # the last line of a traceback


class Story:
    """Numbers and writes the reports of one task. Progress is thinned out: of what comes too fast the latest counts."""

    def __init__(self, place: TaskPlace, request: TaskRequest) -> None:
        self._place = place
        self._request = request
        self._start = request.start
        self._seq = 0
        self._began = time.monotonic()
        self._told_at = 0.0
        self._untold: RankLine | None = None
        self._started = False

    def hear(self, rank: Rank, line: RankLine) -> None:
        """Take in a rank's line. Progress counts from rank 0 of the leading task alone."""
        if line.done is not None and self._request.lead and rank.number == self._request.task.first_rank:
            self._untold = line

    def tell(self, ranks: Sequence[Rank], *, service_due: bool) -> None:
        """Write what is due: the start when all ranks are up (and a service answers), then progress."""
        if not self._started and (not self._request.serves or self._answers(ranks, look=service_due)):
            self._started = True
            endpoint = f"{self._request.host}:{self._request.service_port}"
            endpoints = (endpoint,) if self._request.serves else ()
            self._write(AttemptStarted(**self._names(), endpoints=endpoints))
        now = time.monotonic()
        pause = min(SLOWEST_S, max(FASTEST_S, (now - self._began) / 500))
        if self._started and self._untold is not None and now - self._told_at >= pause:
            self._tell_progress(now)

    def end(self, how: AttemptEnd, exit_code: int, detail: str) -> None:
        """The last report, durable before the supervisor leaves."""
        if self._started and self._untold is not None:
            self._tell_progress(time.monotonic())
        self._write(AttemptEnded(**self._names(), how=how, exit_code=exit_code, detail=detail), durable=True)

    def _answers(self, ranks: Sequence[Rank], *, look: bool) -> bool:
        if any(rank.ready for rank in ranks):
            return True
        if not look:
            return False
        try:
            socket.create_connection((self._request.host, self._request.service_port), CONNECT_TIMEOUT_S).close()
        except OSError:
            return False
        return True

    def _tell_progress(self, now: float) -> None:
        line, self._untold, self._told_at = self._untold, None, now
        assert line is not None
        assert line.done is not None
        loss = line.loss if line.loss is None or math.isfinite(line.loss) else None
        self._write(
            AttemptProgressed(
                **self._names(),
                done=line.done,
                saved=line.saved or 0.0,
                rate=line.rate,
                loss=loss,
                overruns=line.overruns,
                came=line.came if 0 <= line.came < math.inf else 0.0,
            )
        )

    def _names(self) -> dict[str, int]:
        self._seq += 1
        start = self._start
        return {"job": start.job, "attempt": start.attempt, "epoch": start.epoch, "seq": self._seq}

    def _write(self, report: Report, *, durable: bool = False) -> None:
        append(self._place.reports, Entry(time.time_ns() // 1000, report), durable=durable)


def how_it_ended(
    request: TaskRequest, ranks: Sequence[Rank], failed: Rank | None, *, stopped: bool, expired: bool
) -> tuple[AttemptEnd, int, str]:
    """The end of a task from the ends of its ranks: how, exit code, and one line of detail."""
    first = failed or next((rank for rank in ranks if rank.exit_code), ranks[0])
    code = first.exit_code or 0
    if stopped and not failed:
        if expired:
            return AttemptEnd.KILLED, code, "the notice ran out"
        if all(rank.finished and not rank.exit_code for rank in ranks):
            return AttemptEnd.EXITED, 0, ""
        return AttemptEnd.PREEMPTED, code, ""
    if not code:
        return AttemptEnd.EXITED, 0, ""
    for rank in ranks:
        if memory := rank.out_of_memory or _recognise(request, rank):
            return AttemptEnd.OUT_OF_MEMORY, rank.exit_code or code, f"rank {rank.number}: {memory}"
    words = first.last_words()
    return AttemptEnd.EXITED, code, f"rank {first.number} exited with code {code}" + (f": {words}" if words else "")


def _recognise(request: TaskRequest, rank: Rank) -> str:
    """The line in which a failed rank's output says, in the adapter's words, that memory ran out."""
    if not rank.exit_code:
        return ""
    from backends.devices.registry import get_adapter  # needed by few tasks, and only at their end

    adapter = get_adapter(request.task.adapter, emulated=request.task.emulated)
    for line in reversed(rank.log.recent().decode(errors="replace").splitlines()):
        if MEMORY_ERROR.match(line) or adapter.is_out_of_memory(RuntimeError(line)):
            return line.strip()[:200]
    return ""
