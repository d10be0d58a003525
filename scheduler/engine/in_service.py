"""How many devices are there for quota to be worth something."""

import numpy as np
from numpy.typing import NDArray

from scheduler.placement.room import Room
from scheduler.quota.tree import TenantTree, family_resource

__all__ = ["in_service"]


def in_service(room: Room, tree: TenantTree) -> NDArray[np.int64]:
    """int64[resources]: devices on nodes that could take a job, held or idle, without those that others use."""
    fleet = room.fleet
    ours = np.bitwise_count(np.where(room.usable_at(), fleet.devices & ~room.foreign, 0))
    found = np.zeros(len(tree.resources), dtype=np.int64)
    names = fleet.accelerators
    found[: len(names)] = np.bincount(fleet.accelerator, weights=ours, minlength=len(names))
    for column, accelerator in enumerate(fleet.catalog):
        found[tree.resource_index[family_resource(accelerator.family)]] += found[column]
    return found
