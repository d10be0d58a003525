"""The tenant tree as arrays: parents, paths to the root, and what each tenant may hold of each resource, by class."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.model.accelerators import Catalog, Track
from scheduler.model.allocations import Chosen
from scheduler.model.tenants import COMPUTE_UNITS, MONEY, ROOT, JobClass, Quota, Shortfall, Tenants
from scheduler.model.units import WHOLE_DEVICE

__all__ = [
    "MOST_DEVICES", "TIERS", "TenantTree", "UNLIMITED", "family_resource", "tier_of", "track_resource",
]  # fmt: skip

UNLIMITED = 2**60
"""A limit that no sum of thousandths, of devices or of compute units, reaches."""

MOST_DEVICES: Final = 10**9
"""A quota of more devices than any fleet has means no more than this, so that sums over a tree stay within int64."""

TIERS: Final = tuple(JobClass)
"""A row of tier k counts the jobs of the classes up to the k-th: production; with standard; with opportunistic too."""

REMEMBERED_CHOICES = 4096
"""Jobs by the thousand take the same few choices, and each is asked about at every step of its life."""

REMEMBERED_PLACES = 32_768
"""Choices by who takes them: more than start in one cycle, so that each is worked out once between choice and start."""

Int = NDArray[np.int64]
Flag = NDArray[np.bool_]


def family_resource(family: str) -> str:
    return f"family:{family}"


def track_resource(track: Track) -> str:
    return f"track:{track.value}"


def tier_of(job_class: JobClass) -> int:
    return TIERS.index(job_class)


class TenantTree:
    """Tenants by index, the root first, parents before children. Arrays are [tenants, resources].

    What was promised is counted in devices, what is held and its limits in thousandths of them, for jobs may hold
    shares; `unit`, int64[resources], is the one over the other.

    Resources are the accelerators of the catalog, `family:<family>`, `track:<track>`, `compute_units` (in thousandths)
    and `money` (fen per hour of what is held, at the prices of its grant). `claimed` marks where a tenant has
    a nominal quota; `nominal` is that quota, or the sum of the children's. `borrowing` is how much may be held beyond
    it, `lending` how much of it others may hold; both UNLIMITED where nothing else is said and the tenant has no
    nominal quota of its own. `governed` marks the resources on which anybody has a nominal quota.

    `limits` is int64[3, tenants, resources] in thousandths, by tier: production within nominal; standard within nominal
    and what may be borrowed; everybody within the ceiling. `limit` is the lowest that binds a standard job. `refuses`
    marks accelerators on which a tenant's own production jobs have no place: others have a nominal quota there, and
    nobody from the tenant up to the root has. What tenants below it were promised is theirs. `user_limit` is what one
    user's jobs may hold in a tenant and all below it; `user_levels` are those on a tenant's path that have one.
    """

    def __init__(self, tenants: Tenants, catalog: Catalog) -> None:
        self.names: tuple[str, ...] = (ROOT, *(t.name for t in tenants.tenants))
        self.index: Mapping[str, int] = {name: i for i, name in enumerate(self.names)}
        self.parent: tuple[int, ...] = (-1, *(self.index[t.parent] for t in tenants.tenants))
        self.paths: tuple[tuple[int, ...], ...] = tuple(self._path(i) for i in range(len(self.names)))
        self.children: tuple[tuple[int, ...], ...] = self._children()
        self.rank: tuple[int, ...] = (0, *(t.rank for t in tenants.tenants))
        self.weight: tuple[float, ...] = (1.0, *(t.weight for t in tenants.tenants))
        self.shortfall: Shortfall = tenants.shortfall
        families = tuple(family_resource(f) for f in catalog.families)
        tracks = tuple(track_resource(t) for t in Track)
        self.resources: tuple[str, ...] = (*catalog.names, *families, *tracks, COMPUTE_UNITS, MONEY)
        self.resource_index: Mapping[str, int] = {name: i for i, name in enumerate(self.resources)}
        self.device_columns = len(catalog.names) + len(families)
        self.unit: Int = np.ones(len(self.resources), dtype=np.int64)
        self.unit[: self.device_columns + len(tracks)] = WHOLE_DEVICE
        self._columns = {a.name: self._columns_of(a.name, a.family, a.track) for a in catalog}
        self.family_of: tuple[int, ...] = tuple(self._columns[name][1] for name in catalog.names)
        shape = (len(self.names), len(self.resources))
        self.claimed: Flag = np.zeros(shape, dtype=np.bool_)
        self.nominal: Int = np.zeros(shape, dtype=np.int64)
        self.borrowing: Int = np.full(shape, UNLIMITED, dtype=np.int64)
        self.lending: Int = np.full(shape, UNLIMITED, dtype=np.int64)
        self.ceiling: Int = np.full(shape, UNLIMITED, dtype=np.int64)
        self.budgets: dict[tuple[int, int], tuple[int, int]] = {}  # (tenant, column) -> (amount, period in us)
        for i, tenant in enumerate(tenants.tenants, start=1):
            for quota in tenant.quotas:
                self._enter(i, quota)
        self._sum_up()
        self.governed: Flag = np.logical_or.reduce(self.claimed, axis=0)
        self.lends_all = not (self.claimed & (self.lending < self.nominal)).any()
        self.limits: Int = self.limits_at(self.nominal)
        self.refuses: Flag = self._refusing()
        self.limited: Flag = self.limits < UNLIMITED  # where a row is needed
        self.limited[0] |= self.refuses
        for tenant_column in self.budgets:
            self.limited[(2, *tenant_column)] = True
        self.counts_money = bool(self.limited[:, :, self.resource_index[MONEY]].any())
        self._fen: Mapping[str, int] = {}
        self._idle_part = 1.0
        self.limit: Int = np.minimum(self.limits[1], self.limits[2])
        self._uses: dict[tuple[tuple[Chosen, ...], int, int], tuple[tuple[int, int], ...]] = {}
        self._places: dict[tuple[int, int, tuple[Chosen, ...], int, int], tuple[Int, Int]] = {}
        self._levels: dict[tuple[int, int], Int] = {}
        self._amounts: dict[tuple[int, tuple[Chosen, ...], int, int], tuple[Int, Int]] = {}
        self.user_limit: tuple[int, ...] = (
            UNLIMITED,
            *(
                UNLIMITED if t.per_user.max_devices is None else _most(t.per_user.max_devices) * WHOLE_DEVICE
                for t in tenants.tenants
            ),
        )
        self.user_levels: tuple[tuple[int, ...], ...] = tuple(
            tuple(level for level in path if self.user_limit[level] < UNLIMITED) for path in self.paths
        )

    def _path(self, tenant: int) -> tuple[int, ...]:
        path = [tenant]
        while (parent := self.parent[path[-1]]) >= 0:
            path.append(parent)
        return tuple(path)

    def _children(self) -> tuple[tuple[int, ...], ...]:
        found: list[list[int]] = [[] for _ in self.names]
        for tenant, parent in enumerate(self.parent):
            if parent >= 0:
                found[parent].append(tenant)
        return tuple(tuple(below) for below in found)

    def _columns_of(self, name: str, family: str, track: Track) -> tuple[int, int, int]:
        index = self.resource_index
        return index[name], index[family_resource(family)], index[track_resource(track)]

    def column_of(self, resource: str) -> int | None:
        """The resource's column; a family may be named without its prefix. None for what this fleet does not have."""
        return self.resource_index.get(resource, self.resource_index.get(family_resource(resource)))

    def _enter(self, tenant: int, quota: Quota) -> None:
        column = self.column_of(quota.resource)
        if column is None:
            return  # resources of other fleets are kept, and do not limit devices here
        at = tenant, column
        if column < self.device_columns and _claims(quota):
            known = bool(self.claimed[at])
            self.claimed[at] = True
            self.nominal[at] = min(_most(quota.nominal), self.nominal[at]) if known else _most(quota.nominal)
            self.borrowing[at] = _most(quota.borrowing_limit or 0)
            self.lending[at] = UNLIMITED if quota.lending_limit is None else quota.lending_limit
        if quota.ceiling is not None:
            ceiling = quota.ceiling if self.unit[column] == 1 else _most(quota.ceiling)
            self.ceiling[at] = min(self.ceiling[at], ceiling)
        if quota.budget is not None:
            self.budgets[at] = quota.budget, quota.budget_period_us

    def _sum_up(self) -> None:
        """A tenant without a nominal quota of its own passes on what its children have together."""
        for tenant in range(len(self.names) - 1, 0, -1):
            above = self.parent[tenant]
            passed = ~self.claimed[above]
            self.nominal[above, passed] += self.nominal[tenant, passed]

    def limits_at(self, entitled: Int) -> Int:
        """int64[3, tenants, resources] where nominal quota is worth `entitled` at present.

        What a standard job may hold is counted from nominal: what it holds beyond `entitled` is borrowed.
        """
        found = np.full((len(TIERS), *self.nominal.shape), UNLIMITED, dtype=np.int64)
        found[0][self.claimed] = entitled[self.claimed]
        found[1] = np.where(self.claimed, np.minimum(self.nominal + self.borrowing, UNLIMITED), UNLIMITED)
        found[2] = self.ceiling
        return np.where(found < UNLIMITED, found * self.unit, UNLIMITED)

    def shown(self, column: int, amount: int) -> float:
        """An amount of a resource that is held, in devices (whole where it is whole), CNY per hour, or its own unit."""
        unit = int(self.unit[column]) if column != self.resource_index[MONEY] else 100
        return amount // unit if amount % unit == 0 else amount / unit

    def keep_promises(self, entitled: Int) -> None:
        """From now on `limits` say what could ever be held when the whole fleet is in service, worth `entitled`."""
        self.limits = self.limits_at(entitled)

    def _refusing(self) -> Flag:
        """bool[tenants, resources]"""
        accelerators = np.arange(len(self.family_of))
        families = np.array(self.family_of, dtype=np.int64)
        on_path = self.claimed.copy()
        for tenant in range(1, len(self.names)):
            on_path[tenant] |= on_path[self.parent[tenant]]
        either = on_path[:, accelerators] | on_path[:, families]
        found = np.zeros_like(self.claimed)
        found[:, accelerators] = ~either & (self.governed[accelerators] | self.governed[families])
        found[0] = False  # the root has what nobody was promised
        return found

    def price(self, fen: Mapping[str, int], idle_part: float) -> bool:
        """Put prices of a device-hour in force, by accelerator, of which opportunistic jobs pay `idle_part`; True where
        they are others than before. What is held already keeps its own."""
        changed = (fen, idle_part) != (self._fen, self._idle_part)
        self._fen, self._idle_part = fen, idle_part
        return changed

    def fen_per_hour(self, chosen: tuple[Chosen, ...], job_class: JobClass) -> int:
        """What a choice would cost at the prices in force; 0 where nothing limits money."""
        if not self.counts_money:
            return 0
        whole = sum(part.amount * self._fen.get(part.accelerator, 0) for part in chosen) // WHOLE_DEVICE
        return round(whole * self._idle_part) if job_class is JobClass.OPPORTUNISTIC else whole

    def uses(self, chosen: tuple[Chosen, ...], charge: int, fen: int = 0) -> tuple[tuple[int, int], ...]:
        """What a choice takes from each resource: (column, amount), every column once, ascending. `fen` per hour."""
        key = (chosen, charge, fen)
        found = self._uses.get(key)
        if found is None:
            if len(self._uses) >= REMEMBERED_CHOICES:
                self._uses.clear()
            found = self._uses[key] = self._sum_uses(chosen, charge, fen)
        return found

    def places(self, tenant: int, tier: int, chosen: tuple[Chosen, ...], charge: int, fen: int = 0) -> tuple[Int, Int]:
        """int64[tiers, levels and resources]: where the choice counts in an array [3, tenants, resources] laid flat,
        for the classes from `tier` on; and as many amounts."""
        key = (tenant, tier, chosen, charge, fen)
        found = self._places.get(key)
        if found is None:  # a start is looked at some five times between its choice and its end
            levels = self._levels.get((tenant, tier))
            if levels is None:
                rows = np.arange(tier, len(TIERS))[:, None] * len(self.names) + np.array(self.paths[tenant])
                levels = self._levels[tenant, tier] = rows.reshape(-1, 1) * len(self.resources)
            columns, amounts = self._amounts_on(len(levels), chosen, charge, fen)
            if len(self._places) >= REMEMBERED_PLACES:
                self._places.clear()
            found = self._places[key] = (levels + columns).reshape(-1), amounts
        return found

    def _amounts_on(self, levels: int, chosen: tuple[Chosen, ...], charge: int, fen: int) -> tuple[Int, Int]:
        """int64[resources]: the columns of a choice; int64[levels and resources]: what it takes, for each level."""
        key = (levels, chosen, charge, fen)
        found = self._amounts.get(key)
        if found is None:
            if len(self._amounts) >= REMEMBERED_CHOICES:
                self._amounts.clear()
            pairs = np.array(self.uses(chosen, charge, fen), dtype=np.int64)
            found = self._amounts[key] = pairs[:, 0].copy(), np.tile(pairs[:, 1], levels)
        return found

    def _sum_uses(self, chosen: tuple[Chosen, ...], charge: int, fen: int) -> tuple[tuple[int, int], ...]:
        amounts: dict[int, int] = {self.resource_index[COMPUTE_UNITS]: charge}
        if fen and self.counts_money:
            amounts[self.resource_index[MONEY]] = fen
        for part in chosen:
            for column in self._columns[part.accelerator]:
                amounts[column] = amounts.get(column, 0) + part.amount
        return tuple(sorted(amounts.items()))


def _most(devices: int) -> int:
    return min(devices, MOST_DEVICES)


def _claims(quota: Quota) -> bool:
    """A bare ceiling or budget promises nothing and takes nothing away."""
    unset = quota.nominal == 0 and quota.borrowing_limit is None and quota.lending_limit is None
    return not (unset and (quota.ceiling is not None or quota.budget is not None))
