"""`profiles learned`: what running jobs have shown a service about rates."""

from typing import Any

from scheduler.cli.output import Column, Format, complain, table
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


def learned(output: FormatOption = Format.TABLE, server: ServerOption = None, home: HomeOption = None) -> None:
    """What running jobs reach of their modelled rates, by kind of job and accelerator, as the service has seen it."""
    with connect(server, home) as client:
        rows: list[dict[str, Any]] = client.rates()["rates"]
    table(rows, COLUMNS, output, name="accelerator")
    if not rows:
        complain("nothing yet: jobs with known rates on real devices teach it, from their third report on")
