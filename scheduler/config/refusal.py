"""How a wrong value is refused: one printable line, whatever the value was."""

import re
from typing import Final

from scheduler.config.limits import MAX_ERROR_TEXT, MAX_PATH
from scheduler.errors import ConfigError

__all__ = ["quoted", "refusal"]

MAX_PROBLEM: Final = 800
SPACES: Final = re.compile(r"\s+")


def refusal(problem: str, remedy: str = "", *, file: str = "", line: int = 0, path: str = "") -> ConfigError:
    """A ConfigError none of whose parts can break a line, rewrite a terminal or fill a page."""
    return ConfigError(
        _line(problem)[:MAX_PROBLEM],
        _line(remedy)[:MAX_PROBLEM],
        file=_line(file),
        line=line,
        path=_line(path.lstrip("."))[:MAX_PATH],
    )


def quoted(text: str) -> str:
    """A piece of somebody's text within an error: bounded, between backquotes."""
    plain = text[: MAX_ERROR_TEXT + 1]
    return f"`{plain if len(plain) <= MAX_ERROR_TEXT else plain[:MAX_ERROR_TEXT] + '...'}`"


def _line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "?" for letter in SPACES.sub(" ", text))
