"""What a simulation amounts to: the figures of `simulate -o json`, each defined here."""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import UNSET, Struct, UnsetType

from scheduler.engine.records import JobRecord
from scheduler.engine.state import State
from scheduler.model.accelerators import Track
from scheduler.model.lifecycle import JobState, StopCause
from scheduler.model.units import to_s
from scheduler.profiles import rate_of
from scheduler.simulator.figures import CycleTimes, Gaps, Quantiles, contention, gaps, jain, quantiles
from scheduler.simulator.world import Account

__all__ = ["Fairness", "Measured", "SimulationReport", "measure"]

SCHEMA = "dualtrack/simulation/v1"
REFERENCE = "h20-96"

_FINISHED = (JobState.SUCCEEDED, JobState.FAILED)


class Fairness(Struct, frozen=True):
    """`jain`: Jain's index over the window's finished jobs of the inverse of their finish-time ratio.

    `finish_time_rho_max`: the largest finish-time ratio. A job's ratio is its completion time over the time that it
    would have needed alone on what it was last given, times the contention in its life: the mean of the devices that
    live jobs ask for over the devices of the fleet, at least 1 (after Mahajan et al., 2020, and Zheng et al., 2023).
    A ratio of at most 1 is as good as an equal share.
    """

    jain: float = 1.0
    finish_time_rho_max: float = 0.0


class SimulationReport(Struct, frozen=True, kw_only=True):
    """The object of `simulate -o json`. Jobs, times and fairness are those of the window, the rest of all jobs.

    `finished`: ended by success or by a failure of their own. `unfinished`: all others, cancelled and refused ones
    included. `refused`: not accepted at submission. `jct_s`: submission to end, of finished jobs. `wait_s`: submission
    to first allocation, of jobs that had one. `makespan_s`: first submission to last end. `utilization`: per
    accelerator of the fleet, device-seconds held over devices installed times the span of the simulation.
    `goodput_h20_equivalents`: the mean number of h20-96 that all work kept at the end is worth over the span; a job's
    work counts as the time it needs on what the job was last given, times that rate over its rate on one h20-96.
    `preemptions`: attempts told to leave for another job. `restarts`: attempts beyond each job's first. `lost_work_s`:
    time of progress that no checkpoint had saved when its attempt ended. `domestic_share`: of all device-seconds held,
    those on the domestic track. `gap`: what decisions may lack to the optimum, None where
    the policy proves none. `cycle_ms`, `wall_s` and `peak_rss_mib` are the machine's, and absent where the report
    has to be reproducible.
    """

    schema: str = SCHEMA
    jobs: int
    finished: int
    unfinished: int
    refused: int
    jct_s: Quantiles
    wait_s: Quantiles
    makespan_s: float
    utilization: Mapping[str, float]
    goodput_h20_equivalents: float
    preemptions: int
    restarts: int
    lost_work_s: float
    domestic_share: float
    fairness: Fairness
    events: int
    cycles: int
    gap: Gaps | None = None
    cycle_ms: CycleTimes | UnsetType = UNSET
    wall_s: float | UnsetType = UNSET
    peak_rss_mib: float | UnsetType = UNSET


class Measured(Struct, frozen=True, kw_only=True):
    """What a run leaves to be measured. `entries`: the job of each arrival in order, -1 where it was refused."""

    state: State
    accounts: Mapping[int, Account]
    entries: Sequence[int]
    end_us: int
    events: int
    cycles: int
    gaps: Sequence[float] = ()


def measure(run: Measured, window: tuple[int, int] | None = None) -> SimulationReport:
    """The report, without the figures of the machine. `window` is [first, last) in order of arrival."""
    entries = run.entries if window is None else run.entries[window[0] : window[1]]
    jobs = [run.state.jobs[number] for number in entries if number >= 0]
    finished = [job for job in jobs if job.state in _FINISHED]
    held = _held_us(run)
    total_us = sum(held.values())
    span_us = _span_us(run)
    return SimulationReport(
        jobs=len(entries),
        finished=len(finished),
        unfinished=len(entries) - len(finished),
        refused=sum(1 for number in entries if number < 0),
        jct_s=quantiles([to_s(_end_us(job, run.end_us) - job.submitted_us) for job in finished]),
        wait_s=quantiles([to_s(job.attempts[0].allocated_us - job.submitted_us) for job in jobs if job.attempts]),
        makespan_s=_makespan_s(finished),
        utilization=_utilization(run.state, held, span_us),
        goodput_h20_equivalents=_goodput(run, span_us),
        preemptions=sum(a.stop is StopCause.PREEMPT for job in run.state.jobs for a in job.attempts),
        restarts=sum(max(0, len(job.attempts) - 1) for job in run.state.jobs),
        lost_work_s=to_s(sum(account.lost_us for account in run.accounts.values())),
        domestic_share=sum(us for (_, track), us in held.items() if track is Track.DOMESTIC) / max(1, total_us),
        fairness=_fairness(run, finished),
        events=run.events,
        cycles=run.cycles,
        gap=gaps(run.gaps),
    )


def _end_us(job: JobRecord, now_us: int) -> int:
    return now_us if job.ended_us is None else job.ended_us


def _span_us(run: Measured) -> int:
    """From the first submission to the end of the simulation."""
    first_us = min((job.submitted_us for job in run.state.jobs), default=run.end_us)
    return max(1, run.end_us - first_us)


def _makespan_s(finished: Sequence[JobRecord]) -> float:
    if not finished:
        return 0.0
    return to_s(max(job.ended_us or 0 for job in finished) - min(job.submitted_us for job in finished))


def _held_us(run: Measured) -> dict[tuple[str, Track], int]:
    """Device-microseconds held, by accelerator and track of the pool."""
    pools = run.state.config.cluster.pools
    firsts = np.cumsum([0, *(pool.nodes for pool in pools)])
    tracks = {a.name: a.track for a in run.state.config.catalog}
    keys = [(pool.accelerator, pool.track or tracks[pool.accelerator]) for pool in pools]
    held: dict[tuple[str, Track], int] = {}
    for job in run.state.jobs:
        for attempt in job.attempts:
            until_us = run.end_us if attempt.ended_us is None else attempt.ended_us
            for grant in attempt.allocation.grants:
                key = keys[int(np.searchsorted(firsts, grant.node, side="right")) - 1]
                held[key] = held.get(key, 0) + grant.count * (until_us - attempt.allocated_us)
    return held


def _utilization(state: State, held: Mapping[tuple[str, Track], int], span_us: int) -> dict[str, float]:
    installed: dict[str, int] = {}
    for pool in state.config.cluster.pools:
        installed[pool.accelerator] = installed.get(pool.accelerator, 0) + pool.nodes * pool.devices_per_node
    used = {name: sum(us for (kind, _), us in held.items() if kind == name) for name in installed}
    return {name: used[name] / (count * span_us) if count else 0.0 for name, count in sorted(installed.items())}


def _goodput(run: Measured, span_us: int) -> float:
    reference = run.state.config.catalog.get(REFERENCE)
    worth: dict[tuple[object, ...], float] = {}
    total = 0.0
    for job in run.state.jobs:
        account = run.accounts.get(job.number)
        if not job.attempts or account is None or reference is None:
            continue
        chosen = job.attempts[-1].allocation.chosen
        key = (chosen, job.spec.work)
        if key not in worth:
            worth[key] = _worth(run.state, job)
        total += worth[key] * max(0, account.progress_us - account.lost_us)
    return total / span_us


def _worth(state: State, job: JobRecord) -> float:
    """How many h20-96 the job's last allocation is worth to it; 0 where the table has no figure."""
    catalog = state.config.catalog
    reference = catalog.get(REFERENCE)
    total = 0.0
    for part in job.attempts[-1].allocation.chosen:
        accelerator = catalog.get(part.accelerator)
        if accelerator is None or reference is None:
            continue
        here = rate_of(job.spec.work, accelerator, part.count, catalog)
        single = rate_of(job.spec.work, reference, 1, catalog)
        if here is not None and single is not None and single.value > 0:
            total += here.value / single.value
    return total


def _fairness(run: Measured, finished: Sequence[JobRecord]) -> Fairness:
    ran = [job for job in run.state.jobs if job.attempts]
    if not ran:
        return Fairness()
    since = np.array([job.submitted_us for job in ran], dtype=np.int64)
    until = np.array([_end_us(job, run.end_us) for job in ran], dtype=np.int64)
    devices = np.array([sum(c.count for c in job.attempts[-1].allocation.chosen) for job in ran], dtype=np.int64)
    crowding = contention(since, until, devices, run.state.config.cluster.device_count())
    by_number = {job.number: float(crowding[i]) for i, job in enumerate(ran)}
    ratios = []
    for job in finished:
        account = run.accounts.get(job.number)
        if job.state is JobState.SUCCEEDED and account is not None and account.ideal_us > 0:
            jct_us = _end_us(job, run.end_us) - job.submitted_us
            ratios.append(jct_us / (account.ideal_us * by_number[job.number]))
    inverse = [1.0 / ratio for ratio in ratios if ratio > 0]
    return Fairness(jain(inverse), max(ratios, default=0.0))
