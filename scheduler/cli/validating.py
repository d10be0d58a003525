"""The verbs `validate` and `version`: what needs no service."""

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.output import Format, complain, document, say
from scheduler.cli.selection import FormatOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scheduler.config import Problem
    from scheduler.model.accelerators import Catalog
    from scheduler.model.cluster import Cluster
    from scheduler.model.jobs import Job

__all__ = ["register", "validate", "version"]


def validate(
    files: Annotated[list[str], typer.Argument(help="Files of any kind")], output: FormatOption = Format.TABLE
) -> None:
    """Check files of any kind. Exit code 2 if one of them is wrong; each wrong one is told of in one line.

    Rules and jobs are also checked against the cluster files among FILES.
    """
    from scheduler.config import load_any, load_catalog
    from scheduler.errors import ConfigError

    catalog = load_catalog()
    clusters = _clusters(files, catalog)
    found = []
    for file in files:
        try:
            kind, _ = load_any(file, catalog)
            for cluster in clusters if kind == "rules" else ():
                load_any(file, catalog, cluster)
            if kind == "job":
                _check_jobs(file, catalog, clusters)
        except ConfigError as error:
            complain(f"error: {error}")
            found.append({"file": file, "valid": False, "kind": "", "problem": str(error)})
        else:
            found.append({"file": file, "valid": True, "kind": str(kind), "problem": ""})
    if not document(found, output):
        for row in found:
            if row["valid"]:
                say(str(row["file"]) if output is Format.NAME else f"{row['file']}: a valid {row['kind']} file")
    raise typer.Exit(0 if all(row["valid"] for row in found) else 2)


def _clusters(files: list[str], catalog: "Catalog") -> list["Cluster"]:
    """The cluster files that are right."""
    from scheduler.config import load_any
    from scheduler.errors import ConfigError
    from scheduler.model.cluster import Cluster

    found = []
    for file in files:
        with suppress(ConfigError):
            loaded = load_any(file, catalog)[1]
            found += [loaded] if isinstance(loaded, Cluster) else []
    return found


def _check_jobs(file: str, catalog: "Catalog", clusters: list["Cluster"]) -> None:
    """Raises ConfigError for a job that can never run: by its deadline, by its model, or in one of the clusters."""
    import time

    from scheduler.cli.sentences import sentence
    from scheduler.config import refuse_hopeless
    from scheduler.engine.state import State
    from scheduler.model.events import Configured
    from scheduler.model.policy import Policy
    from scheduler.model.rules import Rules
    from scheduler.model.tenants import Tenants
    from scheduler.planning import misfits

    for cluster in (None, *clusters):
        state = State.new(Configured(catalog, cluster, Tenants(), Rules(), Policy())) if cluster else None
        where = f" in cluster `{cluster.name}`" if cluster else ""

        def never(job: "Job", state: State | None = state, where: str = where) -> "Iterator[Problem]":
            for found in misfits(job, catalog, state):
                problem, _, remedy = sentence(found.reason).removesuffix(".").partition("; ")
                yield found.role, found.option, f"can never be taken{where}: {problem[:1].lower()}{problem[1:]}", remedy

        refuse_hopeless(file, catalog, time.time_ns() // 1000, never)


def version() -> None:
    """The version of dualtrack."""
    from scheduler import __version__

    say(f"dualtrack {__version__}")


def register(app: typer.Typer) -> None:
    app.command("validate")(validate)
    app.command("version")(version)
