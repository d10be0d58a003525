"""By what right each job of a problem holds or asks: `quota.claims` over the rows of the problem."""

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.columns import CLASSES, NONE, Gathered
from scheduler.engine.snapshot import Snapshot
from scheduler.model.tenants import JobClass
from scheduler.policies import spans
from scheduler.quota.claims import Claim, within
from scheduler.quota.past_use import borrow_order

__all__ = ["claims_of", "turns_of"]

Int = NDArray[np.int64]
Flag = NDArray[np.bool_]
PRODUCTION, OPPORTUNISTIC = CLASSES.index(JobClass.PRODUCTION), CLASSES.index(JobClass.OPPORTUNISTIC)


def claims_of(
    snapshot: Snapshot,
    numbers: Int,
    gathered: Gathered,
    current: Int,
    pinned: Flag,
    is_open: Flag,
    rank: Int,
    beside: Int | None = None,
) -> Int:
    """int64[n] of `Claim`. A waiting job is judged by the open option that it likes best.

    `beside`, int64[rows], is what others hold within quota: they go before `numbers`.

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
    waiting = current == NONE
    option = np.where(waiting, _favourites(gathered.ptr, is_open, rank), current)
    firm = np.flatnonzero((job_class != OPPORTUNISTIC) & (option != NONE))
    ptr, entry = spans(gathered.use_ptr[option[firm]], np.diff(gathered.use_ptr)[option[firm]])
    job, row, amount = (
        np.repeat(np.arange(len(firm)), np.diff(ptr)),
        gathered.use_row[entry],
        gathered.use_amount[entry],
    )
    nominal, governed = snapshot.rows.nominal(tree.nominal)
    entitled, _ = snapshot.rows.nominal(snapshot.ledger.entitled)
    if beside is not None:
        nominal, entitled = (np.where(quota > 0, np.maximum(quota - beside, 0), quota) for quota in (nominal, entitled))
    counts = nominal[row] >= 0
    without = np.bincount(job[counts], minlength=len(firm)) == 0
    without &= np.bincount(job[governed[row]], minlength=len(firm)) > 0
    # only where more is wanted than there is does it matter who comes first
    wanted = np.bincount(row[counts], weights=amount[counts], minlength=len(nominal))
    short = counts & (wanted > np.minimum(nominal, entitled))[row]
    entries = np.bincount(job[short], minlength=len(firm))
    rivals = np.flatnonzero(entries)
    keys = numbers[firm], waiting[firm], -columns.job("priority")[numbers[firm]], ~pinned[firm], job_class[firm]
    rivals = rivals[np.lexsort(tuple(key[rivals] for key in keys))]
    ptr, turn = spans((np.cumsum(entries) - entries)[rivals], entries[rivals])
    row, amount = row[short][turn], amount[short][turn]
    inside = np.ones(len(firm), dtype=np.bool_)
    inside[rivals] = within(ptr, row, amount, nominal)
    behind = np.zeros(len(firm), dtype=np.bool_)
    behind[rivals] = ~within(ptr, row, amount, entitled)
    standard = job_class[firm] != PRODUCTION
    found[firm[standard & behind & waiting[firm]]] = Claim.PROMISED
    found[firm[standard & (without | ~inside)]] = Claim.BORROWED
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
    """int64[n]: the open option of best rank, the first of equals, or NONE."""
    found = np.full(len(ptr) - 1, NONE, dtype=np.int64)
    options = np.flatnonzero(is_open)
    if len(options):
        job = np.repeat(np.arange(len(found)), np.diff(ptr))[options]
        first = np.flatnonzero(np.diff(job, prepend=-1))
        best = np.repeat(np.minimum.reduceat(rank[options], first), np.diff(first, append=len(options)))
        at = np.flatnonzero(rank[options] == best)
        at = at[np.diff(job[at], prepend=-1) > 0]
        found[job[at]] = options[at]
    return found
