"""References of a decoded job into the catalog, for jobs that were decoded without one."""

from scheduler.config.cursor import nearest
from scheduler.config.refusal import refusal
from scheduler.model.accelerators import Catalog
from scheduler.model.jobs import MAIN_ROLE, Job

__all__ = ["check_job_against"]


def check_job_against(job: Job, catalog: Catalog, source: str = "") -> None:
    """Raises ConfigError for the first accelerator that the catalog lacks, with its path in the job file."""
    for role in job.roles:
        within = "" if role.name == MAIN_ROLE and len(job.roles) == 1 else f"roles.{role.name}."
        for i, option in enumerate(role.resources.options):
            _known(option.accelerator, catalog, source, f"{within}resources.options[{i}].accelerator")
    for i, row in enumerate(job.work.measured):
        _known(row.accelerator, catalog, source, f"workload.measured[{i}].accelerator")


def _known(accelerator: str, catalog: Catalog, source: str, path: str) -> None:
    if catalog.get(accelerator) is None:
        remedy = nearest(accelerator, catalog.names)
        raise refusal(f"unknown accelerator `{accelerator}`", remedy, file=source, path=path)
