"""The problem of the next cycle, asked questions: who comes first, and what one device more or less is worth."""

import math
from dataclasses import replace

import numpy as np
from msgspec import Struct

from scheduler.engine.problem import build, candidates
from scheduler.engine.ruled import apply_rules
from scheduler.engine.snapshot import Snapshot, take
from scheduler.engine.state import State
from scheduler.policies import NONE, POLICIES, Choice, Problem

__all__ = ["PriceInterval", "price_intervals", "queue_position", "worth_of"]


class PriceInterval(Struct, frozen=True, kw_only=True):
    """The shadow price of a row, in the policy's unit of utility per device: `low` with one device more, `high` with
    one device less, as found by solving again. `row` is `cell/accelerator`, or `tenant:resource` for a limit."""

    row: str
    price: float
    low: float
    high: float


def queue_position(state: State, number: int, now_us: int) -> tuple[int, int] | None:
    """The place of the waiting job `number` among all that wait, by the policy's order, from 1; and how many wait.

    None for a job that takes no part: suspended, before its time, behind a dependency or its array.
    """
    _, problem, choice = _solved(state, now_us)
    waiting = problem.current == NONE
    in_order = choice.order[waiting[choice.order]]
    place = np.flatnonzero(problem.number[in_order] == number)
    return (int(place[0]) + 1, len(in_order)) if len(place) else None


def price_intervals(state: State, number: int, now_us: int) -> tuple[PriceInterval, ...]:
    """For every row that an option of the job `number` uses; empty where the policy sets no prices."""
    snapshot, problem, choice = _solved(state, now_us)
    if not choice.prices:
        return ()
    rows = sorted({use for row in state.rows_of[number].rows for use, _ in row.uses})
    return tuple(_interval(snapshot, problem, choice, row) for row in rows)


def worth_of(state: State, number: int, now_us: int) -> list[tuple[float, float]]:
    """For each option row of the waiting job `number`, in their order: what the policy weighs it at, and the shadow
    prices of all that it takes. What is left of the one after the other is what the policy chooses by. Empty for a
    policy that weighs no options, and for a job that takes no part. An option that is not open is worth -inf."""
    _, problem, choice = _solved(state, now_us)
    place = np.flatnonzero(problem.number == number)
    if not len(choice.worth) or not len(place):
        return []
    span = range(int(problem.ptr[place[0]]), int(problem.ptr[place[0] + 1]))
    return [(float(choice.worth[option]), _paid(problem, choice, option)) for option in span]


def _paid(problem: Problem, choice: Choice, option: int) -> float:
    uses = range(int(problem.use_ptr[option]), int(problem.use_ptr[option + 1]))
    return sum(choice.prices.get(int(problem.use_row[use]), 0.0) * int(problem.use_amount[use]) for use in uses)


def _solved(state: State, now_us: int) -> tuple[Snapshot, Problem, Choice]:
    snapshot = take(state, now_us)
    who = candidates(snapshot, now_us)
    numbers = np.sort(np.concatenate((who.running, who.waiting)))
    problem = apply_rules(snapshot, build(snapshot, who, numbers, (), now_us), now_us).problem
    return snapshot, problem, POLICIES[snapshot.config.policy.name](problem)


def _interval(snapshot: Snapshot, problem: Problem, choice: Choice, row: int) -> PriceInterval:
    price = choice.prices.get(row, 0.0)
    found = [price]
    unit = snapshot.rows.unit(row)
    for change in (unit, -unit):
        available = problem.available.copy()
        available[row] = max(0, int(available[row]) + change)
        found.append(POLICIES[snapshot.config.policy.name](replace(problem, available=available)).prices.get(row, 0.0))
    finite = [value for value in found if math.isfinite(value)]
    return PriceInterval(
        row=snapshot.rows.name(row),
        price=price * unit,
        low=min(finite, default=price) * unit,
        high=max(finite, default=price) * unit,
    )
