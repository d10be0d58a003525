"""Gavel's public tables (OSDI 2020): rates of 26 job types on V100, P100 and K80, and lists of jobs in steps.

The table has rates of workers on one node and, under names that end in `_unconsolidated`, of workers on several. A
fleet whose nodes have one device each cannot tell them apart; Gavel's own runs use the former, and so does this reader
unless it is told otherwise. Rows in which two jobs share a device are left out: every job has its devices for itself.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from scheduler.config.readers.table import read_table
from scheduler.errors import ConfigError
from scheduler.model.jobs import Checkpoint, Job, JobType, Measured, Moves, Option, Resources, Role, Work
from scheduler.model.units import to_us
from scheduler.model.workload import Arrival, Workload

__all__ = ["GavelJob", "GavelRates", "gavel_job", "read_gavel_jobs", "read_gavel_rates"]

TENANT = "gavel"
UNCONSOLIDATED = "_unconsolidated"
MAX_RATE = 1e9
MAX_ARRIVAL_S = 1e9
MAX_STEPS = 1e15
MAX_GANG = 1024


class GavelRates(Struct, frozen=True):
    """Steps per second by (job type, devices) and accelerator; where a job cannot run, the accelerator is missing."""

    rates: Mapping[tuple[str, int], Mapping[str, float]]

    def of(self, job_type: str, count: int) -> Mapping[str, float]:
        """By accelerator; empty where the table has nothing."""
        return self.rates.get((job_type, count), {})

    @property
    def job_types(self) -> tuple[str, ...]:
        return tuple(sorted({job_type for job_type, _ in self.rates}))


class GavelJob(Struct, frozen=True, kw_only=True):
    """One line of a list. `steps` is the work, whatever it runs on."""

    name: str
    arrival_s: float
    job_type: str
    count: int
    steps: float


def read_gavel_rates(path: str | Path, *, consolidated: bool = True) -> GavelRates:
    """Rates of jobs that have their devices for themselves. A rate of 0 means that the job does not fit: left out."""
    columns = ("gpu_type", "job_type", "scale_factor", "colocated_job_type", "steps_per_s")
    rates: dict[tuple[str, int], dict[str, float]] = {}
    for line in read_table(path, columns):
        accelerator = line.text("gpu_type")
        if line.values["colocated_job_type"] or accelerator.endswith(UNCONSOLIDATED) == consolidated:
            continue
        key = line.text("job_type"), line.whole("scale_factor", 1, MAX_GANG)
        of_job = rates.setdefault(key, {})
        accelerator = accelerator.removesuffix(UNCONSOLIDATED)
        if accelerator in of_job:
            raise line.wrong("job_type", f"{key[0]!r} on {key[1]} {accelerator} stands there twice")
        of_job[accelerator] = line.real("steps_per_s", 0, MAX_RATE)
    if not rates:
        raise ConfigError("holds no rate of a job alone on its devices", file=str(path))
    return GavelRates({key: {a: r for a, r in found.items() if r > 0} for key, found in rates.items()})


def read_gavel_jobs(path: str | Path, rates: GavelRates, *, restart_s: float = 0.0) -> Workload:
    """The list as a workload. Raises ConfigError for a job that the table of rates lacks, with its line."""
    arrivals: list[Arrival] = []
    latest_s = 0.0
    for line in read_table(path, ("job_id", "arrival_s", "job_type", "scale_factor", "total_steps")):
        job = GavelJob(
            name=f"gavel-{line.text('job_id')}",
            arrival_s=line.real("arrival_s", 0, MAX_ARRIVAL_S),
            job_type=line.text("job_type"),
            count=line.whole("scale_factor", 1, MAX_GANG),
            steps=line.real("total_steps", 1e-9, MAX_STEPS),
        )
        if not rates.of(job.job_type, job.count):
            raise line.wrong("job_type", f"the table has no rate of {job.job_type[:60]!r} on {job.count} devices")
        if job.arrival_s < latest_s:
            raise line.wrong("arrival_s", "lies before that of the line above", "sort the list by arrival")
        latest_s = job.arrival_s
        arrivals.append(gavel_job(job, rates, restart_s=restart_s))
    return Workload(name=Path(path).name.split(".")[0], arrivals=tuple(arrivals))


def gavel_job(job: GavelJob, rates: GavelRates, *, restart_s: float = 0.0, accelerators: Sequence[str] = ()) -> Arrival:
    """A rigid gang on one type of device, free to move between types; a move costs `restart_s` and loses nothing."""
    found = rates.of(job.job_type, job.count)
    names = [name for name in found if not accelerators or name in accelerators]
    options = tuple(Option(accelerator=name, counts=(job.count,)) for name in names)
    measured = tuple(Measured(accelerator=name, count=job.count, rate=found[name]) for name in names)
    spec = Job(
        name=job.name,
        type=JobType.TRAINING,
        tenant=TENANT,
        roles=(Role(entrypoint=("train",), resources=Resources(options=options)),),
        work=Work(amount=job.steps, measured=measured),
        moves=Moves.ANY,
        checkpoint=Checkpoint(path=f"checkpoints/{job.name}", restart_us=to_us(restart_s), portable=True),
        labels={"job-type": job.job_type},
    )
    return Arrival(at_us=to_us(job.arrival_s), job=spec, user=TENANT)
