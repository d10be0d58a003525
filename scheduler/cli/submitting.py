"""The verb `submit`: job files, or a command line with what it needs."""

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.output import Format, document, say
from scheduler.cli.selection import FormatOption, HomeOption, ServerOption, connect

if TYPE_CHECKING:
    from scheduler.service.client import Client

__all__ = ["inline_job", "jobs_of_files", "register"]


def submit(
    what: Annotated[list[str], typer.Argument(help="Job files; or, with --accelerator, the command after `--`")],
    accelerator: Annotated[str, typer.Option(help="h200:8,h20-96:32: any one of them, by preference")] = "",
    time_limit: Annotated[str, typer.Option("--time", help="Time limit of an inline job, such as 12h")] = "",
    name: Annotated[str, typer.Option(help="Name of an inline job")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Tenant, where the token leaves a choice")] = "",
    job_class: Annotated[str, typer.Option("--class", help="production, standard or opportunistic")] = "",
    priority: Annotated[int | None, typer.Option(help="0 to 1000, within the tenant")] = None,
    job_type: Annotated[str, typer.Option("--type", help="Type of an inline job")] = "batch",
    env: Annotated[list[str], typer.Option("--env", help="KEY=VALUE of an inline job; repeatable")] = [],  # noqa: B006
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check and plan")] = False,
    key: Annotated[str, typer.Option(help="Submission key, that makes repeating this command safe")] = "",
    output: FormatOption = Format.TABLE,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """Enter jobs. Exit code: 0; 4 infeasible for ever, 5 denied. With --dry-run also 3: would wait."""
    jobs = [inline_job(what, accelerator, time_limit, name, job_type, env)] if accelerator else jobs_of_files(what)
    for job in jobs:
        given = {"tenant": tenant, "class": job_class, "priority": priority}
        job.update({field: value for field, value in given.items() if value not in ("", None)})
    with connect(server, home) as client:
        if dry_run:
            from scheduler.cli.planning import show_plans

            show_plans([client.plan(job) for job in jobs], output)
        _enter(client, jobs, key, output)


def _enter(client: "Client", jobs: list[dict[str, Any]], key: str, output: Format) -> None:
    found = []
    for number, job in enumerate(jobs):
        # a key of our own makes the client's retries safe even where the user gave none
        own = f"{key}-{number}" if key and len(jobs) > 1 else key or uuid.uuid4().hex
        found += client.submit(job, own)
        if output in (Format.TABLE, Format.WIDE, Format.NAME):
            for view in found[-1:] if output is not Format.NAME else found[len(found) - 1 :]:
                say(view["id"] if output is Format.NAME else f"{view['id']} {view['name']} {view['state']}")
    document(found, output)


def jobs_of_files(files: list[str]) -> list[dict[str, Any]]:
    """The jobs of files as plain values. Raises ConfigError with file and line."""
    from scheduler.config import load_catalog, load_jobs
    from scheduler.config.written import job_values

    catalog = load_catalog()
    found = []
    for file in files:
        load_jobs(file, catalog)
        folder = Path(file).resolve().parent
        for values in job_values(file):
            # relative to the file, as its author sees it; the service may run anywhere
            values["workdir"] = str((folder / str(values.get("workdir") or ".")).resolve())
            found.append(values)
    return found


def inline_job(
    command: list[str], accelerator: str, time_limit: str, name: str, job_type: str, env: list[str]
) -> dict[str, Any]:
    """The job of a command line, as plain values."""
    from scheduler.errors import UsageError

    variables = {}
    for pair in env:
        variable, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"{pair[:60]!r} is not KEY=VALUE", "write it like --env LR=0.1")
        variables[variable] = value
    job: dict[str, Any] = {
        "schema": "dualtrack/v1",
        "kind": "job",
        "type": job_type,
        "name": name or _name_from(command),
        "entrypoint": command,
        "workdir": str(Path.cwd()),
        "resources": {"options": [_option(text) for text in accelerator.split(",")]},
    }
    if variables:
        job["env"] = variables
    if time_limit:
        job["time_limit"] = time_limit
    return job


def _option(text: str) -> dict[str, Any]:
    from scheduler.errors import UsageError

    name, _, count = text.strip().partition(":")
    if not name or (count and not (count.isascii() and count.isdecimal())):
        raise UsageError(f"{text[:60]!r} is not an accelerator with a count", "write it like h200:8,h20-96:32")
    return {"accelerator": name, "count": int(count or 1)}


def _name_from(command: list[str]) -> str:
    """A name from the script and a random end, so that the same command can be entered again."""
    script = next((part for part in command if part.endswith((".py", ".sh"))), command[0])
    stem = "".join(c if c.isascii() and c.isalnum() else "-" for c in Path(script).stem.lower()).strip("-")[:40]
    return f"{stem or 'job'}-{uuid.uuid4().hex[:6]}"


def register(app: typer.Typer) -> None:
    app.command("submit")(submit)
