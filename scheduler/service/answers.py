"""Answers from the engine's thread to those who wait on an event loop: one wake-up for all of a batch."""

import asyncio
from collections import deque
from typing import Any

__all__ = ["Answers", "Reply"]


class Reply:
    """What the engine's thread settles, once; `future` ends on the loop soon after."""

    __slots__ = ("_answers", "future")

    def __init__(self, answers: "Answers") -> None:
        self._answers = answers
        self.future: asyncio.Future[Any] = answers.loop.create_future()

    def set_result(self, value: object) -> None:
        self._answers.ready(self.future, value, None)

    def set_exception(self, error: BaseException) -> None:
        self._answers.ready(self.future, None, error)


class Answers:
    """Waking a loop costs a system call, and hundreds of answers become ready together."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._ready: deque[tuple[asyncio.Future[Any], object, BaseException | None]] = deque()
        self._called = False

    def ready(self, future: "asyncio.Future[Any]", value: object, error: BaseException | None) -> None:
        """From any thread."""
        self._ready.append((future, value, error))
        if not self._called and not self.loop.is_closed():
            self._called = True
            self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._called = False  # first: what is appended from here on calls again
        while self._ready:
            future, value, error = self._ready.popleft()
            if future.done():  # whoever asked has gone
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
