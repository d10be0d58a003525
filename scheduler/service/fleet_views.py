"""The fleet as plain values, and the gauges of one scrape."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.node_speeds import slow_nodes_of
from scheduler.engine.state import State
from scheduler.model.accelerators import Track
from scheduler.model.cluster import NodeState
from scheduler.model.lifecycle import JobState
from scheduler.model.tenants import COMPUTE_UNITS, MONEY
from scheduler.service.metrics import Gauges, count_jobs
from scheduler.service.rate_views import observed_ratios, slow_node_counts

__all__ = ["device_counts", "domestic_share", "fleet_view", "gauges"]

View = dict[str, Any]
MAX_NODES_SHOWN = 2_000
"""Nodes that one answer lists; of a larger fleet it lists those that are not plainly ready, or slow."""


def fleet_view(state: State) -> View:
    """Cells, pools and nodes with their devices by use: used, idle, foreign or unavailable."""
    uses = _node_uses(state)
    cluster = state.config.cluster
    return {
        "cluster": cluster.name,
        "emulated": any(pool.emulated for pool in cluster.pools),
        "cells": [
            {
                "name": cell.name,
                "executor": cell.executor,
                "site": cell.site,
                "entity": cell.entity,
                "reachable": bool(state.room.reachable[index]),
                "devices": sum(pool.nodes * pool.devices_per_node for pool in cell.pools),
            }
            for index, cell in enumerate(cluster.cells)
        ],
        "pools": _pools(state, uses),
        "nodes": _nodes(state, uses),
    }


def _node_uses(state: State) -> dict[str, NDArray[np.int64]]:
    """int64[nodes] for each use; the four sum to the devices of the node."""
    room, fleet = state.room, state.fleet
    total = np.bitwise_count(fleet.devices).astype(np.int64)
    free = np.bitwise_count(room.free).astype(np.int64)
    foreign = np.bitwise_count(room.foreign).astype(np.int64)
    usable = room.usable_at()
    return {
        "used": total - free - foreign,
        "idle": np.where(usable, free, 0),
        "foreign": foreign,
        "unavailable": np.where(usable, 0, free),
    }


def _pools(state: State, uses: Mapping[str, NDArray[np.int64]]) -> list[View]:
    found = []
    first = 0
    for cell in state.config.cluster.cells:
        for pool in cell.pools:
            span = slice(first, first + pool.nodes)
            first += pool.nodes
            states = (
                [str(state.room.state_of(node)) for node in range(span.start, span.stop)] if pool.nodes <= 64 else []
            )
            found.append(
                {
                    "name": pool.name,
                    "cell": cell.name,
                    "accelerator": pool.accelerator,
                    "track": _track(state, pool.accelerator, pool.track),
                    "emulated": pool.emulated,
                    "nodes": pool.nodes,
                    "devices_per_node": pool.devices_per_node,
                    "devices": pool.nodes * pool.devices_per_node,
                    **{use: int(column[span].sum()) for use, column in uses.items()},
                    "not_ready": sum(s != NodeState.READY for s in states) if states else _not_ready(state, span),
                    "labels": dict(pool.labels),
                    "lot": pool.lot,
                }
            )
    return found


def _not_ready(state: State, span: slice) -> int:
    return int((state.room.state[span] != 0).sum())


def _track(state: State, accelerator: str, override: Track | None) -> str:
    known = state.config.catalog.get(accelerator)
    return str(override or (known.track if known else ""))


def _nodes(state: State, uses: Mapping[str, NDArray[np.int64]]) -> list[View]:
    holders = _holders(state)
    count = len(state.fleet.pool)
    every = count <= MAX_NODES_SHOWN
    slow = {one.node: one.ratio for one in slow_nodes_of(state)}
    odd = sorted({*np.flatnonzero(state.room.state != 0).tolist(), *slow})
    shown = range(count) if every else odd[:MAX_NODES_SHOWN]
    cluster, fleet = state.config.cluster, state.fleet
    return [
        {
            "name": cluster.node_name(node),
            "cell": fleet.cells[fleet.cell[node]],
            "accelerator": fleet.accelerators[fleet.accelerator[node]],
            "emulated": fleet.pools[fleet.pool[node]].emulated,
            "state": str(state.room.state_of(node)),
            "devices": int(fleet.devices[node]).bit_count(),
            **{use: int(column[node]) for use, column in uses.items()},
            "jobs": holders.get(node, []),
            "speed": slow.get(node),  # of others of their kind, where jobs are slower here
        }
        for node in shown
    ]


def _holders(state: State) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for job in state.holding():
        if job.attempt is not None:
            for node in sorted({grant.node for grant in job.attempt.allocation.grants}):
                found.setdefault(node, []).append(job.id)
    return found


def device_counts(state: State) -> dict[tuple[str, str, str], int]:
    """Devices by cell, accelerator and use."""
    found: dict[tuple[str, str, str], int] = {}
    for pool in _pools(state, _node_uses(state)):
        for use in ("used", "idle", "foreign", "unavailable"):
            key = (pool["cell"], pool["accelerator"], use)
            found[key] = found.get(key, 0) + pool[use]
    return found


def domestic_share(state: State) -> float:
    """Domestic devices over all installed devices; 0 for an empty fleet."""
    total = state.config.cluster.device_count()
    domestic = sum(
        pool.nodes * pool.devices_per_node
        for pool in state.config.cluster.pools
        if _track(state, pool.accelerator, pool.track) == Track.DOMESTIC
    )
    return domestic / total if total else 0.0


def gauges(state: State) -> Gauges:
    """Everything that one scrape shows, counted once."""
    tree, ledger = state.tree, state.ledger
    quota: dict[tuple[str, str, str], float] = {}
    for number, tenant in enumerate(state.config.tenants.tenants, start=1):
        for row in tenant.quotas:
            column = tree.column_of(row.resource)
            if row.resource in (COMPUTE_UNITS, MONEY):
                continue  # not devices
            quota[tenant.name, row.resource, "nominal"] = row.nominal
            quota[tenant.name, row.resource, "used"] = (
                0 if column is None else tree.shown(column, int(ledger.used[number, column]))
            )
    reasons: dict[str, int] = {}
    for number in state.active:
        job = state.jobs[number]
        if job.state is JobState.WAITING and job.reason is not None:
            reasons[str(job.reason.code)] = reasons.get(str(job.reason.code), 0) + 1
    return Gauges(
        jobs=count_jobs(state.jobs),
        devices=device_counts(state),
        quota=quota,
        reasons=reasons,
        executors={cell: bool(state.room.reachable[i]) for i, cell in enumerate(state.fleet.cells)},
        domestic=domestic_share(state),
        rates=observed_ratios(state),
        slow_nodes=slow_node_counts(state),
    )
