"""When will each job start and end: the same engine on a copy of the live state, in virtual time and without faults."""

import math
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct, structs

from scheduler.engine.launch import start_command, stop_command
from scheduler.engine.records import Attempt, JobRecord
from scheduler.engine.state import State
from scheduler.model.allocations import Chosen
from scheduler.model.jobs import Job
from scheduler.model.lifecycle import JobState
from scheduler.model.units import US_PER_S
from scheduler.model.workload import Arrival, Truth
from scheduler.profiles import Rate
from scheduler.profiles.speeds import Speeds
from scheduler.simulator.driver import Driver, Halt, Refusal
from scheduler.simulator.estimates import Basis, History, estimate
from scheduler.simulator.execution import Overheads

__all__ = ["DEFAULT_HORIZON_US", "Budget", "Forecast", "JobForecast", "Pace", "forecast"]

DEFAULT_HORIZON_US = 30 * 86_400 * US_PER_S


class Pace(StrEnum):
    """How fast everything goes: as the rates say, or at the ends of their bands.

    A run time that nobody declared is, when fast, half of what is expected; when slow, the job's time limit, or twice
    what is expected where it has none. What a running job was seen to do is no guess and stays as it is.
    """

    FAST = "fast"
    EXPECTED = "expected"
    SLOW = "slow"


class Budget(Struct, frozen=True, kw_only=True):
    """How much a forecast may cost. `wall_s` is looked at between two instants of virtual time."""

    events: int = 500_000
    cycles: int = 50_000
    wall_s: float = 10.0


class JobForecast(Struct, frozen=True, kw_only=True):
    """One live or proposed job. Times are None where the forecast does not reach them.

    `start_us`: when the attempt that runs now, or else the last one, was or will be allocated; `next_start_us`: the
    first that is allocated from now on. `finish_low_us` and
    `finish_high_us`: the end if all progress were as fast, or as slow, as the band of the rate allows; the wait before
    it is left as it is. Equal to `finish_us` where `basis` is not declared work. `attempts`: those the job will have
    had. `chosen`: what the last of them holds, one per role.
    """

    job: int
    id: str
    name: str
    state: JobState
    basis: Basis
    start_us: int | None = None
    next_start_us: int | None = None
    finish_us: int | None = None
    finish_low_us: int | None = None
    finish_high_us: int | None = None
    cell: str = ""
    chosen: tuple[Chosen, ...] = ()
    attempts: int = 0
    rate: Rate | None = None


class Forecast(Struct, frozen=True, kw_only=True):
    """`jobs` by number; `extra` are the numbers of the proposed jobs, `refusals` those that would not be accepted.

    `makespan_us` is when the last job ends that ends at all. `complete` is False where something stopped the forecast,
    and `stopped` says what: `horizon`, `events`, `cycles`, `wall`, or `started`: the job in question has started.
    """

    now_us: int
    jobs: tuple[JobForecast, ...]
    extra: tuple[int, ...]
    refusals: tuple[Refusal, ...]
    makespan_us: int | None
    complete: bool
    stopped: str
    events: int
    cycles: int

    def of(self, job: int) -> JobForecast | None:
        """The forecast of a job by its number, or None where it was not live."""
        return next((found for found in self.jobs if found.job == job), None)


def forecast(
    state: State,
    now_us: int,
    extra: Sequence[Arrival | Job] = (),
    horizon_us: int = DEFAULT_HORIZON_US,
    *,
    overheads: Overheads | None = None,
    rate_factor: Mapping[str, float] | None = None,
    budget: Budget | None = None,
    pace: Pace = Pace.EXPECTED,
    until_started: int | None = None,
) -> Forecast:
    """Run the live jobs of `state`, and `extra` ones, to their ends. `state` is not touched.

    `extra` that are no arrivals arrive now. `rate_factor` corrects the rates per accelerator by what was observed; a
    running job's own observed rate goes before it. `horizon_us` is a span from `now_us`. `until_started` is the number
    of a live job: nothing is looked at past its next start.
    """
    copy = state.fork()
    driver = Driver(copy, overheads or Overheads())
    driver.now_us = now_us
    driver.past = History(copy.jobs)
    live = tuple(copy.active)
    before = {number: len(copy.jobs[number].attempts) for number in live}
    learned = {job.number: _learned(copy, job.spec, rate_factor or {}) for job in (copy.jobs[n] for n in live)}
    bases = {number: _introduce(driver, number, learned[number], pace) for number in live}
    for number in live:
        _adopt(driver, copy.jobs[number], now_us)
    watch = _Watch(driver, budget or Budget(), until_started)
    driver.expect(_arriving(item, now_us, _learned(copy, _job_of(item), rate_factor or {})) for item in extra)
    halt = driver.run(now_us + horizon_us, stop=watch.is_spent)
    proposed = tuple(number for number in driver.entries if number >= 0)
    stopped = "horizon" if halt is Halt.TIME else watch.stopped
    jobs = tuple(_told(driver, bases, number, before.get(number, 0)) for number in (*live, *proposed))
    return Forecast(
        now_us=now_us,
        jobs=jobs,
        extra=proposed,
        refusals=tuple(driver.tally.refusals),
        makespan_us=max((found.finish_us for found in jobs if found.finish_us is not None), default=None),
        complete=not stopped,
        stopped=stopped,
        events=driver.tally.events,
        cycles=driver.tally.cycles,
    )


class _Watch:
    """Stops a run whose budget is spent, or that has shown what was asked."""

    def __init__(self, driver: Driver, budget: Budget, until_started: int | None) -> None:
        self.stopped = ""
        self._asked = None if until_started is None else driver.state.jobs[until_started]
        self._begun = len(self._asked.attempts) if self._asked else 0
        self._driver = driver
        self._budget = budget
        self._deadline_s = time.monotonic() + budget.wall_s

    def is_spent(self) -> bool:
        tally = self._driver.tally
        if self._asked is not None and (len(self._asked.attempts) > self._begun or self._asked.terminal):
            self.stopped = "started"
        elif tally.events >= self._budget.events:
            self.stopped = "events"
        elif tally.cycles >= self._budget.cycles:
            self.stopped = "cycles"
        elif time.monotonic() >= self._deadline_s:
            self.stopped = "wall"
        return bool(self.stopped)


def _job_of(item: Arrival | Job) -> Job:
    return item.job if isinstance(item, Arrival) else item


def _learned(state: State, job: Job, factors: Mapping[str, float]) -> Mapping[str, float]:
    """`factors`, and what jobs of its kind have shown so far: the world goes by modelled rates times these."""
    shown = state.learned.of(job)
    return {**factors, **{name: factors.get(name, 1.0) * math.exp(c.mean) for name, c in shown.items()}}


def _arriving(item: Arrival | Job, now_us: int, factors: Mapping[str, float]) -> Arrival:
    if isinstance(item, Arrival):
        return structs.replace(item, at_us=max(item.at_us, now_us), truth=Truth(rate_factor=factors))
    return Arrival(at_us=now_us, job=item, truth=Truth(rate_factor=factors))


def _introduce(driver: Driver, number: int, factors: Mapping[str, float], pace: Pace) -> Basis:
    """Tell the world what the live job will need; what it has saved lies in the world's storage."""
    factors = _paced(driver.state, number, factors, pace)
    job = driver.state.jobs[number]
    attempt = job.attempt
    if job.spec.work.amount is not None:
        driver.world.stored[number] = job.done
    if attempt is not None and attempt.rate > 0:
        expected = _expected_rate(driver.state, job, attempt)
        observed = attempt.rate / expected if expected > 0 else 1.0
        factors = {**factors, **{part.accelerator: observed for part in attempt.allocation.chosen}}
    started_us = None if attempt is None else attempt.started_us
    ran_us = 0 if started_us is None else driver.now_us - started_us
    run_us = None if pace is Pace.EXPECTED else _run_us(driver, job, ran_us, pace)
    return driver.introduce(number, Truth(rate_factor=factors, run_us=run_us), ran_us)


def _paced(state: State, number: int, factors: Mapping[str, float], pace: Pace) -> Mapping[str, float]:
    """`factors`, with every accelerator that the job could take at an end of its band."""
    if pace is Pace.EXPECTED:
        return factors
    found = dict(factors)
    for row in state.rows_of[number].rows:
        rate, name = row.option.rate, row.option.chosen[0].accelerator
        found[name] = factors.get(name, 1.0) * (rate.high if pace is Pace.FAST else rate.low) / rate.value
    return found


def _run_us(driver: Driver, job: JobRecord, ran_us: int, pace: Pace) -> int | None:
    """How long the job runs where nobody has declared its work; None where work and rate tell, or it never ends."""
    rows = driver.state.rows_of[job.number].rows
    absolute = bool(rows) and rows[0].option.rate.absolute
    expected = estimate(job.spec, job.actor.user, absolute, driver.state.config.tenants, driver.past).run_us
    if expected is None:
        return None
    slow = max(expected, job.time_limit_us) if job.time_limit_us is not None else 2 * expected
    run_us = slow if pace is Pace.SLOW else max(1, expected // 2)
    return run_us if ran_us < run_us else 2 * ran_us


def _expected_rate(state: State, job: JobRecord, attempt: Attempt) -> float:
    tasks = start_command(state, job, attempt).tasks
    held = attempt.allocation
    return 1.0 / tasks[0].pace_s if tasks and tasks[0].pace_s > 0 else held.modelled or held.rate


def _adopt(driver: Driver, job: JobRecord, now_us: int) -> None:
    """Put the live attempt into the world as it is now."""
    attempt, world = job.attempt, driver.world
    if attempt is None:
        return
    command = start_command(driver.state, job, attempt)
    if attempt.started_us is None:
        due_us = attempt.allocated_us + world.overheads.start_us
        world.start(command, now_us, max(0, due_us - now_us) - world.overheads.start_us)
    elif attempt.done > attempt.done_at_start and job.spec.work.amount is not None:
        world.adopt(command, attempt.done, attempt.seq, attempt.last_progress_us, now_us)
    else:
        moves_us = attempt.started_us + world.restart_us(command)
        done = attempt.done_at_start if job.spec.work.amount is not None else 0.0
        world.adopt(command, done, attempt.seq, moves_us, now_us)
    if job.state is JobState.STOPPING and attempt.stop is not None:
        left_us = max(1, attempt.stop_deadline_us - now_us)
        world.stop(stop_command(job, attempt, attempt.stop, left_us), now_us)


def _told(driver: Driver, bases: Mapping[int, Basis], number: int, before: int) -> JobForecast:
    job = driver.state.jobs[number]
    found = JobForecast(
        job=number,
        id=job.id,
        name=job.spec.name,
        state=job.state,
        basis=bases.get(number) or driver.bases[number],
        attempts=len(job.attempts),
    )
    if not job.attempts:
        return found
    last = job.attempts[-1]
    rate = _band(driver.state, job, last)
    finish_us = job.ended_us
    low_us = high_us = finish_us
    if (
        finish_us is not None
        and rate is not None
        and found.basis is Basis.DECLARED_WORK
        and last.started_us is not None
    ):
        run_us = finish_us - last.started_us
        low_us = last.started_us + int(run_us * rate.value / rate.high)
        high_us = last.started_us + int(run_us * rate.value / rate.low)
    return structs.replace(
        found,
        start_us=last.allocated_us,
        next_start_us=job.attempts[before].allocated_us if len(job.attempts) > before else None,
        finish_us=finish_us,
        finish_low_us=low_us,
        finish_high_us=high_us,
        cell=last.cell,
        chosen=last.allocation.chosen,
        rate=rate,
    )


def _band(state: State, job: JobRecord, attempt: Attempt) -> Rate | None:
    """The rate that the table gives for what the attempt holds, with its band."""
    first = attempt.allocation.chosen[0]
    accelerator = state.config.catalog.get(first.accelerator)
    speeds = Speeds(job.spec, accelerator, (first.count,), state.config.catalog) if accelerator else None
    return speeds.rate(first.count) if speeds else None
