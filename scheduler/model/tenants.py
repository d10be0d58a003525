"""Who asks: the tree of tenants with its quota. Amounts are devices unless a name says otherwise."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

__all__ = ["COMPUTE_UNITS", "JobClass", "MONEY", "Quota", "ROOT", "Shortfall", "Tenant", "Tenants", "UserLimits"]

COMPUTE_UNITS: Final = "compute_units"
MONEY: Final = "money"
"""Resources that are no devices, with a ceiling and a budget only. Compute units are written in thousandths."""

ROOT = ""
"""The name of the tree's root; `search/ranking` is a child of `search`, which is a child of the root."""


class JobClass(StrEnum):
    PRODUCTION = "production"  # only within nominal, never preempted
    STANDARD = "standard"  # may borrow, and be reclaimed
    OPPORTUNISTIC = "opportunistic"  # idle devices, first to yield


class Shortfall(StrEnum):
    """How nominal quota is scaled to what is in service."""

    PROPORTIONAL = "proportional"
    BY_RANK = "by_rank"


class Quota(Struct, frozen=True, kw_only=True):
    """A tenant's claim on one resource: an accelerator, a family, `track:imported`, `compute_units` or `money`."""

    resource: str
    nominal: int = 0
    borrowing_limit: int | None = None  # None: as much as others lend
    lending_limit: int | None = None  # None: all that is idle
    ceiling: int | None = None  # never exceeded, borrowed or not; of money: fen per hour of all that is held at once
    budget: int | None = None  # per `budget_period_us`: device-, unit-hours in thousandths, or fen
    budget_period_us: int = 0


class UserLimits(Struct, frozen=True, kw_only=True):
    max_devices: int | None = None
    max_waiting_jobs: int | None = None


class Tenant(Struct, frozen=True, kw_only=True):
    name: str  # the whole path, `search/ranking`
    weight: float = 1.0
    rank: int = 0  # for Shortfall.BY_RANK: smaller is served first
    quotas: tuple[Quota, ...] = ()
    per_user: UserLimits = UserLimits()
    default_class: JobClass = JobClass.STANDARD
    time_limit_us: int | None = None
    expected_run_us: int | None = None  # the estimate for jobs that declare no work
    admins: tuple[str, ...] = ()
    users: tuple[str, ...] = ()  # empty: everybody whose token names this tenant

    @property
    def parent(self) -> str:
        return self.name.rpartition("/")[0]


class Tenants(Struct, frozen=True, kw_only=True):
    """The tree, parents before children. The root exists without being listed."""

    tenants: tuple[Tenant, ...] = ()
    shortfall: Shortfall = Shortfall.PROPORTIONAL

    def get(self, name: str) -> Tenant | None:
        return next((t for t in self.tenants if t.name == name), None)
