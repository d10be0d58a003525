"""The tenant tree as arrays: parents, paths to the root, and one limit per tenant and resource."""

from collections.abc import Mapping

import numpy as np

from scheduler.model.accelerators import Catalog, Track
from scheduler.model.allocations import Chosen
from scheduler.model.tenants import ROOT, Quota, Tenants

__all__ = ["COMPUTE_UNITS", "TenantTree", "UNLIMITED", "family_resource", "track_resource"]

UNLIMITED = 2**60
"""A limit that no sum of devices or thousandths of compute units reaches."""

COMPUTE_UNITS = "compute_units"

REMEMBERED_CHOICES = 4096
"""Jobs by the thousand take the same few choices, and each is asked about at every step of its life."""


def family_resource(family: str) -> str:
    return f"family:{family}"


def track_resource(track: Track) -> str:
    return f"track:{track.value}"


class TenantTree:
    """Tenants by index, the root first, parents before children.

    `limit` is int64[tenants, resources] in devices, or thousandths of compute units in the last column. Resources are
    the accelerators of the catalog, `family:<family>`, `track:<track>` and `compute_units`. A tenant without a quota on
    a resource is limited by its parents only.
    """

    def __init__(self, tenants: Tenants, catalog: Catalog) -> None:
        self.names: tuple[str, ...] = (ROOT, *(t.name for t in tenants.tenants))
        self.index: Mapping[str, int] = {name: i for i, name in enumerate(self.names)}
        self.parent: tuple[int, ...] = (-1, *(self.index[t.parent] for t in tenants.tenants))
        self.paths: tuple[tuple[int, ...], ...] = tuple(self._path(i) for i in range(len(self.names)))
        families = tuple(family_resource(f) for f in catalog.families)
        tracks = tuple(track_resource(t) for t in Track)
        self.resources: tuple[str, ...] = (*catalog.names, *families, *tracks, COMPUTE_UNITS)
        self.resource_index: Mapping[str, int] = {name: i for i, name in enumerate(self.resources)}
        self._columns = {a.name: self._columns_of(a.name, a.family, a.track) for a in catalog}
        self.limit = np.full((len(self.names), len(self.resources)), UNLIMITED, dtype=np.int64)
        for i, tenant in enumerate(tenants.tenants, start=1):
            for quota in tenant.quotas:
                self._set_limit(i, quota)
        self._uses: dict[tuple[tuple[Chosen, ...], int], tuple[tuple[int, int], ...]] = {}
        self.user_limit: tuple[int, ...] = (
            UNLIMITED,
            *(UNLIMITED if t.per_user.max_devices is None else t.per_user.max_devices for t in tenants.tenants),
        )

    def _path(self, tenant: int) -> tuple[int, ...]:
        path = [tenant]
        while (parent := self.parent[path[-1]]) >= 0:
            path.append(parent)
        return tuple(path)

    def _columns_of(self, name: str, family: str, track: Track) -> tuple[int, int, int]:
        index = self.resource_index
        return index[name], index[family_resource(family)], index[track_resource(track)]

    def _set_limit(self, tenant: int, quota: Quota) -> None:
        column = self.resource_index.get(quota.resource)
        if column is None:
            column = self.resource_index.get(family_resource(quota.resource))
        if column is None:
            return  # money and resources of other fleets are kept, and do not limit devices here
        limit = quota.nominal
        if quota.resource.startswith("track:") or quota.resource == COMPUTE_UNITS:
            limit = UNLIMITED
        if quota.ceiling is not None:
            limit = min(limit, quota.ceiling)
        self.limit[tenant, column] = min(self.limit[tenant, column], limit)

    def uses(self, chosen: tuple[Chosen, ...], charge: int) -> tuple[tuple[int, int], ...]:
        """What a choice takes from each resource: (column, amount), every column once, ascending."""
        key = (chosen, charge)
        found = self._uses.get(key)
        if found is None:
            if len(self._uses) >= REMEMBERED_CHOICES:
                self._uses.clear()
            found = self._uses[key] = self._sum_uses(chosen, charge)
        return found

    def _sum_uses(self, chosen: tuple[Chosen, ...], charge: int) -> tuple[tuple[int, int], ...]:
        amounts: dict[int, int] = {self.resource_index[COMPUTE_UNITS]: charge}
        for part in chosen:
            for column in self._columns[part.accelerator]:
                amounts[column] = amounts.get(column, 0) + part.count
        return tuple(sorted(amounts.items()))
