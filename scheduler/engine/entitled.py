"""What quota is worth at this moment: the ledger's limits, brought up to date with what is in service."""

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.state import State
from scheduler.model.units import FOREVER_US
from scheduler.placement.room import Room
from scheduler.quota.tree import TenantTree, family_resource

__all__ = ["in_service", "refresh_limits"]


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


def refresh_limits(state: State, now_us: int) -> None:
    """Nothing is preempted by it: it decides what may start."""
    uses = state.accounts.budgets.used(now_us)
    spent = {key: use.period_ends_us for key, use in uses.items() if use.spent}
    state.ledger.serve(in_service(state.room, state.tree), spent)
    if uses:
        state.watch_budgets(min(spent.values(), default=FOREVER_US))
