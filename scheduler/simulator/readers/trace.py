"""Which public trace a job list belongs to: told by its heading."""

from pathlib import Path

from scheduler.config.readers.table import read_table
from scheduler.errors import ConfigError
from scheduler.model.workload import Workload
from scheduler.simulator.readers.gavel import read_gavel_jobs, read_gavel_rates
from scheduler.simulator.readers.sia import read_sia_jobs, read_sia_profiles

__all__ = ["read_trace"]

GAVEL = ("job_type", "scale_factor", "total_steps")
SIA = ("application", "num_replicas", "batch_size")


def read_trace(jobs: str | Path, rates: str | Path) -> Workload:
    """A list of Gavel with its table of rates, or `FILE#N`, workload N (else 1) of Sia, with its profiles.

    Raises ConfigError for a list of neither kind, and as their readers do.
    """
    name, _, number = str(jobs).partition("#")
    first = next(read_table(name, ()), None)
    heading = set() if first is None else set(first.values)
    if heading.issuperset(GAVEL):
        return read_gavel_jobs(name, read_gavel_rates(rates))
    if heading.issuperset(SIA):
        if number and not (number.isascii() and number.isdecimal()):
            raise ConfigError(f"`#{number[:20]}` is not the number of a workload", "write it like #2", file=name)
        return read_sia_jobs(name, read_sia_profiles(rates), int(number or 1))
    known = f"columns {', '.join(GAVEL)} (Gavel) or {', '.join(SIA)} (Sia)"
    raise ConfigError("is no job list of a trace that is known here", f"expected are the {known}", file=name, line=1)
