"""Recognises that memory ran out, by the error's type or text, without importing what raised it."""

import re
from collections.abc import Iterator

__all__ = ["HOST_TEXTS", "is_out_of_memory"]

HOST_TEXTS = (r"DefaultCPUAllocator: (can't|not enough memory)", r"\bCannot allocate memory\b")
"""What torch's CPU allocator and the operating system say; any rank may meet these."""

MAX_CAUSES = 8


def is_out_of_memory(error: BaseException, texts: tuple[str, ...] = ()) -> bool:
    """True for MemoryError, torch's OutOfMemoryError, and a RuntimeError or OSError with one of the known texts."""
    return any(_says_so(cause, (*texts, *HOST_TEXTS)) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if link is None:
            return
        yield link
        link = link.__cause__


def _says_so(error: BaseException, texts: tuple[str, ...]) -> bool:
    if isinstance(error, MemoryError):
        return True
    if any(kind.__name__ == "OutOfMemoryError" and kind.__module__.startswith("torch") for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError | OSError) and any(re.search(text, str(error)) for text in texts)
