"""Jobs that can never run, by what their file says: a deadline that has passed, and options that never fit."""

from collections.abc import Callable, Iterable
from pathlib import Path

from scheduler.config.cursor import Cursor
from scheduler.config.document import opened
from scheduler.config.job import job_of
from scheduler.model.accelerators import Catalog
from scheduler.model.jobs import MAIN_ROLE, Job

__all__ = ["Problem", "refuse_hopeless"]

Problem = tuple[int, int, str, str]
"""Role, option, what is wrong with it and what to do."""


def refuse_hopeless(path: str | Path, catalog: Catalog, now_us: int, never: Callable[[Job], Iterable[Problem]]) -> None:
    """Raises ConfigError, with the place, for a job of the file whose deadline lies before `now_us`, or of which
    `never` tells an option that can never be taken."""
    for cursor in opened(path, "job"):
        job = job_of(cursor, catalog)
        fields = dict(cursor.pairs())
        if job.deadline_us is not None and job.deadline_us <= now_us:
            raise fields["deadline"].wrong("lies in the past", "move it, or leave it out")
        for role, option, problem, remedy in never(job):
            raise _option(fields, job, role, option).wrong(problem, remedy)


def _option(fields: dict[str, Cursor], job: Job, role: int, option: int) -> Cursor:
    name = job.roles[role].name
    within = fields if name == MAIN_ROLE else dict(dict(fields["roles"].pairs())[name].pairs())
    return list(dict(within["resources"].pairs())["options"].items(1_000))[option]
