"""What running jobs have shown about rates, for the API and for Prometheus."""

import math
from collections.abc import Callable, Iterator, Mapping

from scheduler.engine.node_speeds import slow_nodes_of
from scheduler.engine.state import State
from scheduler.model.cluster import NodeState, Pool
from scheduler.profiles.observed import band_of
from scheduler.service.views import View

__all__ = ["observed_ratios", "rates_view", "slow_node_counts", "slow_node_rows"]


def rates_view(state: State, sees: Callable[[str], bool]) -> View:
    """Observed over modelled rate by kind of job and accelerator where it was seen, with its 90 % band; of the tenants
    that the caller sees."""
    rows = []
    for shown in state.learned.told():
        if not sees(shown.tenant):
            continue
        low, high = band_of(shown.correction)
        rows.append(
            {
                "tenant": shown.tenant,
                "class": shown.work_class.value,
                "model": shown.model,
                "accelerator": shown.accelerator,
                "ratio": math.exp(shown.correction.mean),
                "low": low,
                "high": high,
                "attempts": shown.correction.attempts,
                "bounds": shown.correction.bounds,
            }
        )
    return {"rates": rows, "slow_nodes": slow_node_rows(state)}


def slow_node_rows(state: State) -> list[View]:
    """Nodes on which jobs run slower than others of their kind do elsewhere."""
    fleet, cluster = state.fleet, state.config.cluster
    return [
        {
            "node": cluster.node_name(one.node),
            "cell": fleet.cells[fleet.cell[one.node]],
            "accelerator": fleet.accelerators[fleet.accelerator[one.node]],
            "state": str(state.room.state_of(one.node)),
            "ratio": one.ratio,
            "runs": one.runs,
            "peers": one.peers,
            "among": one.among,
        }
        for one in slow_nodes_of(state)
    ]


def slow_node_counts(state: State) -> Mapping[tuple[str, str], int]:
    """How many nodes in use are slow, by cell and accelerator that the fleet has; those set apart are known."""
    fleet = state.fleet
    shown = {(cell, pool.accelerator): 0 for cell, pool in _pools(state)}
    for one in slow_nodes_of(state):
        if state.room.state_of(one.node) in (NodeState.READY, NodeState.SUSPECT):
            shown[fleet.cells[fleet.cell[one.node]], fleet.accelerators[fleet.accelerator[one.node]]] += 1
    return shown


def _pools(state: State) -> Iterator[tuple[str, Pool]]:
    for cell in state.config.cluster.cells:
        for pool in cell.pools:
            yield cell.name, pool


def observed_ratios(state: State) -> Mapping[tuple[str, str], float]:
    """Geometric mean of observed over modelled rates by accelerator and class of work, kinds weighed by attempts."""
    sums: dict[tuple[str, str], tuple[float, int]] = {}
    for shown in state.learned.told():
        key, correction = (shown.accelerator, shown.work_class.value), shown.correction
        if correction.attempts:
            total, attempts = sums.get(key, (0.0, 0))
            sums[key] = total + correction.mean * correction.attempts, attempts + correction.attempts
    return {key: math.exp(total / attempts) for key, (total, attempts) in sums.items()}
