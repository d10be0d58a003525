"""What a nominal quota is worth when less is in service than was promised. Pure integer arithmetic; sums are exact."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scheduler.model.tenants import Shortfall
from scheduler.quota.tree import TenantTree

__all__ = ["by_rank", "entitlements", "proportional"]

Int = NDArray[np.int64]


def entitlements(tree: TenantTree, in_service: Int) -> Int:
    """int64[tenants, resources]: nominal quota, scaled to `in_service`, int64[resources] of healthy devices.

    At each tenant its children, and the rest that no child was promised, share what it is entitled to. Where that is
    enough they get what they were promised; else they get their part of it, `proportional` (largest remainder), or in
    the order of their `rank` with the rest last. What children get together never exceeds their parent's. Resources
    that are not counted in devices have no shortfall.
    """
    found = tree.nominal.copy()
    devices = tree.device_columns
    for column in np.flatnonzero(found[0, :devices] > in_service[:devices]).tolist():
        found[0, column] = in_service[column]
    for tenant, children in enumerate(tree.children):
        if not children:
            continue
        below = list(children)
        promised = tree.nominal[below, :devices].sum(axis=0)
        short = (found[tenant, :devices] < np.maximum(tree.nominal[tenant, :devices], promised)) & (promised > 0)
        for column in np.flatnonzero(short).tolist():
            rest = int(tree.nominal[tenant, column] - promised[column])
            claims = [*tree.nominal[below, column].tolist(), max(0, rest)]
            given = int(found[tenant, column])
            if tree.shortfall is Shortfall.BY_RANK:
                shares = by_rank(claims, [*(tree.rank[child] for child in below), 1 << 60], given)
            else:
                shares = proportional(claims, given)
            found[below, column] = shares[:-1]
    return found


def proportional(claims: Sequence[int], given: int) -> list[int]:
    """Whole parts of `given` by claim, none above its claim; together min(given, sum of claims).

    The largest remainder method: each gets the floor of its part, and what is left goes to the largest remainders, the
    first listed where they are equal.
    """
    total = sum(claims)
    if given >= total:
        return list(claims)
    shares = [claim * given // total for claim in claims]
    order = sorted(range(len(claims)), key=lambda i: (-(claims[i] * given % total), i))
    for i in order[: given - sum(shares)]:
        shares[i] += 1
    return shares


def by_rank(claims: Sequence[int], ranks: Sequence[int], given: int) -> list[int]:
    """Claims served in the order of their rank; those of equal rank share in proportion."""
    shares = [0] * len(claims)
    for rank in sorted(set(ranks)):
        equal = [i for i, other in enumerate(ranks) if other == rank]
        for i, share in zip(equal, proportional([claims[i] for i in equal], given), strict=True):
            shares[i] = share
        given -= sum(shares[i] for i in equal)
    return shares
