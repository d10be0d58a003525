"""What one cycle leaves for the next, by name and in the order of names: prices of rows, and what only cycles read."""

from bisect import bisect_left
from typing import Final

__all__ = ["CARRY", "PROOF", "Prices", "named", "shadow_prices"]

Prices = tuple[tuple[str, float], ...]

CARRY: Final = "carry:"
"""Begins the names under which prices keep what a policy leaves for its next choice."""

PROOF: Final = "="
"""Begins the names under which a whole solution is carried, see `engine.between`; no row is called so."""


def named(prefix: str, prices: Prices) -> Prices:
    """Those of the prices whose name begins so."""
    first = bisect_left(prices, (prefix,))
    return prices[first : bisect_left(prices, (prefix[:-1] + chr(ord(prefix[-1]) + 1),), first)]


def shadow_prices(prices: Prices) -> Prices:
    """What tells people something: prices of rows, and the multipliers of rules as `rule:<id>`."""
    for prefix in (CARRY, PROOF):
        hidden = named(prefix, prices)
        first = bisect_left(prices, (prefix,))
        prices = prices[:first] + prices[first + len(hidden) :]
    return prices
