"""Replay a workload in virtual time: arrivals in, a report and the final state out."""

import hashlib
import time
from collections.abc import Callable

import msgspec
from msgspec import Struct, structs

from scheduler.engine.invariants import check
from scheduler.engine.state import State
from scheduler.model.events import Configured, EpochStarted, Event
from scheduler.model.units import FOREVER_US
from scheduler.model.workload import Workload
from scheduler.simulator.driver import Driver, Refusal
from scheduler.simulator.execution import Overheads
from scheduler.simulator.faults import Faults
from scheduler.simulator.faulty import FaultyDriver
from scheduler.simulator.figures import cycle_times, peak_rss_mib
from scheduler.simulator.report import Measured, SimulationReport, measure

__all__ = ["Digest", "SimulationResult", "reproducible", "simulate"]


class SimulationResult(Struct, kw_only=True):
    """`report` is what `simulate` prints; `state` is the last one; `digest` is empty unless one was asked for."""

    report: SimulationReport
    state: State
    refusals: tuple[Refusal, ...]
    digest: str = ""


class Digest:
    """SHA-256 over all events and their times, in order: equal runs have equal digests."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._encoder = msgspec.msgpack.Encoder()

    def __call__(self, event: Event, time_us: int) -> None:
        self._hash.update(self._encoder.encode((time_us, event)))

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def simulate(
    configured: Configured,
    workload: Workload,
    *,
    seed: int = 0,
    faults: Faults | None = None,
    until_us: int | None = None,
    check_invariants: bool = False,
    window: tuple[int, int] | None = None,
    overheads: Overheads | None = None,
    digest: bool = False,
    stop: Callable[[State], bool] | None = None,
) -> SimulationResult:
    """Run `workload` until nothing can happen any more, until `until_us` after its start, or until `stop` says so
    between two instants.

    A function of its arguments, but for `wall_s`, `cycle_ms` and `peak_rss_mib` of the report. Invariants are checked
    after every event where asked for: InvariantError. Jobs that are refused at submission are counted, not raised.
    """
    began = time.perf_counter()
    observers: list[Callable[[Event, int], None]] = []
    fingerprint = Digest()
    if digest:
        observers.append(fingerprint)
    state = State.new(configured)
    overheads = overheads or Overheads()
    begins_us = workload.start_us
    if faults is None:
        driver = Driver(state, overheads, start_us=begins_us)
    else:
        driver = FaultyDriver(state, overheads, faults, seed, start_us=begins_us)
    if check_invariants:
        observers.append(lambda _event, _time_us: check(driver.state))
    driver.observe = _all_of(observers)
    driver.feed(EpochStarted(1))
    driver.expect(structs.replace(arrival, at_us=begins_us + arrival.at_us) for arrival in workload.arrivals)
    last_us = FOREVER_US if until_us is None else begins_us + until_us
    _run(driver, last_us, stop)
    run = Measured(
        state=driver.state,
        accounts=driver.world.accounts,
        entries=driver.entries,
        end_us=driver.now_us if until_us is None else max(driver.now_us, last_us),
        events=driver.tally.events,
        cycles=driver.tally.cycles,
        gaps=driver.tally.gaps,
    )
    report = structs.replace(
        measure(run, window),
        cycle_ms=cycle_times(driver.tally.cycle_s),
        wall_s=time.perf_counter() - began,
        peak_rss_mib=peak_rss_mib(),
    )
    return SimulationResult(
        report=report,
        state=driver.state,
        refusals=tuple(driver.tally.refusals),
        digest=fingerprint.hexdigest() if digest else "",
    )


def reproducible(report: SimulationReport) -> SimulationReport:
    """The report without what differs from run to run."""
    unset = msgspec.UNSET
    return structs.replace(report, cycle_ms=unset, wall_s=unset, peak_rss_mib=unset)


def _run(driver: Driver, until_us: int, stop: Callable[[State], bool] | None) -> None:
    def over() -> bool:
        return stop is not None and stop(driver.state)

    if isinstance(driver, FaultyDriver):
        driver.run(min(until_us, driver.faults.until_us), over)
        if until_us <= driver.now_us:
            return
        driver.heal()
        driver.run(until_us, lambda: driver.is_over() or over())
    else:
        driver.run(until_us, over)


def _all_of(observers: list[Callable[[Event, int], None]]) -> Callable[[Event, int], None] | None:
    if len(observers) < 2:
        return observers[0] if observers else None

    def observe(event: Event, time_us: int) -> None:
        for observer in observers:
            observer(event, time_us)

    return observe
