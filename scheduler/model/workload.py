"""A list of jobs with their times of arrival: what a simulation replays."""

from collections.abc import Mapping

from msgspec import Struct, field

from scheduler.model.jobs import Job

__all__ = ["Arrival", "Truth", "Workload"]


class Truth(Struct, frozen=True, kw_only=True):
    """What the world knows and the scheduler does not: real speed per accelerator, real size, failures to come."""

    rate_factor: Mapping[str, float] = field(default_factory=dict)  # real rate over forecast rate
    fails_at: float | None = None  # share of the work after which it fails
    run_us: int | None = None  # for jobs that declare no work
    amount: float | None = None  # work that the job really needs, in its unit, whatever it declares
    spread_factor: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By accelerator, real over forecast rate of a gang on 1, 2, ... nodes; the last holds for more."""


class Arrival(Struct, frozen=True, kw_only=True):
    at_us: int
    job: Job
    user: str = ""
    truth: Truth = Truth()


class Workload(Struct, frozen=True, kw_only=True):
    """`start_us` says which moment of the calendar the arrivals count from: dates of rules and deadlines are held
    against it."""

    name: str
    arrivals: tuple[Arrival, ...]
    start_us: int = 0
