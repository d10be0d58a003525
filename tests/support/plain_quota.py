"""Quota once more, read plainly: trees by hypothesis, and what they let anybody hold, by recursion over names."""

from fractions import Fraction

from hypothesis import strategies as st

from scheduler.model.allocations import Allocation
from scheduler.model.tenants import JobClass, Quota, Shortfall, Tenant, Tenants

__all__ = ["CHIPS", "NAMES", "RESOURCES", "Held", "Plain", "quotas", "shares", "small", "trees"]

NAMES = ("red", "red/vision", "red/text", "blue", "blue/search")
RESOURCES = ("h200", "h20-96", "family:h20")
CHIPS = ("h200", "h20-96", "h20-141")
small = st.integers(0, 6)
shares = st.sampled_from([0.25, 0.4, 0.999])
"""Of one device; what else is asked for are whole devices."""
maybe = st.none() | small
entries = st.builds(
    lambda resource, nominal, borrowing, lending, extra: Quota(
        resource=resource,
        nominal=nominal,
        borrowing_limit=borrowing,
        lending_limit=None if lending is None else min(lending, nominal),
        ceiling=None if extra is None else nominal + extra,
    ),
    st.sampled_from(RESOURCES), small, maybe, maybe, maybe,
)  # fmt: skip
quotas = st.lists(entries, max_size=3, unique_by=lambda q: q.resource).map(tuple)
trees = st.builds(
    lambda shortfall, *of: Tenants(
        tenants=tuple(Tenant(name=n, quotas=q, rank=len(n) % 3) for n, q in zip(NAMES, of, strict=True)),
        shortfall=shortfall,
    ),
    st.sampled_from(Shortfall),
    *([quotas] * len(NAMES)),
)

Held = list[tuple[str, Allocation]]
"""By name of the tenant."""


class Plain:
    """The rules once more, by recursion over names, for one resource; in devices, of which shares are fractions."""

    def __init__(self, tenants: Tenants, resource: str, entitled: dict[str, int], held: Held) -> None:
        self.tenants, self.resource, self.entitled = tenants, resource, entitled
        self.held = held

    def quota(self, name: str) -> Quota | None:
        tenant = self.tenants.get(name)
        found = next((q for q in tenant.quotas if q.resource == self.resource), None) if tenant else None
        bare = found is not None and found.ceiling is not None and not found.nominal
        return None if bare and found.borrowing_limit is None and found.lending_limit is None else found

    def children(self, name: str) -> list[str]:
        return [t.name for t in self.tenants.tenants if t.parent == name]

    def counts(self, allocation: Allocation) -> Fraction:
        wanted = {"family:h20": ("h20-96", "h20-141")}.get(self.resource, (self.resource,))
        here = (part for part in allocation.chosen if part.accelerator in wanted)
        return sum((part.count * Fraction(part.thousandths, 1000) for part in here), Fraction(0))

    def use(self, name: str, *classes: JobClass) -> Fraction | int:
        below = [a for t, a in self.held if t == name or t.startswith(name + "/") or not name]
        return sum(self.counts(a) for a in below if a.job_class in classes)

    def own(self, name: str) -> Fraction | int:
        firm = (JobClass.PRODUCTION, JobClass.STANDARD)
        return sum(self.counts(a) for t, a in self.held if t == name and a.job_class in firm)

    def keeps(self, name: str) -> int:
        quota = self.quota(name)
        if quota is None or quota.lending_limit is None:
            return 0
        return max(0, self.entitled[name] - quota.lending_limit)

    def drawn(self, name: str) -> Fraction | int:
        """What a tenant's jobs hold, or keep from others, of what its parent has."""
        return self.own(name) + sum(max(self.drawn(c), self.keeps(c)) for c in self.children(name))
