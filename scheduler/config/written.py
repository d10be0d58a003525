"""Job files as plain values, checked: what a client sends and the service decodes again."""

from pathlib import Path
from typing import Any

from scheduler.config.job import load_jobs
from scheduler.config.job_encode import encode
from scheduler.model.accelerators import Catalog

__all__ = ["job_values"]


def job_values(path: str | Path, catalog: Catalog | None = None) -> list[dict[str, Any]]:
    """Every job of a file in the form of a job file, without what is default. Raises ConfigError with its place."""
    return [encode(job) for job in load_jobs(path, catalog)]
