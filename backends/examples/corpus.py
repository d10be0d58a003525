"""Real text that is on every machine: the source of Python's standard library, as bytes in a fixed order."""

import os
from pathlib import Path

__all__ = ["sample_start", "stdlib_text"]

LIMIT = 1 << 20
STRIDE = 7919  # a prime, so that neighbouring samples come from different files


def stdlib_text(limit: int = LIMIT) -> bytes:
    """The first `limit` bytes of the standard library's top-level modules, in the order of their names."""
    text = bytearray()
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        text += path.read_bytes()
        if len(text) >= limit:
            break
    return bytes(text[:limit])


def sample_start(index: int, length: int, total: int) -> int:
    """Where sample `index` of `length` bytes begins in a text of `total` bytes: a function of its number alone, so that
    any world size reads the same samples in the same step."""
    return (index * STRIDE * length) % (total - length)
