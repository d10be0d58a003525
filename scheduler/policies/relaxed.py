"""The assignment without its rows, and what all jobs together take at given prices of them."""

from copy import copy
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scheduler.policies.answers import hungriest, taken

__all__ = ["NONE", "Int", "Real", "Relaxed", "spans"]

NONE = -1

Int = NDArray[np.int64]
Real = NDArray[np.float64]

GOLDEN = 0.6180339887498949
DIGITS = 10
"""Sums that agree in so many digits are the same: they were added in another order."""


@dataclass(slots=True)
class Relaxed:
    """The assignment without its rows: each job takes the best of its options at given prices.

    Options that no job could take alone are worth -inf from the start, which tightens the bound.
    """

    ptr: Int
    utility: Real
    use_ptr: Int
    use_row: Int
    use_amount: Int
    available: Int
    owner: Int = field(init=False)  # [m] job of each option
    used_by: Int = field(init=False)  # [nnz] option of each use
    binding: Int = field(init=False)  # rows that all jobs together could exceed
    _present: Int = field(init=False)  # jobs with options

    def __post_init__(self) -> None:
        self.owner = np.repeat(np.arange(len(self.ptr) - 1, dtype=np.int64), np.diff(self.ptr))
        self.used_by = np.repeat(np.arange(len(self.utility), dtype=np.int64), np.diff(self.use_ptr))
        self._present = np.flatnonzero(np.diff(self.ptr))
        mixed = np.zeros(len(self.available), dtype=np.bool_)
        mixed[self.use_row[self.use_amount < 0]] = True
        beyond = (self.use_amount > self.available[self.use_row]) & ~mixed[self.use_row]
        self.utility = self.utility.copy()
        self.utility[self.used_by[beyond]] = -np.inf
        self.binding = self._could_bind()

    def _could_bind(self) -> Int:
        """Rows whose greatest possible use, each job at its hungriest option, exceeds what there is."""
        uses = self.use_ptr, self.use_row, self.use_amount
        total = hungriest(self.ptr, np.isfinite(self.utility), uses, len(self.available))
        return np.flatnonzero(total > self.available)

    @property
    def jobs(self) -> int:
        return len(self.ptr) - 1

    def told_apart(self, by: float) -> "Relaxed":
        """The same with utilities that differ by up to that part of them, evenly spread by the option."""
        other = copy(self)
        other.utility = self.utility * (1 + by * _spread(np.arange(len(self.utility))))
        return other

    def alike(self) -> Int:
        """int64[r]: for each row, the first one that every job could use in its place at the same utility.

        Some best prices are equal for such rows: were one dearer, nobody would use it, and it need not cost more. Rows
        are compared by sums over their uses, so that a coincidence may join rows that differ; no bound relies on it.
        """
        rows = len(self.available)
        worth = np.where(np.isfinite(self.utility), self.utility, 0.0)[self.used_by]
        keys: list[Real] = [np.bincount(self.use_row, weights=worth, minlength=rows).astype(np.float64)]
        if len(np.unique(_digits(keys[0]))) == rows:
            return np.arange(rows)
        turn = _spread(self.owner)[self.used_by]
        mark = _spread(np.arange(rows)) * np.sqrt(np.arange(rows) + 2.0)
        beside = np.bincount(self.used_by, weights=mark[self.use_row] * self.use_amount, minlength=len(self.utility))
        others = beside[self.used_by] - mark[self.use_row] * self.use_amount
        seen = worth * turn, worth * _spread(self.use_amount), (worth > 0) * turn * others
        keys += [np.bincount(self.use_row, weights=one, minlength=rows).astype(np.float64) for one in seen]
        table = np.stack([_digits(key) for key in keys])
        table[:, keys[0] == 0] = -1.0 - np.flatnonzero(keys[0] == 0)
        _, first, group = np.unique(table, axis=1, return_index=True, return_inverse=True)
        return first[group].astype(np.int64)

    def joined(self, alike: Int) -> "Relaxed":
        """The same with each set of rows that are alike as one row, and one of the options that differ in them only."""
        first = alike == np.arange(len(alike))
        available = np.bincount(alike, weights=self.available, minlength=len(alike)).astype(np.int64)
        stays = np.bincount(self.used_by, weights=~first[self.use_row], minlength=len(self.utility)) == 0
        option = np.flatnonzero(stays & np.isfinite(self.utility))
        count = np.bincount(self.owner[option], minlength=self.jobs)
        use_ptr, use = spans(self.use_ptr[option], np.diff(self.use_ptr)[option])
        ptr = np.concatenate(([0], np.cumsum(count)))
        return Relaxed(ptr, self.utility[option], use_ptr, self.use_row[use], self.use_amount[use], available)

    def typical(self) -> float:
        """The median utility of what can be taken; 0 where nothing can."""
        usable = self.utility[np.isfinite(self.utility)]
        return float(np.median(usable)) if len(usable) else 0.0

    def typical_amounts(self) -> Real:
        """float64[r]: the mean amount that a use takes of its row, at least 1."""
        rows = len(self.available)
        total = np.bincount(self.use_row, weights=np.abs(self.use_amount), minlength=rows)
        return np.maximum(total / np.maximum(np.bincount(self.use_row, minlength=rows), 1), 1.0)

    def value(self, option: Int) -> float:
        return float(self.utility[option[option != NONE]].sum())

    def usage(self, option: Int) -> Int:
        """int64[r]: what the chosen options take together."""
        return taken((self.use_ptr, self.use_row, self.use_amount), option, len(self.available))

    def reduced(self, prices: Real) -> Real:
        """float64[m]: utility less the price of what the option takes."""
        cost = np.bincount(self.used_by, weights=prices[self.use_row] * self.use_amount, minlength=len(self.utility))
        return self.utility - cost[: len(self.utility)]

    def best(self, reduced: Real) -> tuple[Real, Int]:
        """Each job's greatest reduced utility, at least 0 (taking nothing), and the first option that reaches it."""
        gain = np.zeros(self.jobs)
        option = np.full(self.jobs, NONE, dtype=np.int64)
        if len(self._present):
            gain[self._present] = np.maximum.reduceat(reduced, self.ptr[self._present])
        reaches = np.flatnonzero((reduced >= gain[self.owner]) & (reduced > 0))[::-1]
        option[self.owner[reaches]] = reaches
        return np.maximum(gain, 0.0), option


def spans(first: Int, count: Int) -> tuple[Int, Int]:
    """Offsets int64[k + 1], and the ranges first[i]:first[i] + count[i] one after the other."""
    ptr = np.concatenate(([0], np.cumsum(count))).astype(np.int64)
    return ptr, np.repeat(first - ptr[:-1], count) + np.arange(ptr[-1], dtype=np.int64)


def _spread(number: Int) -> Real:
    """Numbers to parts of one that are spread evenly and differ."""
    part: Real = np.modf(number * GOLDEN)[0]
    return part


def _digits(value: Real) -> Real:
    size = 10.0 ** np.floor(np.log10(np.maximum(np.abs(value), 1e-300)))
    return np.round(value / size, DIGITS) * size
