"""Reasons as small integers, so that a cycle says only what changed: amounts drift with every event, codes do not."""

from typing import Final

from scheduler.model.reasons import Reason, ReasonCode

__all__ = ["key_of"]

_CODES: Final = {code: number for number, code in enumerate(ReasonCode, start=1)}


def key_of(reason: Reason | None) -> int:
    """Equal for reasons that differ in amounts only; 0 for none. Stable between processes."""
    if reason is None:
        return 0
    name = 0
    for letter in reason.accelerator.encode():
        name = (name * 131 + letter) % 1_000_003
    return _CODES[reason.code] + 64 * name
