"""Nodes that are slow by what jobs on them report. Nothing follows from it by itself: an operator cordons a node."""

import math
from collections.abc import Iterator

from scheduler.engine.records import Attempt
from scheduler.engine.state import State
from scheduler.model.units import US_PER_S
from scheduler.profiles.slow_nodes import NodeRun, SlowNode, slow_nodes

__all__ = ["slow_nodes_of"]


def slow_nodes_of(state: State) -> tuple[SlowNode, ...]:
    """By number of the node, from the attempts that rates are learned from. Services are left out: they tell of their
    first replica alone."""
    return slow_nodes(_alike(state))


def _alike(state: State) -> Iterator[list[NodeRun]]:
    """Runs of one kind of job on as many devices of one accelerator."""
    for _, told in state.learned.ratios():
        groups: dict[int, list[NodeRun]] = {}
        for number, n in sorted(told):
            job = state.jobs[number]
            if job.spec.service is None:
                attempt = next(one for one in job.attempts if one.n == n)
                held = attempt.allocation
                nodes = tuple(sorted({grant.node for grant in held.grants}))
                run = NodeRun(nodes, math.log(_sustained(attempt) / held.modelled), attempt.allocated_us)
                groups.setdefault(held.chosen[0].count, []).append(run)
        yield from groups.values()


def _sustained(attempt: Attempt) -> float:
    """The better of the latest rate and the average: a dip of a moment is none of the node, nor is a slow beginning."""
    began = attempt.allocated_us if attempt.started_us is None else attempt.started_us
    ran_s = (attempt.last_progress_us - began) / US_PER_S
    average = (attempt.done - attempt.done_at_start) / ran_s if ran_s > 0 else 0.0
    return max(attempt.rate, average)
