"""The users of the demo's inference job: they ask its replicas in turn, and count the answers."""

import json
import math
import threading
import time
from collections.abc import Sequence
from urllib.error import URLError
from urllib.request import Request, urlopen

from scheduler.cli.demo_record import RequestCount

__all__ = ["Askers", "quantile"]

PROMPTS = ("def ", "import ", "class ", "return ", "for i in ")
TIMEOUT_S = 10.0


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below `share` of all; 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


class Askers:
    """One thread that sends `per_s` requests a second to the endpoints it was last told of, until it is closed."""

    def __init__(self, per_s: float) -> None:
        self._pause_s = 1.0 / per_s
        self._endpoints: tuple[str, ...] = ()
        self._sent = self._failed = 0
        self._took_ms: list[float] = []
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._ask_until_closed, name="askers", daemon=True)
        self._thread.start()

    def point_at(self, endpoints: Sequence[str]) -> None:
        """`host:port` of each replica that serves now."""
        self._endpoints = tuple(endpoints)

    def count(self) -> RequestCount:
        took = list(self._took_ms)
        return RequestCount(
            sent=self._sent,
            answered=len(took),
            failed=self._failed,
            p50_ms=quantile(took, 0.5),
            p99_ms=quantile(took, 0.99),
        )

    def close(self) -> None:
        """Ask no more; waits for the answer that is under way."""
        self._leave.set()
        self._thread.join(TIMEOUT_S + 1)

    def _ask_until_closed(self) -> None:
        while not self._leave.wait(self._pause_s):
            endpoints = self._endpoints
            if endpoints:
                self._ask(endpoints[self._sent % len(endpoints)], PROMPTS[self._sent % len(PROMPTS)])

    def _ask(self, endpoint: str, prompt: str) -> None:
        body = json.dumps({"prompt": prompt, "tokens": 16}).encode()
        request = Request(f"http://{endpoint}/generate", body, {"Content-Type": "application/json"})
        self._sent += 1
        began = time.monotonic()
        try:
            with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310  an address that the service gave
                good = bool(json.load(answer).get("text"))
        except (URLError, OSError, ValueError):
            good = False
        if good:
            self._took_ms.append(1000 * (time.monotonic() - began))
        else:
            self._failed += 1
