"""Amounts as people read them: durations, times, shares and devices, each said one way everywhere."""

import re
import time
from datetime import UTC, datetime
from typing import Final

from scheduler.errors import UsageError

__all__ = ["amount", "devices", "duration", "parse_duration", "parse_time", "safe", "seconds_between", "share", "when"]

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def duration(seconds: float | None) -> str:
    """Two units at most: `0.4s`, `42s`, `3m12s`, `5h07m`, `12d4h`; `-` for None."""
    if seconds is None:
        return "-"
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3_600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3_600}h{whole % 3_600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3_600}h"


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `1h30m`, `7d` or a bare number of seconds. Raises UsageError."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{text!r} is not a duration", "write it like 90s, 10m, 1h30m or 7d")
    scale = dict(_UNITS)
    return sum(float(number) * scale[unit] for number, unit in parts)


def parse_time(text: str) -> int:
    """Microseconds since the Unix epoch of an ISO date and time; without a zone it is the local one."""
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1_000_000)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text[:40]!r} is not a date and time", "write it like 2026-12-24T00:00:00Z") from error


def seconds_between(earlier: str | None, later: str | None = None) -> float | None:
    """Seconds from one ISO time to another, or to now; None where the first is missing."""
    if not earlier:
        return None
    end = datetime.fromisoformat(later).timestamp() if later else time.time()
    return end - datetime.fromisoformat(earlier).timestamp()


def when(iso: str | None) -> str:
    """A local clock time; with the date unless it is today; `-` for None."""
    if not iso:
        return "-"
    moment = datetime.fromisoformat(iso).astimezone()
    today = datetime.now(UTC).astimezone().date()
    return moment.strftime("%H:%M:%S" if moment.date() == today else "%Y-%m-%d %H:%M")


def share(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.0f}%"


def amount(value: float) -> str:
    """A count without noise: `12`, `0.25`, `8.1k`, `1.5e+11`."""
    if value == round(value) and abs(value) < 100_000:
        return f"{value:.0f}"
    if abs(value) < 1_000:
        return f"{value:.3g}"
    return f"{value / 1_000:.3g}k" if abs(value) < 1_000_000 else f"{value:.3g}"


def devices(count: int, accelerator: str = "") -> str:
    """`8 h200`, `1 device`, `12 devices`."""
    return f"{count} {accelerator}" if accelerator else f"{count} device{'' if count == 1 else 's'}"


def safe(text: str) -> str:
    """Text of others without what could drive a terminal: control and direction characters become visible."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
