"""Verbs that show jobs: list, get, describe."""

from typing import Annotated, Any

import typer

from scheduler.cli.humanise import amount, duration, when
from scheduler.cli.output import Format, document, fields, heading, say, table
from scheduler.cli.rows import ATTEMPTS, JOBS, WEIGHED, asked, bar, held, progress
from scheduler.cli.selection import (
    FormatOption,
    HomeOption,
    Jobs,
    Labels,
    ServerOption,
    TenantOption,
    connect,
    sorted_by,
    watched,
)

__all__ = ["describe", "event_line", "get", "list_", "register"]

EVENTS_SHOWN = 20


def list_(
    state: Annotated[str, typer.Option(help="live, or states joined by commas: waiting,running")] = "",
    tenant: TenantOption = "",
    labels: Labels = [],  # noqa: B006  never changed; typer takes defaults from here
    sort_by: Annotated[str, typer.Option("--sort-by", help="A field of the JSON view; -field turns it round")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many")] = 1_000,
    output: FormatOption = Format.TABLE,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Show again every two seconds")] = False,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """Jobs in the order of their acceptance."""
    with connect(server, home) as client:

        def show() -> None:
            found = client.jobs(state=state, tenant=tenant, labels=labels, limit=limit)
            if not found and output in (Format.TABLE, Format.WIDE):
                say("no jobs")
            else:
                table(sorted_by(found, sort_by), JOBS, output, name="id")

        watched(show, watch)


def get(jobs: Jobs, output: FormatOption = Format.TABLE, server: ServerOption = None, home: HomeOption = None) -> None:
    """Jobs by name or id, with everything that is known of them in -o json or yaml."""
    with connect(server, home) as client:
        found = [client.job(job) for job in jobs]
    value = found[0] if len(found) == 1 else found
    if not document(value, output):
        table([{**job, "attempts": len(job["attempts"])} for job in found], JOBS, output, name="id")


def describe(
    jobs: Jobs,
    decisions: Annotated[bool, typer.Option("--decisions", help="Make each allocation again from the journal")] = False,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """Everything about jobs, with what happened to them at the bottom."""
    with connect(server, home) as client:
        for number, reference in enumerate(jobs):
            if number:
                say()
            job = client.job(reference)
            _describe(job)
            events = list(client.events(job=job["id"]))[-EVENTS_SHOWN:]
            if decisions:
                _say_decisions(client.decisions(job["id"]))
            heading("Events")
            for event in events:
                say(event_line(event))


def _describe(job: dict[str, Any]) -> None:
    from scheduler.cli.sentences import reason_of, sentence

    found = job["progress"]
    expected = job["expected"] or {}
    loss = "" if found["loss"] is None else f"{found['loss']:.4f}"
    fields(
        (
            ("Id", job["id"]),
            ("Name", job["name"]),
            ("Tenant", f"{job['tenant']} (user {job['user']})"),
            ("Type", f"{job['type']}, {job['class']}, priority {job['priority']}"),
            ("State", job["state"]),
            ("Why", sentence(reason_of(job["reason"])) if job["reason"] else ""),
            ("Asks", asked(job)),
            ("Holds", held(job)),
            ("Progress", f"{progress(job)} {found['unit']} {bar(found['ratio'])}".strip() if found["done"] else ""),
            ("Rate", f"{amount(found['rate'])} {found['unit']}/s" if found["rate"] else ""),
            ("Loss", loss),
            ("Submitted", when(job["submitted"])),
            ("Started", when(job["started"]) if job["started"] else ""),
            ("Ended", when(job["ended"]) if job["ended"] else ""),
            ("Waited", duration(job["wait_s"])),
            ("Ran", duration(job["run_s"])),
            ("Expected", _expected(expected)),
            ("Exit code", "" if job["exit_code"] is None else str(job["exit_code"])),
            ("Detail", job["detail"]),
            ("Labels", ", ".join(f"{key}={value}" for key, value in job["labels"].items())),
        )
    )
    if job["attempts"]:
        heading("Attempts")
        table(job["attempts"], ATTEMPTS, Format.TABLE)


def _say_decisions(decisions: list[dict[str, Any]]) -> None:
    heading("Decisions")
    for found in decisions:
        same = "the same again" if found["same"] else "NOT the same when made again"
        say(f"attempt {found['attempt']}, {when(found['time'])}, record {found['seq']}: {found['chosen']}, {same}")
        told = [
            ("policy", f"{found['policy']}, placement {found['placement']}, state {found['inputs']}"),
            ("prices", ", ".join(f"{row} {price:.3g}" for row, price in found["prices"].items())),
            ("rules", ", ".join(found["rules"])),
            ("made way", ", ".join(found["victims"])),
        ]
        fields(told)
        table(found["options"], WEIGHED, Format.TABLE)


def _expected(expected: dict[str, Any]) -> str:
    if not expected:
        return ""
    basis = f" (from {expected['basis'].replace('_', ' ')})" if expected.get("basis") else ""
    return f"starts {when(expected['start'])}, ends {when(expected['finish'])}{basis}"


def event_line(event: dict[str, Any]) -> str:
    """`12:03:04  kind  what` on one line."""
    detail = event.get("detail") or {}
    told = [f"{key}={_flat(value)}" for key, value in detail.items() if value not in (None, "", [], {}, 0)]
    return f"{when(event['time'])}  {event['kind']:<18}  {' '.join(told)}".rstrip()


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}:{_flat(item)}" for key, item in value.items() if item not in (None, "", [], {}))
    if isinstance(value, list):
        return "+".join(_flat(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def register(app: typer.Typer) -> None:
    app.command("list")(list_)
    app.command("get")(get)
    app.command("describe")(describe)
