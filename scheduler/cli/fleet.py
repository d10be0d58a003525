"""Verbs on the fleet and the quota tree: fleet, cordon, uncordon, drain, quota, rules, usage."""

from typing import Annotated, Any

import typer

from scheduler.cli.output import Column, Format, document, say, table
from scheduler.cli.rows import CELLS, NODES, POOLS, QUOTAS
from scheduler.cli.rules import rules
from scheduler.cli.selection import FormatOption, HomeOption, ServerOption, connect, watched

__all__ = ["cordon", "drain", "fleet", "quota", "register", "uncordon", "usage"]

Nodes = Annotated[list[str], typer.Argument(help="Names of nodes, such as h200-0")]
Watch = Annotated[bool, typer.Option("-w", "--watch", help="Show again every two seconds")]


def fleet(
    output: FormatOption = Format.TABLE, watch: Watch = False, server: ServerOption = None, home: HomeOption = None
) -> None:
    """Cells, pools and nodes, with their devices by use."""
    with connect(server, home) as client:

        def show() -> None:
            found = client.fleet()
            if document(found, output):
                return
            if output is Format.NAME:
                table(found["nodes"], NODES, output)
                return
            say(f"cluster {found['cluster']}" + (" (emulated devices)" if found["emulated"] else ""))
            for rows, columns in ((found["cells"], CELLS), (found["pools"], POOLS), (found["nodes"], NODES)):
                say()
                table(rows, columns, output)

        watched(show, watch)


def _set(nodes: list[str], action: str, server: str | None, home: str | None) -> None:
    with connect(server, home) as client:
        for node in nodes:
            found = client.node(node, action)
            say(f"{found['name']} {found['state']}")


def cordon(nodes: Nodes, server: ServerOption = None, home: HomeOption = None) -> None:
    """Let nodes take nothing new; what runs goes on."""
    _set(nodes, "cordon", server, home)


def uncordon(nodes: Nodes, server: ServerOption = None, home: HomeOption = None) -> None:
    """Put nodes back into use."""
    _set(nodes, "uncordon", server, home)


def drain(nodes: Nodes, server: ServerOption = None, home: HomeOption = None) -> None:
    """Let nodes take nothing new, and preempt with notice what runs there."""
    _set(nodes, "drain", server, home)


def quota(
    tenant: Annotated[str, typer.Argument(help="Only this tenant and those below it")] = "",
    output: FormatOption = Format.TABLE,
    watch: Watch = False,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """The tree of tenants with what is nominal and used."""
    with connect(server, home) as client:

        def show() -> None:
            found = [t for t in client.tenants() if not tenant or _below(t["name"], tenant)]
            if not document(found, output):
                table(found if output is Format.NAME else _quota_rows(found), QUOTAS, output)

        watched(show, watch)


def _below(name: str, tenant: str) -> bool:
    return name == tenant or name.startswith(tenant + "/")


def _quota_rows(tenants: list[dict[str, Any]]) -> list[dict[str, Any]]:
    nothing = {"resource": "", "nominal": 0, "limit": None, "used": 0}
    rows = []
    for tenant in tenants:
        for number, row in enumerate(tenant["quotas"] or [nothing]):
            shown = {name: tenant[name] if number == 0 else "" for name in ("running", "waiting")}
            rows.append({**row, "tenant": tenant["name"], **shown})
    return rows


def usage(
    by: Annotated[str, typer.Option(help="tenant, user, accelerator; several joined by commas")] = "tenant",
    since: Annotated[str, typer.Option("--from", help="ISO date and time; default: all")] = "",
    until: Annotated[str, typer.Option("--to", help="ISO date and time; default: now")] = "",
    output: FormatOption = Format.TABLE,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """Device-hours and compute-unit-hours that were held."""
    with connect(server, home) as client:
        found = client.usage(by.split(","), since, until)
    columns = [_named(name) for name in found["by"]]
    columns.append(Column("DEVICE-HOURS", lambda r: f"{r['device_hours']:.3f}", right=True))
    columns.append(Column("UNIT-HOURS", lambda r: f"{r['compute_unit_hours']:.3f}", right=True))
    table(found["items"], columns, output, name=found["by"][0])


def _named(name: str) -> Column:
    return Column(name.upper(), lambda r: str(r[name]))


def register(app: typer.Typer) -> None:
    for verb in (fleet, cordon, uncordon, drain, quota, rules, usage):
        app.command(verb.__name__)(verb)
