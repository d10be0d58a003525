"""Verbs that act on jobs: cancel, suspend, resume, requeue and update."""

from typing import Annotated

import typer

from scheduler.cli.output import say
from scheduler.cli.selection import HomeOption, Jobs, ServerOption, connect

__all__ = ["cancel", "register", "requeue", "resume", "suspend", "update"]

DONE = {"cancel": "cancelled", "suspend": "suspended", "resume": "resumed", "requeue": "requeued"}


def _act(jobs: list[str], action: str, server: str | None, home: str | None) -> None:
    with connect(server, home) as client:
        for job in jobs:
            found = client.act(job, action)
            ending = f" (now {found['state']})" if found["state"] == "stopping" else ""
            say(f"{found['id']} {found['name']} {DONE[action]}{ending}")


def cancel(jobs: Jobs, server: ServerOption = None, home: HomeOption = None) -> None:
    """End jobs for good; what runs gets notice first."""
    _act(jobs, "cancel", server, home)


def suspend(jobs: Jobs, server: ServerOption = None, home: HomeOption = None) -> None:
    """Hold jobs back until they are resumed."""
    _act(jobs, "suspend", server, home)


def resume(jobs: Jobs, server: ServerOption = None, home: HomeOption = None) -> None:
    """Let suspended jobs wait for their turn again."""
    _act(jobs, "resume", server, home)


def requeue(jobs: Jobs, server: ServerOption = None, home: HomeOption = None) -> None:
    """Stop the running attempts of jobs and let them wait for another."""
    _act(jobs, "requeue", server, home)


def update(
    jobs: Jobs,
    priority: Annotated[int | None, typer.Option(help="0 to 1000, within the tenant")] = None,
    time: Annotated[str | None, typer.Option("--time", help="Time limit, such as 12h")] = None,
    deadline: Annotated[str | None, typer.Option(help="ISO date and time with its zone")] = None,
    moves: Annotated[str | None, typer.Option(help="never, same_accelerator, same_family or any")] = None,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """Change priority, time limit, deadline or permitted moves of live jobs."""
    from scheduler.cli.humanise import parse_duration, parse_time

    changes: dict[str, object] = {}
    if priority is not None:
        changes["priority"] = priority
    if time is not None:
        changes["time_limit_s"] = parse_duration(time)
    if deadline is not None:
        changes["deadline_us"] = parse_time(deadline)
    if moves is not None:
        changes["moves"] = moves
    with connect(server, home) as client:
        for job in jobs:
            found = client.update(job, changes)
            say(f"{found['id']} {found['name']} updated")


def register(app: typer.Typer) -> None:
    for verb in (cancel, suspend, resume, requeue, update):
        app.command(verb.__name__)(verb)
