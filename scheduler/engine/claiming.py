"""By what right each job of a problem holds or asks: `quota.claims` over the rows of the problem."""

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.columns import CLASSES, NONE, Gathered
from scheduler.engine.snapshot import Snapshot
from scheduler.model.tenants import JobClass
from scheduler.quota.claims import Claim, within
from scheduler.quota.past_use import borrow_order

__all__ = ["claims_of", "turns_of"]

Int = NDArray[np.int64]
Flag = NDArray[np.bool_]
PRODUCTION, OPPORTUNISTIC = CLASSES.index(JobClass.PRODUCTION), CLASSES.index(JobClass.OPPORTUNISTIC)


def claims_of(
    snapshot: Snapshot, numbers: Int, gathered: Gathered, current: Int, pinned: Flag, is_open: Flag, rank: Int
) -> Int:
    """int64[n] of `Claim`. A waiting job is judged by the open option that it likes best.

    Within a tenant those go first who cannot leave, then the higher priority, then who holds devices, then who came
    first. A standard job on a resource of which only others have a nominal quota borrows; where nobody has one, there
    is nothing to borrow.
    """
    columns, tree = snapshot.columns, snapshot.ledger.tree
    job_class = columns.job("job_class")[numbers].astype(np.int64)
    plain = np.where(job_class == PRODUCTION, Claim.PRODUCTION, Claim.NOMINAL)
    found: Int = np.where(job_class == OPPORTUNISTIC, Claim.IDLE, plain).astype(np.int64)
    if not tree.governed.any() or not len(numbers):
        return found
    priority, waiting = columns.job("priority")[numbers], current == NONE
    order = np.lexsort((numbers, waiting, -priority, ~pinned, job_class))
    order = order[job_class[order] != OPPORTUNISTIC]
    option = np.where(waiting, _favourites(gathered.ptr, is_open, rank), current)
    order = order[option[order] != NONE]
    ptr, entry = _entries(gathered.use_ptr, option[order])
    row, amount = gathered.use_row[entry], gathered.use_amount[entry]
    nominal, governed = snapshot.rows.nominal(tree.nominal)
    job = np.repeat(np.arange(len(order)), np.diff(ptr))
    counts = nominal[row] >= 0
    own = np.bincount(job, weights=counts, minlength=len(order)) > 0
    others = np.bincount(job, weights=governed[row], minlength=len(order)) > 0
    kept = np.concatenate(([0], np.cumsum(np.bincount(job[counts], minlength=len(order))))).astype(np.int64)
    inside = within(kept, row[counts], amount[counts], nominal) & (own | ~others)
    standard = job_class[order] != PRODUCTION
    found[order[standard & ~inside]] = Claim.BORROWED
    if snapshot.ledger.entitled is not tree.nominal:
        entitled, _ = snapshot.rows.nominal(snapshot.ledger.entitled)
        behind = inside & waiting[order] & ~within(kept, row[counts], amount[counts], entitled)
        found[order[standard & behind]] = Claim.PROMISED
    return found


def turns_of(snapshot: Snapshot, numbers: Int, claim: Int, current: Int, now_us: int) -> Int:
    """int64[n]: whose turn it is to borrow, from 1 by the tenants' past use; 0 for all who need not ask."""
    asks = (claim == Claim.BORROWED) & (current == NONE)
    found = np.zeros(len(numbers), dtype=np.int64)
    if asks.any():
        tree = snapshot.ledger.tree
        turn = borrow_order(snapshot.past_use.faded(now_us), tree.weight, tree.parent)
        found[asks] = 1 + turn[snapshot.columns.job("tenant")[numbers[asks]]]
    return found


def _favourites(ptr: Int, is_open: Flag, rank: Int) -> Int:
    """int64[n]: the open option of best rank, or NONE."""
    found = np.full(len(ptr) - 1, NONE, dtype=np.int64)
    options = np.flatnonzero(is_open)
    job = np.searchsorted(ptr, options, side="right") - 1
    best = np.lexsort((options, rank[options], job))
    first = np.flatnonzero(np.diff(job[best], prepend=-1))
    found[job[best][first]] = options[best][first]
    return found


def _entries(use_ptr: Int, option: Int) -> tuple[Int, Int]:
    """Offsets per option, and the positions of what each option uses."""
    first, count = use_ptr[option], use_ptr[option + 1] - use_ptr[option]
    ptr = np.concatenate(([0], np.cumsum(count))).astype(np.int64)
    return ptr, np.repeat(first - ptr[:-1], count) + np.arange(ptr[-1])
