"""Rounds: policies that weigh jobs may be asked at fixed times only, so that nobody moves with every event."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from scheduler.engine.between import whole_due_us
from scheduler.engine.carried import CARRY
from scheduler.engine.snapshot import Snapshot
from scheduler.model.lifecycle import JobState
from scheduler.model.plan import Plan
from scheduler.model.policy import Policy
from scheduler.model.units import FOREVER_US, US_PER_S
from scheduler.policies import ALWAYS, DEALS, NONE, SEAT, WALKS, Choice, Problem

__all__ = ["is_turn", "next_turn_us", "round_us", "with_turn"]

SHARING_ROUND_US: Final = 360 * US_PER_S
"""Of policies that deal out shares of time, where no other is set: with every event they would move somebody."""

TURN: Final = "round"


def round_us(policy: Policy) -> int:
    """How long a round is; 0: the policy is asked after every event."""
    if policy.name in WALKS:
        return 0
    return policy.round_us or (SHARING_ROUND_US if policy.name in DEALS else 0)


def is_turn(snapshot: Snapshot, now_us: int) -> bool:
    """Whether the policy is to be asked: once in each round, rounds beginning at multiples of their length."""
    policy = snapshot.config.policy
    length_us = round_us(policy)
    if length_us == 0 or (policy.name in ALWAYS and policy.round_us == 0):
        return True
    last = next((value for name, value in snapshot.prices if name == CARRY + TURN), -1.0)
    return now_us // length_us != last


def with_turn(
    snapshot: Snapshot, problem: Problem, choice: Choice, awaited: Iterable[int], now_us: int
) -> Mapping[str, float]:
    """What the choice carries over, with the number of the round and the seats of those `awaited`.

    They were given what is not free yet: others have been told to leave for it, or they leave what they hold
    themselves. Without a seat the next cycle might change its mind, and somebody would have left for nothing.
    """
    if snapshot.config.policy.name in WALKS:
        return choice.carry
    kept = {name: value for name, value in choice.carry.items() if not name.startswith(SEAT)}
    for index in np.flatnonzero(np.isin(problem.number, sorted(awaited))).tolist():
        if choice.option[index] not in (NONE, problem.current[index]):
            kept[f"{SEAT}{problem.number[index]}"] = float(choice.option[index] - problem.ptr[index])
    length_us = round_us(snapshot.config.policy)
    return {**kept, TURN: float(now_us // length_us)} if length_us else kept


def next_turn_us(snapshot: Snapshot, plan: Plan, now_us: int) -> int:
    """When the next round begins, if then somebody might get what it waits for or shares; else FOREVER_US."""
    length_us = round_us(snapshot.config.policy)
    if not plan.whole and snapshot.columns.in_state(JobState.WAITING).size > len(plan.starts):
        return whole_due_us(snapshot)
    if length_us == 0:
        return FOREVER_US
    columns, shares = snapshot.columns, snapshot.config.policy.name in DEALS
    waiting = len(columns.in_state(JobState.WAITING)) - len(plan.starts)
    holding = len(columns.in_state(JobState.STARTING, JobState.RUNNING, JobState.STOPPING)) + len(plan.starts)
    idle = waiting <= 0 and not (shares and holding > 1)  # who shares takes turns on fast devices and slow ones
    if idle and is_turn(snapshot, now_us):
        return FOREVER_US
    return (now_us // length_us + 1) * length_us
