"""Verbs that follow jobs: logs, wait, events."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scheduler.cli.output import Format, document, raw, say
from scheduler.cli.selection import FormatOption, HomeOption, Jobs, ServerOption, connect

if TYPE_CHECKING:
    from scheduler.service.client import Client

__all__ = ["document_of", "events", "job_exit_code", "logs", "register", "wait"]

POLL_S: Final = 0.5
CANCELLED: Final = 252
NOT_YET: Final = 253
ENDED: Final = ("succeeded", "failed", "cancelled")


def logs(
    job: Annotated[str, typer.Argument(help="An id, unambiguous prefix or name")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job has ended")] = False,
    rank: Annotated[int | None, typer.Option(min=0, help="Only this rank")] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="This attempt instead of the newest")] = None,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """What a job wrote, each line with its role and rank."""
    with connect(server, home) as client:
        job_id = client.job(job)["id"]
        if not follow:
            _copy(client, job_id, attempt, rank, 0)
            return
        number = attempt or _attempt_to_follow(client, job_id, 0)
        while number:
            _follow(client, job_id, number, rank)
            number = 0 if attempt else _attempt_to_follow(client, job_id, number)


def _copy(client: "Client", job: str, attempt: int | None, rank: int | None, offset: int) -> tuple[int, bool]:
    """Print all there is from `offset`; returns the new offset and whether the attempt has ended."""
    while True:
        data, ended = client.logs(job, attempt=attempt, rank=rank, offset=offset)
        if not data:
            return offset, ended
        raw(data)
        offset += len(data)


def _follow(client: "Client", job: str, attempt: int, rank: int | None) -> None:
    offset = 0
    while True:
        offset, ended = _copy(client, job, attempt, rank, offset)
        if ended:
            _copy(client, job, attempt, rank, offset)
            return
        time.sleep(POLL_S)


def _attempt_to_follow(client: "Client", job: str, after: int) -> int:
    """The number of the next attempt, once there is one; 0 when the job ends without another."""
    while True:
        found = client.job(job)
        numbers = [a["n"] for a in found["attempts"] if a["n"] > after]
        if numbers:
            return int(max(numbers) if not after else min(numbers))
        if found["state"] in ENDED:
            return 0
        time.sleep(POLL_S)


def wait(
    jobs: Jobs,
    timeout: Annotated[str | None, typer.Option(help="Give up after this long, such as 10m")] = None,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """Wait for jobs to end. Exit code: 0, 100 + the job's own, 252 cancelled, 253 not yet."""
    from scheduler.cli.humanise import parse_duration

    deadline = time.monotonic() + parse_duration(timeout) if timeout else float("inf")
    with connect(server, home) as client:
        codes = [_wait(client, client.job(job)["id"], deadline) for job in jobs]
    raise typer.Exit(max(codes))


def _wait(client: "Client", job: str, deadline: float) -> int:
    while True:
        found = client.job(job)
        if found["state"] in ENDED or time.monotonic() >= deadline:
            say(f"{found['id']} {found['name']} {found['state']}" + (f": {found['detail']}" if found["detail"] else ""))
            return job_exit_code(str(found["state"]), int(found["exit_code"] or 0))
        time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))


def job_exit_code(state: str, code: int) -> int:
    """The exit code of `wait`: a failure without a code of its own counts as 1."""
    if state == "succeeded":
        return 0
    if state == "failed":
        return min(100 + (abs(code) or 1), 250)
    return CANCELLED if state == "cancelled" else NOT_YET


def events(
    job: Annotated[str, typer.Argument(help="Only of this job")] = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", "-w", "--watch", help="Go on as things happen")] = False,
    after: Annotated[int, typer.Option(min=0, help="Only above this sequence number")] = 0,
    output: FormatOption = Format.TABLE,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """What happened, oldest first."""
    import json

    from scheduler.cli.jobs import event_line

    with connect(server, home) as client:
        found = client.events(job=job, after=after, follow=follow)
        if not follow and document_of(found, output):
            return
        for event in found:
            if output is Format.JSON:
                say(json.dumps(event))
            elif output is Format.NAME:
                say(str(event["seq"]))
            else:
                say(f"{event['seq']:>7}  {event.get('job', '-'):<14}  {event_line(event)}")


def document_of(events_: Iterator[dict[str, Any]], output: Format) -> bool:
    """All events as one document where one is wanted."""
    if output not in (Format.JSON, Format.YAML):
        return False
    return document(list(events_), output)


def register(app: typer.Typer) -> None:
    for verb in (logs, wait, events):
        app.command(verb.__name__)(verb)
