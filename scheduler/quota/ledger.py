"""The ledger: what each tenant and user holds, a sum over the live allocations and nothing else."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.model.allocations import Allocation, Chosen
from scheduler.model.tenants import JobClass
from scheduler.model.units import WHOLE_DEVICE
from scheduler.quota.budgets import BudgetUse
from scheduler.quota.entitlement import entitlements
from scheduler.quota.tree import TIERS, UNLIMITED, TenantTree, tier_of

__all__ = ["Ledger", "Shortage"]

Int = NDArray[np.int64]
PRODUCTION, STANDARD = tier_of(JobClass.PRODUCTION), tier_of(JobClass.STANDARD)


class Shortage(Struct, frozen=True):
    """A limit in the way: at `tenant` (a name; with a user where the limit is on users), in the resource's unit."""

    tenant: str
    resource: str
    need: int
    have: int  # what is left below the limit
    limit: int
    user: str = ""
    tier: JobClass = JobClass.STANDARD  # whose limit it is: production's, standard jobs', or the ceiling of all
    budget: BudgetUse | None = None  # that is spent, and so stands in the way until its period ends
    used: int = 0  # of the limit, at present

    @property
    def for_ever(self) -> bool:
        """True where the limit itself is too small, so that no release helps."""
        return self.need > self.limit


class Ledger:
    """Usage per tenant (children included) and resource, by class, and devices per user where users have a limit.

    `held` is int64[3, tenants, resources], in thousandths as `limits` are: by production jobs; with standard ones; by
    all. `entitled` is what nominal quota is worth at present, in devices, and `limits` (as in TenantTree) follow from
    it.
    """

    def __init__(self, tree: TenantTree) -> None:
        self.tree = tree
        self.held: Int = np.zeros((len(TIERS), *tree.limit.shape), dtype=np.int64)
        self.user_devices: dict[tuple[int, str], int] = {}  # in thousandths
        self.in_service: Int | None = None
        self.entitled: Int = tree.nominal
        self.limits: Int = tree.limits
        self.spent: dict[tuple[int, int], BudgetUse] = {}
        self._kept: Int = np.zeros_like(tree.limit)
        self._drawn: Int = np.zeros_like(tree.limit)
        self._count_lending()

    @property
    def used(self) -> Int:
        """int64[tenants, resources]: by all classes."""
        everybody: Int = self.held[-1]
        return everybody

    def fork(self) -> Self:
        """An independent copy for hypotheses."""
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.held = self.held.copy()
        copy.user_devices = dict(self.user_devices)
        if not self.tree.lends_all:
            copy._drawn = self._drawn.copy()
        return copy

    def serve(self, in_service: Int, spent: Mapping[tuple[int, int], BudgetUse] | None = None) -> None:
        """Bring limits up to date: `in_service` devices per resource, and by (tenant, column) each budget that is
        spent: until its period ends nothing starts below it."""
        if self.in_service is None or not np.array_equal(in_service, self.in_service):
            self.in_service = in_service.copy()
            self.entitled = entitlements(self.tree, in_service)
            self.limits = self.tree.limits_at(self.entitled)
            self._count_lending()
        elif self.spent:
            self.limits = self.tree.limits_at(self.entitled)
        self.spent = dict(spent or {})
        for tenant, column in self.spent:
            self.limits[-1, tenant, column] = min(self.limits[-1, tenant, column], self.held[-1, tenant, column])

    def add(self, tenant: int, user: str, allocation: Allocation, sign: int = 1) -> None:
        """Book an allocation (`sign` 1) or its release (-1) at the tenant and all above it."""
        first = tier_of(allocation.job_class)
        fen = allocation.fen_per_hour or 0
        places, amounts = self.tree.places(tenant, first, allocation.chosen, allocation.charge, fen)
        self.held.reshape(-1)[places] += amounts if sign > 0 else -amounts
        if first <= STANDARD and not self.tree.lends_all:
            for column, amount in self.tree.uses(allocation.chosen, allocation.charge):
                self._draw(tenant, column, sign * amount)
        devices = sum(part.amount for part in allocation.chosen)
        for level in self.tree.user_levels[tenant]:
            held = self.user_devices.get((level, user), 0) + sign * devices
            if held:
                self.user_devices[level, user] = held
            else:
                self.user_devices.pop((level, user), None)

    def admits_all(self, wanted: Sequence[tuple[int, Allocation]]) -> bool:
        """Whether the tenants can take these one after the other, found at once from what all of them take together:
        what fits with all others fits with those before it. False too where each has to be looked at by itself."""
        tree = self.tree
        found = []
        for tenant, allocation in wanted:
            first = tier_of(allocation.job_class)
            if tree.user_levels[tenant] or self._is_peculiar(tenant, first):
                return False
            fen = allocation.fen_per_hour or 0
            found.append(tree.places(tenant, first, allocation.chosen, allocation.charge, fen))
        if not found:
            return True
        places = np.concatenate([where for where, _ in found])
        held = self.held.reshape(-1).copy()
        np.add.at(held, places, np.concatenate([amounts for _, amounts in found]))
        return bool((held.take(places) <= self.limits.take(places)).all())

    def _is_peculiar(self, tenant: int, tier: int) -> bool:
        """Whether more than the limits stands between the tenant's jobs of the tier and what is idle."""
        kept = tier <= STANDARD and not self.tree.lends_all
        return kept or (tier == PRODUCTION and bool(self.tree.refuses[tenant].any()))

    def shortages(
        self,
        tenant: int,
        user: str,
        chosen: tuple[Chosen, ...],
        charge: int,
        job_class: JobClass = JobClass.STANDARD,
        fen: int | None = None,
    ) -> tuple[Shortage, ...]:
        """Every limit that the choice would exceed now, from the tenant upwards; for each the tightest tier's. `fen`
        per hour are what was frozen for it, else it is asked for at the prices in force."""
        tree, first = self.tree, tier_of(job_class)
        fen = tree.fen_per_hour(chosen, job_class) if fen is None else fen
        if self._is_free(tenant, user, chosen, charge, fen, first):
            return ()
        uses = tree.uses(chosen, charge, fen)
        found = list(self._refused(tenant, uses)) if first == PRODUCTION else []
        for level in tree.paths[tenant]:
            for column, amount in uses:
                left = self.limits[first:, level, column] - self.held[first:, level, column]
                tier = first + int(left.argmin())
                if amount > left[tier - first]:
                    have, limit = int(left[tier - first]), int(tree.limits[tier, level, column])
                    budget = self.spent.get((level, column)) if tier == len(TIERS) - 1 else None
                    shown, used = self._shown(column, amount, have, limit), int(self.held[tier, level, column])
                    used = -(-used // int(tree.unit[column]))
                    found.append(Shortage(tree.names[level], *shown, tier=TIERS[tier], budget=budget, used=used))
        if first <= STANDARD and not tree.lends_all and not found:
            found += [s for column, amount in uses if (s := self._kept_from(tenant, column, amount)) is not None]
        devices = sum(part.amount for part in chosen)
        for level in tree.user_levels[tenant]:
            limit = tree.user_limit[level]
            left_to_user = limit - self.user_devices.get((level, user), 0)
            if devices > left_to_user:
                need, have = -(-devices // WHOLE_DEVICE), max(left_to_user, 0) // WHOLE_DEVICE
                limit, used = limit // WHOLE_DEVICE, -(-(limit - left_to_user) // WHOLE_DEVICE)
                found.append(Shortage(tree.names[level], "devices", need, have, limit, user, used=used))
        return tuple(found)

    def _shown(self, column: int, need: int, have: int, limit: int) -> tuple[str, int, int, int]:
        """The resource with whole amounts of its own unit: of a share of a device one is needed, and none is left.
        Limits are whole, so what exceeds one still does."""
        unit = int(self.tree.unit[column])
        return self.tree.resources[column], -(-need // unit), max(0, have) // unit, limit // unit

    def _is_free(self, tenant: int, user: str, chosen: tuple[Chosen, ...], charge: int, fen: int, first: int) -> bool:
        """True where nothing is short, found at once for all limits; False where each has to be looked at."""
        tree = self.tree
        if self._is_peculiar(tenant, first):
            return False
        for level in tree.user_levels[tenant]:
            if self.user_devices.get((level, user), 0) + sum(c.amount for c in chosen) > tree.user_limit[level]:
                return False
        places, amounts = tree.places(tenant, first, chosen, charge, fen)
        enough = self.limits.take(places) - self.held.take(places) >= amounts
        return bool(enough[enough.argmin()])  # as `all`, which takes twice as long over a few values

    def _refused(self, tenant: int, uses: Iterable[tuple[int, int]]) -> Iterator[Shortage]:
        for column, amount in uses:
            if self.tree.refuses[tenant, column]:
                shown = self._shown(column, amount, 0, 0)
                yield Shortage(self.tree.names[tenant], *shown, tier=JobClass.PRODUCTION)

    # What tenants do not lend

    def _count_lending(self) -> None:
        """`_kept` is what a tenant does not lend of what it is entitled to, int64[tenants, resources]. `_drawn` is what
        a tenant's own jobs hold, with what each child takes from it: what it holds or keeps, whichever is more."""
        tree = self.tree
        if tree.lends_all:
            return
        self._kept = np.where(tree.claimed, np.maximum(0, self.entitled - tree.lending), 0) * tree.unit
        held = self.held[STANDARD]
        self._drawn = held.copy()
        for tenant, parent in enumerate(tree.parent):
            if parent >= 0:
                self._drawn[parent] -= held[tenant]
        for tenant in range(len(tree.names) - 1, 0, -1):
            self._drawn[tree.parent[tenant]] += np.maximum(self._drawn[tenant], self._kept[tenant])

    def _draw(self, tenant: int, column: int, amount: int) -> None:
        for level in self.tree.paths[tenant]:
            before = max(self._drawn[level, column], self._kept[level, column])
            self._drawn[level, column] += amount
            amount = int(max(self._drawn[level, column], self._kept[level, column]) - before)

    def _kept_from(self, tenant: int, column: int, amount: int) -> Shortage | None:
        """The level at which the choice would take what another tenant keeps for itself, or None."""
        tree, need = self.tree, amount
        if not self._kept[:, column].any():
            return None
        for level in tree.paths[tenant]:
            drawn, kept = int(self._drawn[level, column]), int(self._kept[level, column])
            limit = self._pool(level, column)
            if amount > 0 and drawn + amount > limit:
                have, most = min(need, need - amount + limit - drawn), max(limit, need)
                shown, unit = self._shown(column, need, have, most), int(tree.unit[column])
                return Shortage(tree.names[level], *shown, used=-(-min(drawn, most) // unit))
            amount = max(drawn + amount, kept) - max(drawn, kept)
        return None

    def _pool(self, level: int, column: int) -> int:
        """What the tenants below `level` may draw from together."""
        if level == 0:
            limited = self.in_service is not None and column < self.tree.device_columns
            whole = int(self.tree.unit[column])
            return int(self.in_service[column]) * whole if limited and self.in_service is not None else UNLIMITED
        return int(self.limits[STANDARD, level, column])
