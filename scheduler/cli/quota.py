"""The verbs `quota` and `usage`: the tree with what is promised, held, borrowed and lent; its changes; the account."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from scheduler.cli.output import Column, Format, complain, document, say, table
from scheduler.cli.rows import QUOTAS
from scheduler.cli.selection import FormatOption, HomeOption, ServerOption, connect, watched

__all__ = ["quota", "register", "show_effects", "usage"]

APPLY = "apply"


def quota(
    tenant: Annotated[str, typer.Argument(help="Only this tenant and those below it; or `apply`")] = "",
    file: Annotated[Path | None, typer.Argument(help="With `apply`: a tenants file")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With `apply`: show what would follow, change nothing")
    ] = False,
    output: FormatOption = Format.TABLE,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Show again every two seconds")] = False,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """The quota tree. `quota apply FILE [--dry-run]` puts another in force and shows who is reclaimed or stranded.

    An administrator's file replaces the tree; the admin of a tenant divides what lies below it.
    """
    if tenant == APPLY and file is not None:
        _apply(file, dry_run, output, server, home)
        return
    if file is not None or dry_run or tenant == APPLY:
        raise typer.BadParameter("write `quota apply FILE [--dry-run]`, or `quota [TENANT]`")
    with connect(server, home) as client:

        def show() -> None:
            found = [t for t in client.tenants() if not tenant or _below(t["name"], tenant)]
            if not document(found, output):
                table(found if output is Format.NAME else _rows(found), QUOTAS, output)

        watched(show, watch)


def _below(name: str, tenant: str) -> bool:
    return name == tenant or name.startswith(tenant + "/")


def _rows(tenants: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("nominal", "entitled", "used", "borrowed", "lent", "opportunistic")
    nothing = {"resource": "", "limit": None, "ceiling": None, "budget": None, **dict.fromkeys(names, 0)}
    rows = []
    for tenant in tenants:
        for number, row in enumerate(tenant["quotas"] or [nothing]):
            shown = {name: tenant[name] if number == 0 else "" for name in ("running", "waiting")}
            rows.append({**row, "tenant": tenant["name"], **shown})
    return rows


def _apply(file: Path, dry_run: bool, output: Format, server: str | None, home: str | None) -> None:
    from scheduler.config import encode_tenants, load_catalog, load_tenants

    wanted = encode_tenants(load_tenants(file, load_catalog(), part=True))
    with connect(server, home) as client:
        found = client.change_tenants(wanted, dry_run=dry_run)
    if document(found, output):
        return
    if output is Format.NAME:
        table(found["tenants"], (), output)
        return
    show_effects(found, output, applied=not dry_run)
    if found["stranded"] and not dry_run:
        complain("stranded jobs that run go on until they end; those that wait never start under this quota")


def show_effects(found: Mapping[str, Any], output: Format, *, applied: bool) -> None:
    """Which tenants change, and the jobs that are, or would be, reclaimed or stranded by it."""
    changes = ", ".join(f"{t['name']} {t['change']}" for t in found["tenants"]) or "nothing changes"
    say(f"{'in force' if applied else 'not applied'}: {changes}")
    columns = (
        Column("JOB", lambda r: r["name"]),
        Column("ID", lambda r: r["id"]),
        Column("TENANT", lambda r: r["tenant"]),
    )
    for title, key, last in (("reclaimed", "reclaimed", "for"), ("stranded", "stranded", "why")):
        rows = found[key]
        if rows:
            say()
            say(f"{len(rows)} {'job' if len(rows) == 1 else 'jobs'} {'' if applied else 'would be '}{title}:")
            table(rows, (*columns, Column("STATE", lambda r: r["state"]), _column(last)), output)


def _column(name: str) -> Column:
    return Column(name.upper(), lambda r: str(r[name]))


def usage(
    by: Annotated[str, typer.Option(help="tenant, user, project, accelerator; several joined by commas")] = "tenant",
    since: Annotated[str, typer.Option("--from", help="ISO date and time; default: all")] = "",
    until: Annotated[str, typer.Option("--to", help="ISO date and time; default: now")] = "",
    output: FormatOption = Format.TABLE,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """Device-, compute-unit- and H20-equivalent-hours and money. What our own preemption lost is not charged."""
    with connect(server, home) as client:
        found = client.usage(by.split(","), since, until)
    columns = [_column(name) for name in found["by"]]
    for title, key, digits in (
        ("DEVICE-HOURS", "device_hours", 3),
        ("UNIT-HOURS", "compute_unit_hours", 3),
        ("H20-HOURS", "h20_equivalent_hours", 3),
        ("CNY", "cost_cny", 2),
        ("NOT CHARGED", "lost_device_hours", 3),
    ):
        columns.append(Column(title, lambda r, key=key, digits=digits: f"{r[key]:.{digits}f}", right=True))  # type: ignore[misc]
    table(found["items"], columns, output, name=found["by"][0])


def register(app: typer.Typer) -> None:
    for verb in (quota, usage):
        app.command(verb.__name__)(verb)
