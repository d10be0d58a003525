"""The nodes of one shelf by how many devices they can give, kept by each grant, so that no search looks at them all.

Nodes lie in blocks: the domains (racks, supernodes) of the shelf, or runs of 64 nodes where no domain has two. A level
is a count of devices that the vendor's tools could grant on a node now. For each level and block there is a bit set of
the nodes, and their number; for each block the sum of what its nodes can give.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["closely", "Layout", "ShelfIndex"]

BLOCK_NODES = 64
FEW = 32
"""Nodes of one level that are looked at more closely."""

FULL_SUM = np.iinfo(np.int32).max


def closely(column: Any) -> Any:
    """A view of an array for one item at a time: three times as fast as the array's own, and plain integers."""
    return memoryview(column)


class Layout:
    """Where each node of a shelf lies; never changes. `domains` tells whether blocks are domains of several nodes.

    `nodes` is int64[nodes] ascending; the nodes of block b are `nodes[first[b] : first[b + 1]]`.
    """

    def __init__(self, nodes: NDArray[np.int64], domain: NDArray[np.int32], widest: int) -> None:
        self.nodes = nodes
        self.widest = widest
        sizes = np.unique(domain[nodes], return_counts=True)[1] if len(nodes) else np.zeros(0, dtype=np.int64)
        self.domains = bool((sizes > 1).any())
        if self.domains:
            starts = np.concatenate(([0], np.cumsum(sizes)))
        else:
            starts = np.append(np.arange(0, len(nodes), BLOCK_NODES), len(nodes))
        self.first: list[int] = starts.tolist()
        self.block_of = np.repeat(np.arange(len(starts) - 1), np.diff(starts))

    @property
    def blocks(self) -> int:
        return len(self.first) - 1


class ShelfIndex:
    """Nodes at level 0 are in no set: they can give nothing, or may not."""

    __slots__ = ("_give_at", "_have_at", "at", "bits", "give", "have", "layout", "total")

    def __init__(self, layout: Layout, level: NDArray[np.int64]) -> None:
        """`level` is int64[nodes of the shelf]: what each can give now, 0 for nothing."""
        self.layout = layout
        levels = layout.widest + 1
        self.give = np.bincount(layout.block_of, weights=level, minlength=layout.blocks).astype(np.int64)
        self.total = int(level.sum())
        self.have = np.zeros((levels, layout.blocks), dtype=np.int32)
        np.add.at(self.have, (level, layout.block_of), 1)
        self.have[0] = 0
        self._give_at, self._have_at = closely(self.give), closely(self.have)
        self.at: list[int] = self.have.sum(axis=1).tolist()
        self.bits: list[list[int]] = [[0] * layout.blocks for _ in range(levels)]
        for place, (amount, block) in enumerate(zip(level.tolist(), layout.block_of.tolist(), strict=True)):
            if amount:
                self.bits[amount][block] |= 1 << place - layout.first[block]

    def fork(self) -> Self:
        copy = type(self).__new__(type(self))
        copy.layout, copy.total = self.layout, self.total
        copy.give, copy.have = self.give.copy(), self.have.copy()
        copy._give_at, copy._have_at = closely(copy.give), closely(copy.have)
        copy.at = self.at.copy()
        copy.bits = [blocks.copy() for blocks in self.bits]
        return copy

    def move(self, block: int, bit: int, before: int, after: int) -> None:
        """One node goes from level `before` to `after`."""
        mark = 1 << bit
        if before:
            self.bits[before][block] ^= mark
            self._have_at[before, block] -= 1
            self.at[before] -= 1
        if after:
            self.bits[after][block] ^= mark
            self._have_at[after, block] += 1
            self.at[after] += 1
        self._give_at[block] += after - before
        self.total += after - before

    def ascending(self, least: int, block: int | None = None) -> Iterator[int]:
        """Nodes that can give at least `least`: those that can give least first, then by number."""
        for level in range(max(1, least), len(self.at)):
            if self.at[level]:
                yield from self._on_level(level, block)

    def descending(self, least: int = 1, block: int | None = None) -> Iterator[int]:
        """The same nodes: those that can give most first, then by number."""
        for level in range(len(self.at) - 1, max(1, least) - 1, -1):
            if self.at[level]:
                yield from self._on_level(level, block)

    def packed(self, least: int) -> Iterator[int]:
        """As `ascending`; among equals those of the domain that can give least, so that whole domains stay whole."""
        for level in range(max(1, least), len(self.at)):
            if self.at[level]:
                have = self.have[level] > 0
                yield from self._in(level, int(np.where(have, self.give, FULL_SUM).argmin()))
                for block in np.argsort(np.where(have, self.give, FULL_SUM), kind="stable")[: int(have.sum())].tolist():
                    yield from self._in(level, block)

    def few(self, least: int, block: int | None = None) -> list[int]:
        """The first nodes of each level from `least` on, ascending: those that differ in what they can give."""
        levels = range(max(1, least), len(self.at))
        return sorted(node for level in levels if self.at[level] for node in islice(self._on_level(level, block), FEW))

    def pick(self, least: int, turn: int) -> int:
        """Node number `turn` (from 0) of those that `ascending` yields. Raises IndexError if there are fewer."""
        for level in range(max(1, least), len(self.at)):
            if turn < self.at[level]:
                upto = np.cumsum(self.have[level])
                block = int(np.searchsorted(upto, turn, side="right"))
                turn -= int(upto[block - 1]) if block else 0
                bits = self.bits[level][block]
                for _ in range(turn):
                    bits &= bits - 1
                return self._node(block, bits & -bits)
            turn -= self.at[level]
        raise IndexError(turn)

    def count(self, least: int) -> int:
        """How many nodes can give at least `least`."""
        return sum(self.at[max(1, least) :])

    def blocks_for(self, count: int) -> Iterator[int]:
        """Blocks whose nodes could give `count` together, those with the least left over first."""
        best = int(np.where(self.give >= count, self.give, FULL_SUM).argmin()) if len(self.give) else 0
        if not len(self.give) or self.give[best] < count:
            return
        yield best
        for block in np.argsort(self.give, kind="stable").tolist():
            if self.give[block] >= count and block != best:
                yield block

    def fullest_blocks(self) -> list[int]:
        """Blocks that can give most first."""
        found: list[int] = np.argsort(-self.give, kind="stable").tolist()
        return found

    def _on_level(self, level: int, block: int | None) -> Iterator[int]:
        if block is not None:
            yield from self._in(level, block)
            return
        have = self.have[level]
        first = int((have > 0).argmax())
        yield from self._in(level, first)
        for later in np.flatnonzero(have[first + 1 :]).tolist():
            yield from self._in(level, first + 1 + later)

    def _in(self, level: int, block: int) -> Iterator[int]:
        bits = self.bits[level][block]
        while bits:
            low = bits & -bits
            yield self._node(block, low)
            bits ^= low

    def _node(self, block: int, low: int) -> int:
        return int(self.layout.nodes[self.layout.first[block] + low.bit_length() - 1])
