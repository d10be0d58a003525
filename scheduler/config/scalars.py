"""What a plain YAML scalar means: the core schema of YAML 1.2, and nothing that surprises.

PyYAML follows YAML 1.1, where `no` is False, `017` is 15 and `12:30` is 750; here they are text, 17 and text.
"""

import math
import re
from typing import Final

from scheduler.config.limits import MAX_INT, MAX_INT_DIGITS

__all__ = ["Scalar", "ScalarError", "forbidden_character", "resolve"]

Scalar = None | bool | int | float | str

NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
REAL: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
UNREAL: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

# Control characters could rewrite a terminal or split a log line; YAML 1.1 and 1.2 disagree on U+0085, U+2028 and
# U+2029; the direction marks make a text read otherwise than it runs.
FORBIDDEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


class ScalarError(ValueError):
    """A scalar that has no value here; the text says why."""


def forbidden_character(text: str) -> int | None:
    """The position of the first character that no value may hold, or None."""
    found = FORBIDDEN.search(text)
    return found.start() if found else None


def resolve(text: str) -> Scalar:
    """The value of an unquoted scalar. Raises ScalarError for infinities, NaN and numbers out of range."""
    if text in NULLS:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if INTEGER.fullmatch(text):
        return _integer(text)
    if REAL.fullmatch(text):
        value = float(text)
        if math.isinf(value):
            raise ScalarError("is a number too large to hold")
        return value
    if UNREAL.fullmatch(text):
        raise ScalarError("is not a number that can be reckoned with")
    return text


def _integer(text: str) -> int:
    if len(text) > MAX_INT_DIGITS + 2:
        raise ScalarError(f"is an integer of more than {MAX_INT_DIGITS} digits")
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    value = int(text, base)
    if abs(value) > MAX_INT:
        raise ScalarError("is an integer beyond 64 bits")
    return value
