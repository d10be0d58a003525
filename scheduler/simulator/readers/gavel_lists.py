"""Fresh lists of jobs by the published rule of Gavel's generator (OSDI 2020, section 7 and its released simulator).

Gaps between arrivals are exponential. The devices of a job are 1, 2, 4 or 8 with the shares below; its type is drawn
evenly from the types that the table knows with that many devices; its length on V100 is 10 to the power of an even
draw, in minutes. The generator of the released code cannot be followed draw by draw: lists agree in distribution only.
"""

import random
from typing import Final

from scheduler.errors import UsageError
from scheduler.model.workload import Arrival, Workload
from scheduler.simulator.readers.gavel import GavelJob, GavelRates, gavel_job

__all__ = ["draw_gavel_jobs"]

GANGS: Final = ((1, 0.7), (2, 0.1), (4, 0.15), (8, 0.05))
"""Devices of a job, and the share of such jobs."""

SHORT_SHARE: Final = 0.8
SHORT_EXPONENTS: Final = (1.5, 3.0)
LONG_EXPONENTS: Final = (3.0, 4.0)
"""Of ten, for a length in minutes."""

BASE: Final = "v100"
MAX_JOBS: Final = 100_000


def draw_gavel_jobs(rates: GavelRates, count: int, *, mean_gap_s: float, seed: int, restart_s: float = 0.0) -> Workload:
    """`count` jobs; the first arrives at 0, and all do where `mean_gap_s` is 0.

    Raises UsageError for a count or a gap that cannot be meant, and for a table that lacks jobs of some size on V100.
    """
    if not 0 < count <= MAX_JOBS or mean_gap_s < 0:
        raise UsageError(f"{count} jobs with {mean_gap_s:g} s between them", f"draw 1 to {MAX_JOBS} jobs")
    draw = random.Random(seed)  # noqa: S311 - a workload, not a secret
    types = {size: [t for t in rates.job_types if BASE in rates.of(t, size)] for size, _ in GANGS}
    lacking = [size for size, found in types.items() if not found]
    if lacking:
        raise UsageError(f"the table has no job of {lacking[0]} devices on {BASE}")
    sizes, shares = [size for size, _ in GANGS], [share for _, share in GANGS]
    arrivals: list[Arrival] = []
    now_s = 0.0
    for number in range(count):
        size = draw.choices(sizes, shares)[0]
        job_type = draw.choice(types[size])
        low, high = SHORT_EXPONENTS if draw.random() < SHORT_SHARE else LONG_EXPONENTS
        length_s = 60.0 * 10.0 ** draw.uniform(low, high)
        steps = length_s * rates.of(job_type, size)[BASE]
        job = GavelJob(name=f"gavel-{number}", arrival_s=now_s, job_type=job_type, count=size, steps=steps)
        arrivals.append(gavel_job(job, rates, restart_s=restart_s))
        if mean_gap_s > 0:
            now_s += draw.expovariate(1.0 / mean_gap_s)
    return Workload(name=f"gavel-seed-{seed}", arrivals=tuple(arrivals))
