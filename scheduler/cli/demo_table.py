"""What a person watches while the demo runs: a live table on a terminal, else a line for each change."""

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from scheduler.cli.demo_record import RequestCount
from scheduler.cli.humanise import duration
from scheduler.cli.output import STYLES, say
from scheduler.cli.rows import bar, held
from scheduler.cli.sentences import short

__all__ = ["Watch", "change_of"]

View = Mapping[str, Any]


def change_of(job: View, before: View | None) -> str:
    """What is new about a job since `before`, as a short phrase; empty when nothing is."""
    was = before or {"state": "", "holds": []}
    if (job["state"], job["holds"]) == (was["state"], was["holds"]):
        return ""
    if job["state"] == "running":
        again = f", attempt {job['attempts']}" if job["attempts"] > 1 else ""
        return f"running on {held(job)}{again}"
    if job["state"] == "waiting":
        return "waiting" if job["reason"] is None else f"waiting: {short(job['reason'])}"
    if job["state"] == "succeeded":
        loss = job["progress"]["loss"]
        return f"succeeded after {duration(job['run_s'])}" + ("" if loss is None else f", loss {loss:.3f}")
    return str(job["state"])


class Watch:
    """Use as a context; `show` is called with every look at the service."""

    def __init__(self) -> None:
        self._before: dict[str, View] = {}
        self._live: Any = None

    def __enter__(self) -> "Watch":
        if sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, now_s: float, jobs: Sequence[View], requests: RequestCount) -> None:
        if self._live is not None:
            self._live.update(_drawn(now_s, jobs, requests), refresh=True)
            return
        for job in jobs:
            news = change_of(job, self._before.get(job["id"]))
            if news:
                say(f"{now_s:6.1f} s  {job['name']:<16} {news}")
            self._before[job["id"]] = job


def _drawn(now_s: float, jobs: Sequence[View], requests: RequestCount) -> Any:
    from rich.table import Table
    from rich.text import Text

    caption = f"{requests.answered} of {requests.sent} requests answered; devices are emulated, processes are real"
    table = Table(box=None, title=f"dualtrack demo, {now_s:.0f} s", caption=caption, pad_edge=False)
    for title in ("job", "tenant", "state", "devices", "progress", "wait", "run", "loss"):
        table.add_column(title, no_wrap=True, justify="right" if title in ("wait", "run", "loss") else "left")
    for job in jobs:
        loss, ratio = job["progress"]["loss"], job["progress"]["ratio"]
        note = short(job["reason"]) if job["state"] == "waiting" and job["reason"] else bar(ratio, 20)
        table.add_row(
            job["name"],
            job["tenant"],
            Text(job["state"], style=STYLES.get(job["state"], "")),
            held(job).replace(" (emulated)", ""),
            note[:44],
            duration(job["wait_s"]),
            duration(job["run_s"]),
            "" if loss is None else f"{loss:.3f}",
        )
    return table
