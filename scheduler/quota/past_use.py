"""Past use, as fair share sees it: H20-equivalent-hours that fade, kept by each grant and release.

Buckets of a fraction of the half-life hold exact integers, so that an account kept by events and one built anew from
the same attempts are equal; a bucket weighs less the older it is. A column per tenant, children included.
"""

from collections.abc import Sequence
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from scheduler.model.units import US_PER_S

__all__ = ["PastUse", "borrow_order"]

BUCKETS_PER_HALF_LIFE: Final = 24
HALF_LIVES_KEPT: Final = 12
"""Older use weighs less than a four-thousandth and is forgotten."""

Real = NDArray[np.float64]
Int = NDArray[np.int64]
US_PER_HOUR = 3_600 * US_PER_S
MS = 1_000


class PastUse:
    """`worth` is given in thousandths of an H20-equivalent."""

    def __init__(self, tenants: int, half_life_us: int) -> None:
        self._half_life_us = half_life_us
        self._width_us = max(US_PER_S, half_life_us // BUCKETS_PER_HALF_LIFE)
        self._kept = BUCKETS_PER_HALF_LIFE * HALF_LIVES_KEPT
        self._buckets: dict[int, Int] = {}  # number -> thousandths x ms per tenant
        self._rate: Int = np.zeros(tenants, dtype=np.int64)
        self._booked_us: Int = np.zeros(tenants, dtype=np.int64)
        # the same for one tenant at a time: three times as fast, and plain integers
        self._rate_at, self._booked_at = self._rate.data, self._booked_us.data

    def fork(self) -> Self:
        """An independent copy."""
        copy = type(self)(len(self._rate), self._half_life_us)
        copy._buckets = {number: bucket.copy() for number, bucket in self._buckets.items()}
        copy._rate[:], copy._booked_us[:] = self._rate, self._booked_us
        return copy

    def change(self, path: Sequence[int], worth: int, time_us: int) -> None:
        """From then on the tenants of `path` hold so much more (or less). Changes may be told in any order: what is
        held since before the last one is booked up to it."""
        for tenant in path:
            if time_us > self._booked_at[tenant]:
                self._close(tenant, time_us)
            else:
                self._book(tenant, worth, time_us, self._booked_at[tenant])
            self._rate_at[tenant] += worth

    def add(self, path: Sequence[int], worth: int, from_us: int, until_us: int) -> None:
        """What was held for a span that is over."""
        for tenant in path:
            self._book(tenant, worth, from_us, until_us)

    def _close(self, tenant: int, time_us: int) -> None:
        """Book what the tenant has held until now. Spans may be cut anywhere: whole milliseconds add up."""
        self._book(tenant, self._rate_at[tenant], self._booked_at[tenant], time_us)
        self._booked_at[tenant] = max(time_us, self._booked_at[tenant])

    def _book(self, tenant: int, worth: int, from_us: int, until_us: int) -> None:
        if not worth or until_us <= from_us:
            return
        last = (until_us - 1) // self._width_us
        for number in range(max(from_us // self._width_us, last - self._kept), last + 1):
            begin_us, end_us = number * self._width_us, (number + 1) * self._width_us
            ms = min(end_us, until_us) // MS - max(begin_us, from_us) // MS
            bucket = self._buckets.get(number)
            if bucket is None:
                bucket = self._buckets[number] = np.zeros(len(self._rate), dtype=np.int64)
            bucket[tenant] += worth * ms

    def faded(self, now_us: int) -> Real:
        """float64[tenants]: H20-equivalent-hours, those of one half-life ago counting half."""
        for tenant in np.flatnonzero(self._rate).tolist():
            self._close(tenant, now_us)
        oldest = now_us // self._width_us - self._kept
        self._buckets = {number: bucket for number, bucket in self._buckets.items() if number >= oldest}
        found = np.zeros(len(self._rate))
        for number, bucket in sorted(self._buckets.items()):
            found += bucket * self._weight(now_us, (number + 0.5) * self._width_us)
        result: Real = found / 1000 / 3.6e6
        return result

    def _weight(self, now_us: int, then_us: float) -> float:
        return float(np.exp2(min(0.0, (then_us - now_us) / self._half_life_us)))


def borrow_order(faded: Real, weight: Sequence[float], parent: Sequence[int]) -> Int:
    """int64[tenants]: whose turn it is to borrow, 0 first: siblings by use over weight, from the root downwards.

    Equal to six digits is equal, and then those listed first go first.
    """
    over = faded / np.maximum(np.asarray(weight, dtype=np.float64), 1e-12)
    keys: list[tuple[float, ...]] = []
    for tenant, above in enumerate(parent):
        own = float(f"{over[tenant]:.6g}")
        keys.append((*keys[above], own, float(tenant)) if above >= 0 else ())
    turn = np.zeros(len(parent), dtype=np.int64)
    turn[sorted(range(len(parent)), key=lambda t: keys[t])] = np.arange(len(parent))
    return turn
