"""Units of amounts inside dualtrack: integers everywhere, so that sums are exact and replays identical."""

from typing import Final

US_PER_S: Final = 1_000_000
"""Time is int64 microseconds since an origin that the caller sets."""

WHOLE_DEVICE: Final = 1000
"""Shares of a device and compute units are counted in thousandths."""

MIB_PER_GIB: Final = 1024

FOREVER_US: Final = 2**62
"""A time that never comes; sums with it still fit into an int64."""


def to_us(seconds: float) -> int:
    """Whole microseconds of a duration in seconds."""
    return round(seconds * US_PER_S)


def to_s(us: int) -> float:
    """Seconds of a duration in microseconds."""
    return us / US_PER_S
