"""The engine's thread: the only owner of State. It drains a queue in batches: fold, decide, fold, one commit, and only
then acknowledgements and commands.

A batch first answers the questions, which therefore see only what is durable, and then takes what changes something.
When a commit fails, nothing of the batch is acknowledged and the thread ends: the state in memory is ahead of the
journal and must not be shown.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from itertools import groupby
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct

from scheduler.engine.engine import Engine
from scheduler.engine.reconcile import reconcile
from scheduler.engine.state import State
from scheduler.errors import DualtrackError, JournalWriteError, UnavailableError
from scheduler.journal.replay import checkpoint_image
from scheduler.model.accelerators import Catalog
from scheduler.model.commands import Command
from scheduler.model.events import Allocated, AttemptEnded, AttemptProgressed, CellReachability, Event, Record
from scheduler.model.lifecycle import AttemptEnd
from scheduler.model.plan import Plan
from scheduler.ports import AttemptStatus, Clock, JournalStore
from scheduler.service.answers import Answers, Reply
from scheduler.service.links import CellLink, Listed, Received, StartFailed
from scheduler.service.modes import RunMode, permitted

__all__ = ["Change", "EngineLoop", "Observer", "Proposal"]

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH: Final = 1_000
TICK_S: Final = 0.5
CHECKPOINT_EVERY: Final = 5_000
"""Records between two checkpoints, or four times as many as there are jobs where that is more: an image holds every
job, so that writing it costs each record the same however long the history grows. To read four records takes no longer
than to take one job from an image."""

LONG_CYCLE_S: Final = 0.002
REST: Final = 9.0
LONGEST_REST_S: Final = 1.0
"""After a cycle that took longer than the first, so many times as long goes to batches without one, up to the last or
as long as the cycle took: on a large fleet or with a long queue, submissions are made durable and answered at the pace
of the disk, and decided many at a time."""

ANSWER_WITHIN_S: Final = 30.0


class Proposal(Struct, frozen=True):
    """What a request wants to happen, and the answer to give once it is durable."""

    events: tuple[Event, ...]
    answer: Callable[[State], Any]


Change = Callable[[State, int], Proposal]
"""(state, now) to a proposal. Raises DualtrackError to refuse; must not touch the state."""


class Observer(Protocol):
    """Sees every event around its folding: metrics."""

    def before(self, state: State, event: Event, now_us: int) -> None: ...

    def after(self, state: State, event: Event, now_us: int) -> None: ...

    def planned(self, policy: str, plan: Plan) -> None: ...

    def cycled(self, cycle_s: float, commit_s: float) -> None: ...


class _Ask(Struct):
    question: Callable[[State], Any]
    future: "Future[Any]"


class _Request(Struct):
    change: Change
    future: "Future[Any] | Reply"


_Item = _Ask | _Request | Received | StartFailed | Listed


class EngineLoop:
    """`publish` gets the records of each batch after its commit. `failure` tells why the thread ended by itself."""

    def __init__(
        self, state: State, *, seq: int, epoch: int, journal: JournalStore, clock: Clock, mode: RunMode,
        observer: Observer, publish: Callable[[Sequence[Record]], None],
    ) -> None:  # fmt: skip
        self.mode = mode
        self.failure: DualtrackError | None = None
        self.ids: list[str] = [job.id for job in state.jobs]
        self._state = state
        self._engine = Engine(state)
        self._seq = seq
        self._checkpointed = seq
        self._epoch = epoch
        self._journal = journal
        self._clock = clock
        self._observer = observer
        self._publish = publish
        self._links: dict[str, CellLink] = {}
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._wake_us: int | None = clock.now_us()
        self._silent: set[str] = set()
        self._rest_until_s = 0.0
        self._owed = False  # a cycle was due while the engine rested
        self._stopping = threading.Event()
        self._answers: Answers | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.offers: dict[int, Allocated] = {}
        self.on_failure: Callable[[], None] = lambda: None

    # What other threads call

    def start(self, links: Mapping[str, CellLink], events: Sequence[Event], commands: Sequence[Command]) -> None:
        """Begin, with what recovery found: events to record and commands to send."""
        self._links = dict(links)
        self._first = (tuple(events), tuple(commands))
        self._thread.start()

    def stop(self) -> None:
        """End after the present batch, with a checkpoint."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=ANSWER_WITHIN_S)

    def post(self, news: Received | StartFailed | Listed) -> None:
        self._queue.put(news)

    def id_of(self, job: int) -> str:
        return self.ids[job] if 0 <= job < len(self.ids) else f"#{job}"

    @property
    def catalog(self) -> Catalog:
        """What is known of accelerators and models: a frozen value, which no request changes."""
        return self._state.config.catalog

    def link(self, cell: str) -> CellLink | None:
        return self._links.get(cell)

    def ask(self, question: Callable[[State], T]) -> T:
        """Evaluate `question` on the durable state, in the engine's thread. Raises what it raises."""
        future: Future[T] = Future()
        return self._wait(_Ask(question, future), future)

    def change(self, change: Change) -> Any:
        """Carry out a change; returns its answer once it is durable. Raises DualtrackError where it is refused."""
        future: Future[Any] = Future()
        return self._wait(_Request(change, future), future)

    def offer(self, change: Change) -> "Future[Any]":
        """The same without waiting: many changes that are offered together share a cycle and a commit.

        Raises UnavailableError. The future never ends if the thread dies of something that it cannot report.
        """
        if self.failure is not None or self._stopping.is_set():
            raise self._unavailable()
        future: Future[Any] = Future()
        self._queue.put(_Request(change, future))
        return future

    async def change_soon(self, change: Change) -> Any:
        """`change` for a coroutine. All callers have to be on one event loop at a time."""
        (answer,) = await self.change_all_soon([change])
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def change_all_soon(self, changes: Sequence[Change]) -> list[Any]:
        """Carry out the changes in their order, and return the answer of each, or the error that refused it."""
        loop = asyncio.get_running_loop()
        if self._answers is None or self._answers.loop is not loop:
            self._answers = Answers(loop)
        replies = [Reply(self._answers) for _ in changes]
        if self.failure is not None or self._stopping.is_set():
            raise self._unavailable()
        for change, reply in zip(changes, replies, strict=True):
            self._queue.put(_Request(change, reply))
        if self.failure is not None:  # it may have looked through the queue for the last time before we came
            self._refuse_waiting()
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return [await _settled(reply.future) for reply in replies]
        except TimeoutError:
            raise self._unavailable() if not self._thread.is_alive() else _busy() from None

    def _wait(self, item: _Ask | _Request, future: "Future[T]") -> T:
        if self.failure is not None or self._stopping.is_set():
            raise self._unavailable()
        self._queue.put(item)
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while time.monotonic() < deadline:
            try:
                return future.result(timeout=1.0)
            except TimeoutError:
                if not self._thread.is_alive():
                    raise self._unavailable() from None
        raise _busy()

    def _unavailable(self) -> UnavailableError:
        if self.failure is None:
            return UnavailableError("the service is stopping", "start it again with `dualtrack up`")
        return UnavailableError(f"the service has stopped: {self.failure}", "mend the cause and start it again")

    # The thread

    def _run(self) -> None:
        try:
            self._batch([], *self._first)
            while not self._stopping.is_set():
                self._batch(self._drain())
            self._checkpoint(force=True)
        except DualtrackError as error:
            self._fail(error)
        # The process boundary of the engine: a defect here must end the service in words, never leave it half alive.
        except Exception as error:
            log.exception("the engine met a defect")
            self._fail(UnavailableError(f"a defect in the engine: {error!r}", "report it with the service's log"))

    def _fail(self, error: DualtrackError) -> None:
        log.critical("the engine stops: %s", error)
        self.failure = error
        self._refuse_waiting()
        self.on_failure()

    def _refuse_waiting(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if isinstance(item, _Ask | _Request):
                item.future.set_exception(self._unavailable())

    def _drain(self) -> list[_Item]:
        timeout = TICK_S
        if self._owed:
            timeout = min(timeout, max(0.0, self._rest_until_s - time.monotonic()))
        elif self._wake_us is not None:
            timeout = min(timeout, max(0.0, (self._wake_us - self._clock.now_us()) / 1e6))
        items: list[_Item] = []
        try:
            items.append(self._queue.get(timeout=timeout) if timeout > 0 else self._queue.get_nowait())
            while len(items) < BATCH:
                items.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return items

    def _batch(self, items: Sequence[_Item], events: Sequence[Event] = (), commands: Sequence[Command] = ()) -> None:
        for item in items:
            if isinstance(item, _Ask):
                _settle(item.future, item.question, self._state)
        now = self._clock.now_us()
        records: list[Record] = []
        outgoing = list(commands)
        outgoing += self._fold(events, now, records)
        accepted: list[tuple[_Request, Callable[[State], Any]]] = []
        try:
            for item in items:
                if isinstance(item, _Request):
                    self._consider(item, now, records, outgoing, accepted)
                elif not isinstance(item, _Ask):
                    outgoing += self._fold(self._meaning(item, now, outgoing), now, records)
            outgoing += self._fold(self._silence(), now, records)
            began = time.perf_counter()
            if self._due(records, now):
                outgoing += self._decide(now, records)
                self._rest(time.perf_counter() - began)
            decided = time.perf_counter()
            self._commit(records)
            if records:
                self._observer.cycled(decided - began, time.perf_counter() - decided)
        except BaseException as error:  # whatever stops the loop: those who wait must learn that nothing was accepted
            for request, _ in accepted:
                request.future.set_exception(UnavailableError(f"nothing was accepted: {error}", "try again later"))
            raise
        for request, answer in accepted:
            _settle(request.future, answer, self._state)
        self._dispatch(outgoing)
        if records:
            self._publish(records)
            self._checkpoint()

    def _consider(
        self, item: _Request, now: int, records: list[Record], outgoing: list[Command],
        accepted: list[tuple[_Request, Callable[[State], Any]]],
    ) -> None:  # fmt: skip
        try:
            proposal = item.change(self._state, now)
        except DualtrackError as error:
            item.future.set_exception(error)
            return
        outgoing += self._fold(proposal.events, now, records)
        accepted.append((item, proposal.answer))

    def _meaning(self, item: Received | StartFailed | Listed, now: int, outgoing: list[Command]) -> Iterable[Event]:
        """The events in a piece of news."""
        if isinstance(item, Received):
            return item.reports
        if isinstance(item, Listed):
            statuses: dict[str, Sequence[AttemptStatus]] = {item.cell: item.statuses}
            events, commands = reconcile(self._state, statuses, now)
            outgoing += commands
            return events
        command = item.command
        attempts = self._state.jobs[command.job].attempts
        if not attempts or attempts[-1].n != command.attempt:
            return ()
        return (
            AttemptEnded(
                job=command.job, attempt=command.attempt, epoch=command.epoch, seq=attempts[-1].seq + 1,
                how=AttemptEnd.START_FAILED, exit_code=1, detail=item.problem,
            ),
        )  # fmt: skip

    def _silence(self) -> list[Event]:
        """Cells whose executor has fallen silent, or answers again."""
        limit_s = self._state.config.policy.suspect_after_us / 1e6
        found: list[Event] = []
        for cell, link in self._links.items():
            silent = link.silent_s() > limit_s
            if silent and cell not in self._silent:
                self._silent.add(cell)
                found.append(CellReachability(cell, False))
            elif not silent and cell in self._silent:
                self._silent.discard(cell)
                link.relist()
                found.append(CellReachability(cell, True))
        return found

    def _due(self, records: Sequence[Record], now: int) -> bool:
        """Whether a cycle could decide something new: time has come, or more than progress has happened. After a long
        cycle it is put off."""
        woken = self._wake_us is not None and now >= self._wake_us
        news = any(not isinstance(record.event, AttemptProgressed) for record in records)
        self._owed = self._owed or woken or news
        return self._owed and time.monotonic() >= self._rest_until_s

    def _rest(self, took_s: float) -> None:
        self._owed = False
        if took_s > LONG_CYCLE_S:
            self._rest_until_s = time.monotonic() + max(took_s, min(REST * took_s, LONGEST_REST_S))

    def _decide(self, now: int, records: list[Record]) -> list[Command]:
        decision = self._engine.decide(now)
        self._observer.planned(self._state.config.policy.name, decision.plan)
        self._wake_us = decision.plan.wake_us
        if self._wake_us is not None and self._wake_us <= now:
            self._wake_us = now + 1_000
        if self.mode is not RunMode.ENFORCE:
            self.offers = {event.job: event for event in decision.events if isinstance(event, Allocated)}
        acted = permitted(self.mode, decision.events, lambda job: self._state.jobs[job].reason)
        return self._fold(acted, now, records)

    def _fold(self, events: Iterable[Event], now: int, records: list[Record]) -> list[Command]:
        commands: list[Command] = []
        for event in events:
            self._observer.before(self._state, event, now)
            commands += self._engine.fold(event, now)
            self._observer.after(self._state, event, now)
            self._seq += 1
            records.append(Record(self._seq, self._epoch, now, event))
        for job in self._state.jobs[len(self.ids) :]:
            self.ids.append(job.id)
        return commands

    def _commit(self, records: Sequence[Record]) -> None:
        if records:
            self._journal.append(records)

    def _dispatch(self, commands: Sequence[Command]) -> None:
        for cell, run in groupby(commands, key=lambda command: command.cell):
            together = list(run)
            link = self._links.get(cell)
            if link is None:
                log.error("no executor for cell %s, which job %s needs", cell, together[0].job_id)
            else:
                link.send(together)

    def _checkpoint(self, force: bool = False) -> None:
        every = max(CHECKPOINT_EVERY, 4 * len(self._state.jobs))
        if self._seq - self._checkpointed < (1 if force else every):
            return
        try:
            self._journal.save_checkpoint(self._seq, checkpoint_image(self._state))
        except JournalWriteError as error:
            # The history itself is durable; only the next start takes longer.
            log.warning("no checkpoint: %s", error)
        self._checkpointed = self._seq


async def _settled(future: "asyncio.Future[T]") -> T | DualtrackError:
    try:
        return await future
    except DualtrackError as error:
        return error


def _busy() -> UnavailableError:
    return UnavailableError("the scheduler is busy and did not answer in time", "try again; a key makes it safe")


def _settle(future: "Future[Any] | Reply", answer: Callable[[State], Any], state: State) -> None:
    try:
        future.set_result(answer(state))
    except DualtrackError as error:
        future.set_exception(error)
    # A defect in a view must reach its own request only, never the engine's thread.
    except Exception as error:
        log.exception("a question could not be answered")
        future.set_exception(error)
