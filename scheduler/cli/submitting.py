"""The verb `submit`: job files, or a command line with what it needs."""

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.output import Format, complain, document, say
from scheduler.cli.selection import FormatOption, HomeOption, Labels, ServerOption, connect

if TYPE_CHECKING:
    from scheduler.service.client import Client

__all__ = ["jobs_of_files", "register", "submit"]


def submit(
    what: Annotated[list[str], typer.Argument(help="Job files; or, with --accelerator, the command after `--`")],
    accelerator: Annotated[str, typer.Option(help="h200:8,h20-96:32: any one of them, by preference")] = "",
    time_limit: Annotated[str, typer.Option("--time", help="Time limit of an inline job, such as 12h")] = "",
    name: Annotated[str, typer.Option(help="Name of an inline job")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Tenant, where the token leaves a choice")] = "",
    job_class: Annotated[str, typer.Option("--class", help="production, standard or opportunistic")] = "",
    priority: Annotated[int | None, typer.Option(help="0 to 1000, within the tenant")] = None,
    job_type: Annotated[str, typer.Option("--type", help="Type of an inline job")] = "training",
    image: Annotated[str, typer.Option(help="Image of an inline job")] = "",
    env: Annotated[list[str], typer.Option("--env", help="KEY=VALUE of an inline job; repeatable")] = [],  # noqa: B006
    labels: Labels = [],  # noqa: B006  never changed; typer takes defaults from here
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check and plan")] = False,
    key: Annotated[str, typer.Option(help="Submission key, that makes repeating this command safe")] = "",
    output: FormatOption = Format.TABLE,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """Enter jobs. Exit code: 0; 4 infeasible for ever, 5 denied. With --dry-run also 3: would wait."""
    if accelerator:
        from scheduler.config import encode, inline, load_catalog

        job = inline(
            what, accelerator=accelerator, time=time_limit, name=name or _name_from(what), type=job_type,
            workdir=str(Path.cwd()), image=image, env=env, labels=labels, catalog=load_catalog(),
        )  # fmt: skip
        jobs = [encode(job)]
    else:
        jobs = jobs_of_files(what)
    for values in jobs:
        given = {"tenant": tenant, "class": job_class, "priority": priority}
        values.update({field: value for field, value in given.items() if value not in ("", None)})
    with connect(server, home) as client:
        if dry_run:
            from scheduler.cli.planning import show_plans

            show_plans([client.plan(job) for job in jobs], output)
        _enter(client, jobs, key, output)


def _enter(client: "Client", jobs: list[dict[str, Any]], key: str, output: Format) -> None:
    """Several jobs go in together. Those that are refused are told of when the others have been shown."""
    from scheduler.errors import DualtrackError

    # keys of our own make the client's retries safe even where the user gave none
    keys = [f"{key}-{number}" if key else uuid.uuid4().hex for number in range(len(jobs))]
    if len(jobs) == 1:
        _say_entered(client.submit(jobs[0], key or keys[0]), output)
        return
    found = client.submit_all(list(zip(jobs, keys, strict=True)))
    _say_entered([view for item in found if not isinstance(item, DualtrackError) for view in item], output)
    refused = [(job, item) for job, item in zip(jobs, found, strict=True) if isinstance(item, DualtrackError)]
    for job, error in refused[:-1]:
        complain(f"error: {job.get('name', '')}: {error}")
    if refused:
        raise refused[-1][1]


def _say_entered(found: list[dict[str, Any]], output: Format) -> None:
    if document(found, output):
        return
    for view in found:
        say(view["id"] if output is Format.NAME else f"{view['id']} {view['name']} {view['state']}")


def jobs_of_files(files: list[str]) -> list[dict[str, Any]]:
    """The jobs of files as plain values. Raises ConfigError with file and line."""
    from msgspec.structs import replace

    from scheduler.config import encode, load_catalog, load_jobs
    from scheduler.config.document import opened

    catalog = load_catalog()
    found = []
    for file in files:
        folder = Path(file).resolve().parent
        for job, cursor in zip(load_jobs(file, catalog), opened(file, "job"), strict=True):
            # relative to the file, as its author sees it; the service may run anywhere
            values = encode(replace(job, workdir=str((folder / (job.workdir or ".")).resolve())))
            if "class" in cursor.fields_named():  # a class that is not stated is the tenant's to choose
                values["class"] = job.job_class.value
            found.append(values)
    return found


def _name_from(command: list[str]) -> str:
    """A name from the script and a random end, so that the same command can be entered again."""
    script = next((part for part in command if part.endswith((".py", ".sh"))), command[0])
    stem = "".join(c if c.isascii() and c.isalnum() else "-" for c in Path(script).stem.lower()).strip("-")[:40]
    return f"{stem or 'job'}-{uuid.uuid4().hex[:6]}"


def register(app: typer.Typer) -> None:
    app.command("submit")(submit)
