"""The small languages inside values: durations, dates, names, paths of tenants, labels and money."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from scheduler.config.cursor import Cursor
from scheduler.config.limits import MAX_AMOUNT, MAX_DURATION_US, MAX_LABELS, MAX_TENANT_DEPTH

__all__ = ["cpu_milli", "date", "duration", "fen", "format_date", "format_duration", "labels", "memory_mib", "name",
           "names", "tenant_path", "user_name"]  # fmt: skip

UNITS: Final = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}
DURATION: Final = re.compile(r"(?:[0-9]{1,15}(?:\.[0-9]{1,9})?(?:us|ms|[dhms]))+")
PART: Final = re.compile(r"([0-9.]+)(us|ms|[dhms])")
DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:[Zz]|[-+][0-9]{2}:[0-9]{2})"
)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
USER: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,63})")
LABEL_KEY: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,126})")


def duration(cursor: Cursor) -> int:
    """Microseconds of `90s`, `10m`, `4h`, `7d`, `500ms` or `1h30m`: units descending, each at most once."""
    text = cursor.text(64, what="a duration")
    if isinstance(cursor.node.value, (int, float, bool)) or not DURATION.fullmatch(text):
        raise cursor.expected("a duration", "a number with a unit, such as 90s, 10m, 4h, 7d or 1h30m")
    total = Decimal(0)
    last = UNITS["d"] + 1
    for amount, unit in PART.findall(text):
        if UNITS[unit] >= last:
            raise cursor.wrong(f"`{text}` is not a duration", "write larger units first, each once: 1d2h30m")
        last = UNITS[unit]
        total += Decimal(amount) * UNITS[unit]
    if total != int(total):
        raise cursor.wrong(f"`{text}` is finer than a microsecond")
    if total > MAX_DURATION_US:
        raise cursor.wrong(f"`{text}` is longer than a hundred years")
    return int(total)


def format_duration(us: int) -> str:
    """The shortest text that `duration` reads as `us`."""
    parts = []
    for unit, size in UNITS.items():
        count, us = divmod(us, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def date(cursor: Cursor) -> int:
    """Microseconds since the Unix epoch of an ISO date and time with its zone, such as 2026-12-24T00:00:00Z."""
    text = cursor.text(64, what="a date")
    remedy = "write date, time and zone, such as 2026-12-24T00:00:00Z or 2026-12-24T08:00:00+08:00"
    if not DATE.fullmatch(text):
        raise cursor.expected("a date", remedy)
    try:
        moment = datetime.fromisoformat(text.upper())
        return (moment - EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise cursor.wrong(f"`{text}` is no day or time that exists", remedy) from None


def format_date(us: int) -> str:
    """The text that `date` reads as `us`."""
    return (EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")


def name(cursor: Cursor, what: str = "name") -> str:
    named = f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
    text = cursor.text(4096, 0, what=named)
    if not NAME.fullmatch(text):
        rule = "1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends"
        raise cursor.wrong(f"{cursor.described()} is not {named}", rule)
    return text


def names(cursor: Cursor, what: str = "name") -> tuple[str, ...]:
    """A list of different names."""
    found = [name(item, what) for item in cursor.items()]
    if len(set(found)) != len(found):
        raise cursor.wrong(f"names a {what} twice")
    return tuple(found)


def user_name(cursor: Cursor) -> str:
    text = cursor.text(4096, 0)
    if not USER.fullmatch(text):
        raise cursor.wrong(f"{cursor.described()} is not a user's name", "letters, digits and . _ @ -, at most 64")
    return text


def tenant_path(cursor: Cursor) -> str:
    """Names joined by `/`, at most MAX_TENANT_DEPTH of them."""
    text = cursor.text(4096, 0, what="a tenant")
    parts = text.split("/")
    if not all(NAME.fullmatch(part) for part in parts):
        raise cursor.wrong(
            f"{cursor.described()} is not a tenant", "names of a-z, 0-9 and - joined by /: search/ranking"
        )
    if len(parts) > MAX_TENANT_DEPTH:
        raise cursor.wrong(f"a tenant may lie at most {MAX_TENANT_DEPTH} levels deep")
    return text


def labels(cursor: Cursor) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for key, item in cursor.pairs(MAX_LABELS):
        if not LABEL_KEY.fullmatch(key):
            raise item.wrong("is not a label's key", "letters, digits and . _ / -, at most 127")
        found[key] = item.line_of_text(256, 0)
    return found


def cpu_milli(cursor: Cursor) -> int:
    """Processors as thousandths: 0.5 is 500."""
    return round(cursor.number(0, 1e6) * 1000)


def memory_mib(cursor: Cursor) -> int:
    """GiB as MiB."""
    return round(cursor.number(0, 1e9) * 1024)


def fen(cursor: Cursor) -> int:
    """Yuan as fen."""
    amount = cursor.number(0, MAX_AMOUNT / 100)
    if abs(amount * 100 - round(amount * 100)) > 1e-6 * max(1.0, amount):
        raise cursor.wrong("is finer than a fen")
    return round(amount * 100)
