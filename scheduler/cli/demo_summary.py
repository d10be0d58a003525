"""What the demo prints when it has ended."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scheduler.cli.demo_record import DemoRecord
from scheduler.cli.demo_report import JOB_TITLES, TENANT_TITLES, facts, job_cells, tenant_cells
from scheduler.cli.output import Column, Format, fields, heading, say, table

__all__ = ["cell_of", "summarise"]

QUIET = ("order and lengths", "versions", "machine")
"""Facts that are for the report alone."""


def summarise(record: DemoRecord) -> None:
    """Tables of jobs and tenants, the figures, and what went wrong."""
    heading("Jobs")
    _table(JOB_TITLES, job_cells(record))
    heading("Tenants")
    _table(TENANT_TITLES, tenant_cells(record))
    heading("Figures")
    fields([pair for pair in facts(record) if pair[0] not in QUIET])
    say()
    for problem in record.problems():
        say(f"not as it should: {problem}")
    if not record.problems():
        say("every job ended as it should")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    columns = [Column(title.upper(), cell_of(title)) for title in titles]
    table([dict(zip(titles, row, strict=True)) for row in rows], columns, Format.TABLE)


def cell_of(title: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: str(row[title])
