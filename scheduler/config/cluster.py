"""Cluster files: cells of run-length pools, what sets single nodes apart, and what others use."""

from pathlib import Path
from typing import Final

from msgspec import structs

from scheduler.config.cursor import Cursor, nearest
from scheduler.config.document import from_values, open_one
from scheduler.config.limits import MAX_CELLS, MAX_DEVICES, MAX_NODES_PER_POOL, MAX_POOLS
from scheduler.config.values import cpu_milli, labels, memory_mib, name
from scheduler.model.accelerators import Accelerator, Catalog, Track
from scheduler.model.cluster import (
    MAX_DEVICES_PER_NODE,
    Cell,
    Cluster,
    Emulation,
    Foreign,
    NodeChange,
    NodeState,
    Pool,
)

__all__ = ["cluster_of", "decode_cluster", "driven", "known_accelerator", "load_cluster"]

EXECUTORS: Final = ("ray", "local", "fake")
MAX_OVERRIDES: Final = 100_000


def load_cluster(path: str | Path, catalog: Catalog | None = None) -> Cluster:
    """With a catalog, unknown accelerators are refused, and `devices_per_node` may be left out."""
    return cluster_of(open_one(path, "cluster"), catalog)


def decode_cluster(values: object, source: str, catalog: Catalog | None = None) -> Cluster:
    return cluster_of(from_values(values, source, "cluster"), catalog)


def known_accelerator(cursor: Cursor, catalog: Catalog | None) -> str:
    """The name of an accelerator, which the catalog, if there is one, must hold."""
    text = name(cursor, "accelerator")
    if catalog is not None and catalog.get(text) is None:
        raise cursor.wrong(f"unknown accelerator `{text}`", nearest(text, catalog.names))
    return text


def cluster_of(cursor: Cursor, catalog: Catalog | None) -> Cluster:
    fields = cursor.fields("schema", "kind", "name", "emulation", "cells", "nodes", "foreign")
    emulation = fields.get("emulation")
    cells = _cells(fields["cells"], catalog)
    whole = Cluster(
        name=name(fields["name"]),
        cells=cells,
        emulation=_emulation(emulation) if emulation else Emulation(),
    )
    if whole.device_count() > MAX_DEVICES:
        raise fields["cells"].wrong(f"holds {whole.device_count():,} devices, more than {MAX_DEVICES:,}")
    changes, foreign = fields.get("nodes"), fields.get("foreign")
    return Cluster(
        name=whole.name,
        cells=cells,
        emulation=whole.emulation,
        changes=_changes(changes, whole) if changes else (),
        foreign=_foreign(foreign, whole) if foreign else (),
    )


def _emulation(cursor: Cursor) -> Emulation:
    fields = cursor.fields("speedup", "memory_scale")
    speedup, scale = fields.get("speedup"), fields.get("memory_scale")
    return Emulation(
        speedup=speedup.number(0, 1e18, above=True) if speedup else 1.0,
        memory_scale=scale.number(0, 1, above=True) if scale else 1.0,
    )


def _cells(cursor: Cursor, catalog: Catalog | None) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    pools: set[str] = set()
    for item in cursor.items(MAX_CELLS, least=1):
        cell = _cell(item, catalog, pools)
        if any(cell.name == other.name for other in cells):
            raise item.wrong(f"two cells are called `{cell.name}`", "rename one")
        cells.append(cell)
    return tuple(cells)


def _cell(cursor: Cursor, catalog: Catalog | None, taken: set[str]) -> Cell:
    fields = cursor.fields("name", "executor", "site", "entity", "pools")
    executor, site, entity = fields.get("executor"), fields.get("site"), fields.get("entity")
    pools: list[Pool] = []
    for item in fields["pools"].items(MAX_POOLS, least=1):
        pool = _pool(item, catalog)
        if pool.name in taken:
            raise item.wrong(f"two pools are called `{pool.name}`", "nodes are named after their pool: rename one")
        taken.add(pool.name)
        pools.append(pool)
    made = Cell(
        name=name(fields["name"]),
        site=name(site, "site") if site else "",
        entity=name(entity, "entity") if entity else "",
        pools=tuple(pools),
    )
    return driven(made, executor.choice(*EXECUTORS) if executor else "local")


def driven(cell: Cell, executor: str) -> Cell:
    """The cell under this executor. What a fake one drives is emulated: it goes at the catalog's rates, and what it
    reports teaches nothing about hardware."""
    pools = cell.pools
    if executor == "fake":
        pools = tuple(structs.replace(pool, emulated=True) for pool in pools)
    return structs.replace(cell, executor=executor, pools=pools)


def _pool(cursor: Cursor, catalog: Catalog | None) -> Pool:
    fields = cursor.fields(
        "name", "accelerator", "nodes", "devices_per_node", "cpus", "memory_gib", "domain_nodes", "labels", "track",
        "lot", "shareable", "emulated", "spare_nodes",
    )  # fmt: skip
    accelerator = known_accelerator(fields["accelerator"], catalog)
    entry = catalog.get(accelerator) if catalog else None
    own, track, lot = fields.get("name"), fields.get("track"), fields.get("lot")
    domain, marked = fields.get("domain_nodes"), fields.get("labels")
    shareable, emulated = fields.get("shareable"), fields.get("emulated")
    spare = fields.get("spare_nodes")
    domain_nodes = domain.integer(1, MAX_NODES_PER_POOL) if domain else 1
    if spare and shareable and shareable.boolean():
        raise spare.wrong("a pool whose devices are shared keeps no nodes", "remove one of the two")
    return Pool(
        name=name(own) if own else accelerator,
        accelerator=accelerator,
        nodes=fields["nodes"].integer(1, MAX_NODES_PER_POOL),
        devices_per_node=_devices(fields.get("devices_per_node"), entry, cursor),
        cpu_milli=cpu_milli(fields["cpus"]),
        memory_mib=memory_mib(fields["memory_gib"]),
        domain_nodes=domain_nodes,
        labels=labels(marked) if marked else {},
        track=track.enum(Track) if track else None,
        lot=name(lot, "lot") if lot else "",
        shareable=shareable.boolean() if shareable else False,
        emulated=emulated.boolean() if emulated else False,
        spare_nodes=spare.integer(0, domain_nodes - 1) if spare else 0,
    )


def _devices(cursor: Cursor | None, entry: Accelerator | None, pool: Cursor) -> int:
    if cursor is not None:
        return cursor.integer(1, MAX_DEVICES_PER_NODE)
    if entry is None:
        raise pool.wrong("the field `devices_per_node` is missing")
    return entry.devices_per_node


def _node(cursor: Cursor, cluster: Cluster) -> tuple[str, Pool]:
    text = cursor.text(128)
    index = cluster.node_index(text)
    if index is None:
        stems = [f"{pool.name}-0" for pool in cluster.pools]
        raise cursor.wrong(f"no node is called `{text[:80]}`", nearest(text, stems))
    first = 0
    for pool in cluster.pools:
        if index < first + pool.nodes:
            return text, pool
        first += pool.nodes
    raise cursor.wrong(f"no node is called `{text[:80]}`")


def _changes(cursor: Cursor, cluster: Cluster) -> tuple[NodeChange, ...]:
    made: dict[str, NodeChange] = {}
    for item in cursor.items(MAX_OVERRIDES):
        fields = item.fields("node", "state", "labels")
        node, _ = _node(fields["node"], cluster)
        if node in made:
            raise item.wrong(f"node `{node}` is listed twice", "join the two entries")
        state, marked = fields.get("state"), fields.get("labels")
        made[node] = NodeChange(
            node=node,
            state=state.enum(NodeState) if state else NodeState.READY,
            labels=labels(marked) if marked else {},
        )
    return tuple(made.values())


def _foreign(cursor: Cursor, cluster: Cluster) -> tuple[Foreign, ...]:
    made: list[Foreign] = []
    used: dict[str, int] = {}
    for item in cursor.items(MAX_OVERRIDES):
        fields = item.fields("node", "devices", "cpus", "memory_gib", "owner")
        node, pool = _node(fields["node"], cluster)
        devices = fields["devices"].integer(0, MAX_DEVICES_PER_NODE)
        used[node] = used.get(node, 0) + devices
        if used[node] > pool.devices_per_node:
            problem = f"{used[node]} devices of `{node}` are in foreign use, which has {pool.devices_per_node}"
            raise fields["devices"].wrong(problem)
        cpus, memory, owner = fields.get("cpus"), fields.get("memory_gib"), fields.get("owner")
        made.append(
            Foreign(
                node=node,
                devices=devices,
                cpu_milli=cpu_milli(cpus) if cpus else 0,
                memory_mib=memory_mib(memory) if memory else 0,
                owner=owner.line_of_text(128) if owner else "",
            )
        )
    return tuple(made)
