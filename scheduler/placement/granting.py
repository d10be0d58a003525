"""What a vendor's tools can grant on one node: the counts they allow, and the rings that a grant has to stay within."""

from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct

from scheduler.model.accelerators import Accelerator

__all__ = ["devices_for", "Granting", "granting_of", "largest"]


class Granting(Struct, frozen=True):
    """`counts` ascending, empty where any count is granted. `ring`: devices of one ring, 0 where they all are equal.

    In a node of two rings a grant of at most one ring lies within one; a larger one takes half of its devices from
    each, at the same places (Huawei's documentation of the sixteen-device 910B box).
    """

    counts: tuple[int, ...] = ()
    ring: int = 0

    @property
    def free_choice(self) -> bool:
        return not self.counts and not self.ring


def granting_of(accelerator: Accelerator, devices: int) -> Granting:
    """The rule for a node with so many devices of the accelerator."""
    if accelerator.ring is not None and devices > accelerator.ring.devices:
        return Granting(accelerator.ring.grants, accelerator.ring.devices)
    return Granting(accelerator.grants)


@lru_cache(maxsize=65_536)
def largest(rule: Granting, idle: int, most: int) -> int:
    """The largest count, at most `most`, that the tools can grant out of the `idle` devices (a bit mask)."""
    most = min(most, idle.bit_count())
    if rule.free_choice:
        return most
    for count in reversed(rule.counts or tuple(range(1, most + 1))):
        if count <= most and devices_for(rule, idle, count):
            return count
    return 0


def devices_for(rule: Granting, idle: int, count: int) -> int:
    """The `count` devices to grant out of `idle`, as bits; 0 where the tools cannot grant them.

    Within rings: the fullest ring that still has them, so that whole rings stay whole; the lowest devices first.
    """
    if count > idle.bit_count() or (rule.counts and count not in rule.counts):
        return 0
    if not rule.ring:
        return _lowest(idle, count)
    rings = tuple(_rings(idle, rule.ring))
    if count <= rule.ring:
        enough = [(part.bit_count(), place) for place, part in enumerate(rings) if part.bit_count() >= count]
        if not enough:
            return 0
        place = min(enough)[1]
        return _lowest(rings[place], count) << place * rule.ring
    return _across(rings, rule.ring, count)


def _across(rings: tuple[int, ...], ring: int, count: int) -> int:
    """Half of the devices from each of two rings, at the same places."""
    for first, low in enumerate(rings):
        for second in range(first + 1, len(rings)):
            matching = low & rings[second]
            if count % 2 == 0 and matching.bit_count() >= count // 2:
                half = _lowest(matching, count // 2)
                return half << first * ring | half << second * ring
    return 0


def _rings(idle: int, ring: int) -> Iterator[int]:
    while idle:
        yield idle & (1 << ring) - 1
        idle >>= ring


def _lowest(idle: int, count: int) -> int:
    if idle.bit_count() == count:
        return idle
    taken = 0
    for _ in range(count):
        taken |= idle & -idle
        idle &= idle - 1
    return taken
