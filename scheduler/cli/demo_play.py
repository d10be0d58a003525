"""The demo's course: jobs go in at their times, requests are sent throughout, and it ends when the work has."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from scheduler.cli.demo_record import RequestCount
from scheduler.cli.demo_requests import Askers
from scheduler.errors import UnavailableError
from scheduler.model.units import to_s
from scheduler.model.workload import Arrival

if TYPE_CHECKING:
    from scheduler.service.client import Client

__all__ = ["Played", "play"]

LOOK_EVERY_S: Final = 0.4
REQUESTS_PER_S: Final = 2.0
TERMINAL: Final = ("succeeded", "failed", "cancelled")
Show = Callable[[float, Sequence[Mapping[str, Any]], RequestCount], None]


class Played(Struct, frozen=True):
    """`origin_s`: Unix seconds of the first submission; `jobs`: every job with its attempts."""

    origin_s: float
    ended_s: float
    jobs: tuple[dict[str, Any], ...]
    requests: RequestCount


def play(
    client: "Client",
    arrivals: Sequence[Arrival],
    workdir: Path,
    limit_s: float,
    show: Show,
) -> Played:
    """Submit each job at its time; raises UnavailableError when the work takes more than `limit_s`."""
    from scheduler.config import encode

    askers = Askers(REQUESTS_PER_S)
    origin_s, began = time.time(), time.monotonic()
    waiting = list(arrivals)
    try:
        while True:
            now_s = time.monotonic() - began
            while waiting and to_s(waiting[0].at_us) <= now_s:
                client.submit(encode(msgspec.structs.replace(waiting.pop(0).job, workdir=str(workdir))))
            jobs = client.jobs()
            askers.point_at(_endpoints(client, jobs))
            show(now_s, jobs, askers.count())
            work = [job for job in jobs if job["type"] != "inference"]
            if not waiting and all(job["state"] in TERMINAL for job in work):
                break
            if now_s > limit_s:
                late = ", ".join(job["name"] for job in work if job["state"] not in TERMINAL)
                raise UnavailableError(f"the demo did not end within {limit_s:.0f} s: {late}", "is the machine busy?")
            time.sleep(LOOK_EVERY_S)
        askers.close()
        _end_services(client, jobs)
        return Played(origin_s, time.time(), tuple(client.job(job["id"]) for job in client.jobs()), askers.count())
    finally:
        askers.close()


def _endpoints(client: "Client", jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    serving = [job for job in jobs if job["type"] == "inference" and job["state"] == "running"]
    return [endpoint for job in serving for endpoint in client.job(job["id"])["attempts"][-1]["endpoints"]]


def _end_services(client: "Client", jobs: Sequence[Mapping[str, Any]], patience_s: float = 20.0) -> None:
    """A service runs until it is told to stop: now."""
    serving = [job["id"] for job in jobs if job["type"] == "inference" and job["state"] not in TERMINAL]
    for job in serving:
        client.act(job, "cancel")
    deadline = time.monotonic() + patience_s
    while any(client.job(job)["state"] not in TERMINAL for job in serving) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S / 2)
