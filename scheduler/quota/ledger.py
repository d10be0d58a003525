"""The ledger: what each tenant and user holds, a sum over the live allocations and nothing else."""

from typing import Self

import numpy as np
from msgspec import Struct

from scheduler.model.allocations import Allocation, Chosen
from scheduler.quota.tree import TenantTree

__all__ = ["Ledger", "Shortage"]


class Shortage(Struct, frozen=True):
    """A limit in the way: at `tenant` (a name; with a user where the limit is on users), in the resource's unit."""

    tenant: str
    resource: str
    need: int
    have: int  # what is left below the limit
    limit: int
    user: str = ""

    @property
    def for_ever(self) -> bool:
        """True where the limit itself is too small, so that no release helps."""
        return self.need > self.limit


class Ledger:
    """Usage per tenant (children included) and resource, int64[tenants, resources], and devices per user."""

    def __init__(self, tree: TenantTree) -> None:
        self.tree = tree
        self.used = np.zeros_like(tree.limit)
        self.user_devices: dict[tuple[int, str], int] = {}

    def fork(self) -> Self:
        """An independent copy for hypotheses."""
        copy = type(self)(self.tree)
        copy.used = self.used.copy()
        copy.user_devices = dict(self.user_devices)
        return copy

    def add(self, tenant: int, user: str, allocation: Allocation, sign: int = 1) -> None:
        """Book an allocation (`sign` 1) or its release (-1) at the tenant and all above it."""
        for column, amount in self.tree.uses(allocation.chosen, allocation.charge):
            for level in self.tree.paths[tenant]:
                self.used[level, column] += sign * amount
        devices = sum(part.count for part in allocation.chosen)
        held = self.user_devices.get((tenant, user), 0) + sign * devices
        if held:
            self.user_devices[tenant, user] = held
        else:
            self.user_devices.pop((tenant, user), None)

    def shortages(self, tenant: int, user: str, chosen: tuple[Chosen, ...], charge: int) -> tuple[Shortage, ...]:
        """Every limit that the choice would exceed now, from the tenant upwards."""
        tree = self.tree
        found = []
        for level in tree.paths[tenant]:
            for column, amount in tree.uses(chosen, charge):
                limit = int(tree.limit[level, column])
                left = limit - int(self.used[level, column])
                if amount > left:
                    found.append(Shortage(tree.names[level], tree.resources[column], amount, max(left, 0), limit))
        devices = sum(part.count for part in chosen)
        limit = tree.user_limit[tenant]
        left = limit - self.user_devices.get((tenant, user), 0)
        if devices > left:
            found.append(Shortage(tree.names[tenant], "devices", devices, max(left, 0), limit, user))
        return tuple(found)
