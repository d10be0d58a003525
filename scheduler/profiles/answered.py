"""What a running service shows of the requests that it can answer.

One that answers whatever comes shows only that it can do so much: a lower bound. Where more comes than it answers, all
that it answers is all that it can. Both are taken over a minute or more: bursts of a second tell of their own.
"""

import math
from typing import Final

from msgspec import Struct

__all__ = ["Answered"]

WINDOW_US: Final = 60_000_000
LONGEST_US: Final = 3_600_000_000
LEAST_ANSWERED: Final = 20
"""Requests that a window must hold; it grows until it does, or tells nothing."""

SURPLUS: Final = 0.05
DEVIATIONS: Final = 3.0
"""More came than was answered: by so much of that, and by so many times its root. Requests in flight come and go like
a Poisson's, and what is in flight at a window's end has come and is not answered."""

LATEST: Final = 0.5
"""How much the latest window counts of those that were full."""


class Answered(Struct, frozen=True, gc=False):
    """Where the present window begins, with the requests that had been answered and had come by then; the most
    requests a second of a window, and what the latest full windows answered; 0: none yet. A window is full if more came
    than was answered, and in the one before it (`pressed`) too: one alone may be chance."""

    since_us: int
    done: float
    came: float
    most: float = 0.0
    full: float = 0.0
    pressed: bool = False

    def after(self, time_us: int, done: float, came: float) -> "Answered":
        """`done` and `came` count over the whole attempt."""
        span_us, answered, asked = time_us - self.since_us, done - self.done, came - self.came
        if asked < 0 or answered < 0 or span_us > LONGEST_US:
            return Answered(time_us, done, came, self.most, self.full)
        if span_us < WINDOW_US or answered < LEAST_ANSWERED:
            return self
        rate = answered * 1e6 / span_us
        full, pressed = self.full, asked - answered > max(SURPLUS * answered, DEVIATIONS * math.sqrt(answered))
        if pressed and self.pressed:
            full = rate if not full else LATEST * rate + (1 - LATEST) * full
        return Answered(time_us, done, came, max(self.most, rate), full, pressed)
