"""When a job will start and end, with a band: the same forecast at the expected pace and at both ends of all bands."""

from msgspec import Struct

from scheduler.engine.state import State
from scheduler.simulator.estimates import Basis
from scheduler.simulator.forecast import Budget, Forecast, JobForecast, Pace, forecast

__all__ = ["Outlook", "outlook", "outlooks"]


class Outlook(Struct, frozen=True, kw_only=True):
    """Times in microseconds; None where no forecast within its budget reached them.

    `start_low_us` and `start_high_us` are the earliest and the latest start of the three forecasts; `start_high_us` is
    None where the slow one does not reach the start. The end's band adds that of the job's own run.
    """

    told: JobForecast
    start_us: int | None
    start_low_us: int | None
    start_high_us: int | None
    finish_us: int | None
    finish_low_us: int | None
    finish_high_us: int | None

    @property
    def basis(self) -> Basis:
        return self.told.basis


def outlook(state: State, number: int, now_us: int, budget: Budget | None = None) -> Outlook | None:
    """Of one live job. The fast and the slow forecast end with its start. `state` is not touched."""
    expected = forecast(state, now_us, budget=budget)
    edges = [forecast(state, now_us, budget=budget, pace=pace, until_started=number) for pace in (Pace.FAST, Pace.SLOW)]
    told = expected.of(number)
    return None if told is None else _joined(told, [edge.of(number) for edge in edges])


def outlooks(state: State, now_us: int, budget: Budget | None = None) -> dict[int, Outlook]:
    """Of every live job, by number: three forecasts in all."""
    expected, fast, slow = (
        forecast(state, now_us, budget=budget, pace=pace) for pace in (Pace.EXPECTED, Pace.FAST, Pace.SLOW)
    )
    edges = [_by_number(fast), _by_number(slow)]
    return {told.job: _joined(told, [edge.get(told.job) for edge in edges]) for told in expected.jobs}


def _by_number(found: Forecast) -> dict[int, JobForecast]:
    return {told.job: told for told in found.jobs}


def _start_us(told: JobForecast | None) -> int | None:
    """The next start; of a job that holds devices already, when it got them."""
    if told is None:
        return None
    return told.start_us if told.next_start_us is None else told.next_start_us


def _joined(told: JobForecast, edges: list[JobForecast | None]) -> Outlook:
    start_us = _start_us(told)
    fast_us, slow_us = (_start_us(edge) for edge in edges)
    low_us = min((time for time in (start_us, fast_us, slow_us) if time is not None), default=None)
    reached = [time for time in (start_us, fast_us, slow_us) if time is not None]
    high_us = max(reached) if slow_us is not None else None
    finish_low_us, finish_high_us = told.finish_low_us, told.finish_high_us
    if finish_low_us is not None and start_us is not None and low_us is not None:
        finish_low_us -= start_us - low_us
    if finish_high_us is not None and start_us is not None:
        finish_high_us = None if high_us is None else finish_high_us + high_us - start_us
    return Outlook(
        told=told,
        start_us=start_us,
        start_low_us=low_us,
        start_high_us=high_us,
        finish_us=told.finish_us,
        finish_low_us=finish_low_us,
        finish_high_us=finish_high_us,
    )
