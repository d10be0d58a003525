"""By what right each job holds or asks: within its tenant's quota, borrowed, or on idle devices.

What is nominal goes before what is borrowed, and nobody is reclaimed for a job of a worse right. Whoever is reclaimed
had the worse right and keeps it while it waits, and so cannot reclaim back.
"""

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Claim", "within"]

Int = NDArray[np.int64]
Flag = NDArray[np.bool_]


class Claim(IntEnum):
    """The lower, the better. A shortfall alone takes nothing away: who runs within nominal quota has as good a right as
    who waits within what is entitled at present; who waits within nominal only has to wait behind them."""

    PRODUCTION = 0
    NOMINAL = 1
    PROMISED = 2
    BORROWED = 3
    IDLE = 4


MAX_PASSES: Final = 64
"""Each pass decides at least one more job, and nearly always most; what is still undecided then counts as beyond."""


def within(ptr: Int, row: Int, amount: Int, entitled: Int) -> Flag:
    """bool[n]: which jobs, taken greedily in order, stay within `entitled`, int64[rows].

    Job i needs `amount[ptr[i]:ptr[i + 1]]` of the matching rows, each at most once. One that does not fit is passed
    over and takes nothing; a job without rows is within. Equal to the loop that tries one job after the other: a pass
    accepts the jobs that fit even if all undecided ones before them do, and refuses those that do not fit behind the
    accepted ones alone.
    """
    count = len(ptr) - 1
    job = np.repeat(np.arange(count), np.diff(ptr))
    small = len(entitled) <= np.iinfo(np.uint16).max  # NumPy sorts so short keys by counting
    order = np.argsort(row.astype(np.uint16) if small else row, kind="stable")  # by row, then by job
    job, row, amount = job[order], row[order], amount[order]
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    segment = np.repeat(starts, np.diff(starts, append=len(row)))
    limit = entitled[row]
    accepted: Flag = np.bincount(job, minlength=count) == 0
    undecided: Flag = ~accepted
    for _ in range(MAX_PASSES):
        if not undecided.any():
            break
        sure = _before(amount * accepted[job], segment)
        likely = _before(amount * (accepted | undecided)[job], segment)
        fits = np.bincount(job, weights=likely + amount > limit, minlength=count) == 0
        never = np.bincount(job, weights=sure + amount > limit, minlength=count) > 0
        accepted |= undecided & fits
        undecided &= ~fits & ~never
    return accepted


def _before(amount: Int, segment: Int) -> Int:
    """Sum of what stands before each entry in its segment."""
    past = np.cumsum(amount) - amount
    result: Int = past - past[segment] if len(past) else past
    return result
