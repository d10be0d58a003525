"""May it: limits on the tenant tree and the ledger of what is held."""

from scheduler.quota.ledger import Ledger, Shortage
from scheduler.quota.tree import UNLIMITED, TenantTree

__all__ = ["Ledger", "Shortage", "TenantTree", "UNLIMITED"]
