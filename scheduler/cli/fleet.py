"""Verbs on the fleet and its rules: fleet, cordon, uncordon, drain, rules."""

from typing import Annotated

import typer

from scheduler.cli.output import Format, document, say, table
from scheduler.cli.rows import CELLS, NODES, POOLS
from scheduler.cli.rules import rules
from scheduler.cli.selection import FormatOption, HomeOption, ServerOption, connect, watched

__all__ = ["cordon", "drain", "fleet", "register", "uncordon"]

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


def register(app: typer.Typer) -> None:
    for verb in (fleet, cordon, uncordon, drain, rules):
        app.command(verb.__name__)(verb)
