"""What a rank reports of itself, no more often than anyone would read it."""

import math
import time
from collections.abc import Callable

from backends.runtime.rank_reports import RankLine, send_line

__all__ = ["Progress"]

FASTEST_S = 0.1
RATE_WINDOW_S = 2.0


class Progress:
    """Sends `done`, `saved`, rate and loss of one rank. Without a path it keeps count and sends nothing."""

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._sent_at = -math.inf
        self._window_at = clock()
        self._window_done = 0.0
        self.done = 0.0
        self.saved = 0.0
        self.rate = 0.0
        self.loss: float | None = None
        self.overruns = 0
        self.came = 0.0

    def begin(self, done: float) -> None:
        """Start from `done` work units that earlier attempts did and saved."""
        self.done = self.saved = done
        self.set_out()

    def set_out(self) -> None:
        """The first step begins now: what came before, such as building a model, is no part of the rate."""
        self._window_at, self._window_done = self._clock(), self.done

    def tell(self, *, now: bool = False) -> None:
        """Send what has changed, at most ten times a second unless it must be known now."""
        time_s = self._clock()
        if time_s - self._window_at >= RATE_WINDOW_S or not self.rate:
            elapsed_s = time_s - self._window_at
            self.rate = max(0.0, self.done - self._window_done) / elapsed_s if elapsed_s > 0 else 0.0
        if time_s - self._window_at >= RATE_WINDOW_S:
            self._window_at, self._window_done = time_s, self.done
        if now or time_s - self._sent_at >= FASTEST_S:
            self._sent_at = time_s
            loss = self.loss if self.loss is not None and math.isfinite(self.loss) else None
            self.send(
                RankLine(
                    done=self.done,
                    saved=self.saved,
                    rate=self.rate,
                    loss=loss,
                    overruns=self.overruns,
                    came=self.came,
                )
            )

    def send(self, line: RankLine) -> None:
        if self._path:
            send_line(self._path, line)
