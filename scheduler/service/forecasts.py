"""Forecasts off the engine's thread: one worker process, a time limit for each question, the newest answer kept."""

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from typing import Any, Final, TypeVar

from scheduler.errors import DualtrackError, OverloadedError
from scheduler.model.events import Actor, Record
from scheduler.model.jobs import Job
from scheduler.ports import Clock
from scheduler.service.decisions import decisions_from
from scheduler.service.plans import expected_of, plan_on_image, why_on_image
from scheduler.service.views import Expected, View

__all__ = ["Forecaster"]

log = logging.getLogger(__name__)
T = TypeVar("T")

ANSWER_WITHIN_S: Final = 25.0
ASKED_LATELY_S: Final = 20.0
LEAST_PAUSE_S: Final = 5.0
MOST_JOBS: Final = 5_000
"""Live jobs up to which expected starts are kept fresh; a plan is made at any size."""


def _leave_with_parent() -> None:
    """In the worker: end when the service is gone, however it went. A worker waits on a pipe that it also holds itself,
    so it would never hear of that."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), name="parent", daemon=True).start()


def _end_after(parent: Any) -> None:
    parent.join()
    os._exit(0)


class Forecaster:
    """`look` gives (version, live jobs, a function that makes the image) of the durable state.

    Expected starts are renewed in the background, only while somebody asks for them and only when something changed.
    """

    def __init__(self, look: Callable[[], tuple[int, int, Callable[[], bytes]]], clock: Clock) -> None:
        self._look = look
        self._clock = clock
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._expected: Mapping[int, Expected] = {}
        self._version = -1
        self._asked = 0.0
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="forecasts", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._wanted.set()
        self._drop_pool()

    def expected(self, job: int) -> Expected | None:
        """The newest forecast of a job, which may be some seconds old; asking keeps forecasts coming."""
        self._asked = time.monotonic()
        self._wanted.set()
        return self._expected.get(job)

    def plan(self, image: bytes, job: Job, actor: Actor, now_us: int) -> View:
        """Blocks. Raises what a submission would raise, OverloadedError when it takes too long."""
        return self._run(plan_on_image, image, job, actor, now_us)

    def why(self, image: bytes, job: int, now_us: int) -> View:
        """Blocks. Raises OverloadedError when it takes too long."""
        return self._run(why_on_image, image, job, now_us)

    def decisions(self, records: Sequence[Record], seqs: frozenset[int]) -> list[View]:
        """The allocations of the records `seqs`, made again from the history that begins with `records`. Blocks."""
        return self._run(decisions_from, records, seqs)

    def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        if not self._turn.acquire(timeout=ANSWER_WITHIN_S):
            raise OverloadedError("other forecasts are being made", "try again in a moment")
        try:
            return self._workers().submit(function, *arguments).result(timeout=ANSWER_WITHIN_S)
        except TimeoutError as error:
            self._drop_pool()
            raise OverloadedError(f"the forecast took longer than {ANSWER_WITHIN_S:g} s", "try again later") from error
        except BrokenExecutor as error:
            self._drop_pool()
            raise OverloadedError("the process that makes forecasts has died", "try again") from error
        finally:
            self._turn.release()

    def _workers(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._pool is None:
                # spawn: a fork of a process with threads would copy locks that nobody releases
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_leave_with_parent)
            return self._pool

    def _drop_pool(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            # a worker that is stuck is ended by its id; there is no gentler way to end a computation
            processes = list((getattr(pool, "_processes", None) or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()

    def _renew(self) -> None:
        while not self._closing.is_set():
            self._wanted.wait()
            self._wanted.clear()
            began = time.monotonic()
            if self._closing.is_set() or began - self._asked > ASKED_LATELY_S:
                continue
            try:
                self._renew_once()
            except DualtrackError as error:
                log.info("no forecast: %s", error)
            # A defect of the forecast must not end the thread, which would leave old expectations standing for ever.
            except Exception:
                log.exception("a forecast met a defect")
                self._expected = {}
            took = time.monotonic() - began
            self._closing.wait(max(LEAST_PAUSE_S, 4 * took))

    def _renew_once(self) -> None:
        version, live, image = self._look()
        if version == self._version or not 0 < live <= MOST_JOBS:
            if not live:
                self._expected = {}
            return
        self._expected = self._run(expected_of, image(), self._clock.now_us())
        self._version = version
