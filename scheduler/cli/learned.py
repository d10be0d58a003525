"""`profiles learned`: what running jobs have shown a service about rates."""

from typing import Any

from scheduler.cli.output import Column, Format, complain, say, table
from scheduler.cli.selection import FormatOption, HomeOption, ServerOption, connect

__all__ = ["learned"]

COLUMNS = (
    Column("KIND", lambda r: r["class"]),
    Column("MODEL", lambda r: r["model"] or "-"),
    Column("TENANT", lambda r: r["tenant"] or "-", wide=True),
    Column("ACCELERATOR", lambda r: r["accelerator"]),
    Column("OF MODELLED", lambda r: f"{r['ratio']:.0%}", right=True),
    Column("BAND (90 %)", lambda r: f"{r['low']:.0%} to {r['high']:.0%}", right=True),
    Column("ATTEMPTS", lambda r: str(r["attempts"]), right=True),
    Column("AT LEAST", lambda r: str(r["bounds"]), right=True),
)

SLOW = (
    Column("SLOW NODE", lambda r: r["node"]),
    Column("CELL", lambda r: r["cell"]),
    Column("ACCELERATOR", lambda r: r["accelerator"]),
    Column("STATE", lambda r: r["state"]),
    Column("OF OTHERS", lambda r: f"{r['ratio']:.0%}", right=True),
    Column("RUNS", lambda r: str(r["runs"]), right=True),
    Column("AGAINST", lambda r: str(r["peers"]), right=True),
    Column("ONE OF", lambda r: str(r["among"]), right=True),
)


def learned(output: FormatOption = Format.TABLE, server: ServerOption = None, home: HomeOption = None) -> None:
    """What running jobs reach of their modelled rates, by kind and accelerator, and nodes that are slow by them."""
    with connect(server, home) as client:
        found: dict[str, Any] = client.rates()
    rows = found["rates"]
    table(rows, COLUMNS, output, name="accelerator")
    if found.get("slow_nodes") and output in (Format.TABLE, Format.WIDE):
        say()
        table(found["slow_nodes"], SLOW, output, name="node")
    if not rows:
        complain("nothing yet: jobs with known rates on real devices teach it, from their third report on")
