"""The verb `reserve`: keep nodes free in a window, for maintenance or for one tenant; list and cancel windows."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from scheduler.cli.humanise import parse_duration, parse_time, when
from scheduler.cli.output import Column, Format, document, say, table
from scheduler.cli.selection import FormatOption, HomeOption, ServerOption, connect
from scheduler.errors import UsageError
from scheduler.model.units import US_PER_S

__all__ = ["register", "reserve"]

NODES_SHOWN: Final = 4


def _nodes(row: Any) -> str:
    names = row["nodes"]
    more = f" and {len(names) - NODES_SHOWN} more" if len(names) > NODES_SHOWN else ""
    return ",".join(names[:NODES_SHOWN]) + more


RESERVATIONS: Final[Sequence[Column]] = (
    Column("ID", lambda r: r["id"]),
    Column("NODES", _nodes),
    Column("DEVICES", lambda r: str(r["devices"]), right=True),
    Column("FROM", lambda r: when(r["from"])),
    Column("TO", lambda r: when(r["to"])),
    Column("FOR", lambda r: r["tenant"] or "maintenance"),
    Column("IN-THE-WAY", lambda r: ",".join(job["name"] for job in r["in_the_way"]) or "-"),
    Column("WHY", lambda r: r["why"] or "-", wide=True),
)


def reserve(
    nodes: Annotated[list[str] | None, typer.Argument(help="Names of nodes; without any, windows are listed")] = None,
    accelerator: Annotated[str, typer.Option(help="Instead of nodes: whole nodes with this accelerator")] = "",
    count: Annotated[int, typer.Option(min=0, help="With --accelerator: at least so many devices, in one cell")] = 0,
    begin: Annotated[str, typer.Option("--from", help="ISO date and time; default: now")] = "",
    end: Annotated[str, typer.Option("--to", help="ISO date and time, or a length such as 4h")] = "",
    tenant: Annotated[str, typer.Option(help="Who may use them; default: nobody, for maintenance")] = "",
    why: Annotated[str, typer.Option(help="A word on the reason")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show which nodes, and who would be in the way")
    ] = False,
    cancel: Annotated[str, typer.Option(help="Cancel the window of this id")] = "",
    output: FormatOption = Format.TABLE,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """Keep nodes free in a window: whoever would still run when it begins does not start there."""
    asked = bool(nodes or accelerator)
    if cancel and asked:
        raise UsageError("--cancel takes no nodes", "cancel, or reserve")
    if not asked and (end or begin or count or tenant):
        raise UsageError("nothing to reserve", "name nodes, or --accelerator with --count")
    if asked and not end:
        raise UsageError("a window needs an end", "give --to, such as 2026-12-24T00:00:00Z or 4h")
    with connect(server, home) as client:
        if cancel:
            found = [client.cancel_reservation(cancel)]
        elif asked:
            wanted = {
                "nodes": nodes or [],
                "accelerator": accelerator,
                "count": count,
                "from": _iso(begin) if begin else "",
                "to": _end(begin, end),
                "tenant": tenant,
                "why": why,
            }
            found = [client.reserve(wanted, dry_run=dry_run)]
        else:
            found = client.reservations()
    _show(found, output, one=asked or bool(cancel))
    if cancel and output is Format.TABLE:
        say("cancelled")


def _show(found: list[dict[str, Any]], output: Format, *, one: bool) -> None:
    if document(found[0] if one else found, output):
        return
    if not found and output is not Format.NAME:
        say("nothing is reserved")
        return
    table(found, RESERVATIONS, output, name="id")
    for job in (job for window in found for job in window["in_the_way"]) if output is not Format.NAME and one else ():
        say(
            f"- {job['name']} ({job['id']}) of {job['tenant']} may still run when it begins; `dualtrack drain` moves it"
        )


def _iso(text: str) -> str:
    return datetime.fromtimestamp(parse_time(text) / US_PER_S, UTC).isoformat()


def _end(begin: str, end: str) -> str:
    """A time, or a length from the beginning."""
    if end[:1].isdigit() and end[-1:] in "smhd" and "-" not in end:
        start_s = parse_time(begin) / US_PER_S if begin else datetime.now(UTC).timestamp()
        return datetime.fromtimestamp(start_s + parse_duration(end), UTC).isoformat()
    return _iso(end)


def register(app: typer.Typer) -> None:
    app.command("reserve")(reserve)
