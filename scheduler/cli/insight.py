"""The verb `why`: what blocks each option of a waiting job, and what to do."""

from typing import Any

import typer

from scheduler.cli.humanise import duration, seconds_between, when
from scheduler.cli.output import Format, document, say, table
from scheduler.cli.rows import OPTIONS, held
from scheduler.cli.selection import FormatOption, HomeOption, Jobs, ServerOption, connect
from scheduler.cli.sentences import reason_of, sentence

__all__ = ["register", "say_options", "why"]


def why(jobs: Jobs, output: FormatOption = Format.TABLE, server: ServerOption = None, home: HomeOption = None) -> None:
    """Why jobs wait, for each of their options, and when they are expected to start."""
    with connect(server, home) as client:
        found = [client.reasons(job) for job in jobs]
    if document(found[0] if len(found) == 1 else found, output):
        return
    if output is Format.NAME:
        table(found, (), output, name="id")
        return
    for number, job in enumerate(found):
        if number:
            say()
        _explain(job, output)


def _explain(job: dict[str, Any], output: Format) -> None:
    said = f"{job['id']} {job['name']} is {job['state']}"
    if job["state"] != "waiting":
        devices = "" if held(job) == "-" else f" on {held(job)}"
        say(f"{said}{devices}.")
        return
    say(f"{said} since {duration(seconds_between(job['submitted']))}.")
    main = sentence(reason_of(job["reason"])) if job["reason"] else ""
    if main:
        say(main)
    if job["offer"]:
        say(f"The service would start it now on {job['offer']['option']} ({', '.join(job['offer']['nodes'])}).")
    say_options(job["options"], output, told=main)
    expected = job["expected"] or {}
    if expected.get("start"):
        start = duration(max(0.0, -(seconds_between(expected["start"]) or 0.0)))
        say()
        say(f"Expected to start at {when(expected['start'])} (in {start}) and to end at {when(expected['finish'])}.")


def say_options(options: list[dict[str, Any]], output: Format, told: str = "") -> None:
    """A table of options, and under it one sentence for each thing that blocks one, but for what was `told`."""
    if not options:
        return
    say()
    table(options, OPTIONS, Format.WIDE if output is Format.WIDE else Format.TABLE)
    reasons = dict.fromkeys(sentence(reason_of(reason)) for option in options for reason in option["reasons"])
    more = [line for line in reasons if line != told]
    if more:
        say()
    for line in more:
        say(f"- {line}")


def register(app: typer.Typer) -> None:
    app.command("why")(why)
