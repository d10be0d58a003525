"""The only clock of the running service: wall time that never runs backwards."""

import time

__all__ = ["WallClock"]


class WallClock:
    """Microseconds since the Unix epoch, carried forward by the monotonic clock, so that a corrected wall clock
    cannot reorder the history. `not_before_us` is the newest time already on record."""

    def __init__(self, not_before_us: int = 0) -> None:
        self._wall_us = max(time.time_ns() // 1000, not_before_us)
        self._mono_ns = time.monotonic_ns()

    def now_us(self) -> int:
        return self._wall_us + (time.monotonic_ns() - self._mono_ns) // 1000
