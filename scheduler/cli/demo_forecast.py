"""The demo's forecast, made before its first job is submitted: the same engine in virtual time."""

import subprocess
import sys
import time
from typing import Final

from msgspec import Struct

from scheduler.model.workload import Workload

__all__ = ["Expectation", "expect", "start_cost_s"]

NOTICE_S: Final = 1.0
"""From a notice to the end of an attempt: a step, a checkpoint, and the way of the report; modelled."""

CROWD: Final = 1.25
"""How much longer a start takes beside other jobs than alone; modelled on runs with two cores."""

PLACING_S: Final = 0.8
"""From a decision to the first line of a rank: supervisor, interpreter, report; modelled on runs with two cores."""


class Expectation(Struct, frozen=True):
    """Seconds since the first arrival: the end of the last job that ends, and of each by its label."""

    makespan_s: float
    ends_s: dict[str, float | None]


def start_cost_s() -> float:
    """Seconds that an example needs for its first step and its end, measured here and now."""
    began = time.monotonic()
    command = [sys.executable, "-m", "backends.examples.train_digits", "--steps", "1"]
    subprocess.run(command, check=False, capture_output=True, timeout=120)
    return time.monotonic() - began


def expect(workload: Workload, cluster: str, executor: str, start_s: float) -> Expectation:
    """Forecast the whole workload on the demo's cluster; `start_s` as measured by `start_cost_s`."""
    from scheduler.engine.state import State
    from scheduler.model.units import to_s, to_us
    from scheduler.service.configuration import Sources, configured
    from scheduler.simulator.execution import Overheads
    from scheduler.simulator.forecast import forecast

    files = Sources(cluster=cluster, tenants="demo", policy="demo", executor="local" if executor == "local" else "")
    overheads = Overheads(start_us=to_us(PLACING_S + CROWD * start_s), stop_us=to_us(NOTICE_S))
    found = forecast(State.new(configured(files)), 0, workload.arrivals, to_us(3_600), overheads=overheads)
    if found.refusals:
        raise found.refusals[0].error
    ends: dict[str, float | None] = {}
    members: dict[str, int] = {}
    arrays = {arrival.job.name: arrival.job.array for arrival in workload.arrivals if arrival.job.array}
    for job in found.jobs:
        name = job.name
        if array := arrays.get(job.name):
            name = f"{job.name}[{array.first + members.get(job.name, 0)}]"
            members[job.name] = members.get(job.name, 0) + 1
        ends[name] = None if job.finish_us is None else to_s(job.finish_us)
    return Expectation(to_s(found.makespan_us or 0), ends)
