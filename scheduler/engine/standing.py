"""Which waiting jobs wait for what they were told last, found for all of them at once: nearly all of a long queue.

An answer of True is certain. Of the others the reason is looked up one by one, and may turn out to be the same.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.reasons import key_of
from scheduler.engine.snapshot import Snapshot
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.policies import NONE, Choice, Problem, entries_of, spans

__all__ = ["reasons_known", "reasons_stand"]

Int = NDArray[np.int64]
Flag = NDArray[np.bool_]

_CODES: Final = (
    ReasonCode.BEHIND_IN_QUEUE,
    ReasonCode.NO_ROOM,
    ReasonCode.QUOTA_IN_USE,
    ReasonCode.USER_LIMIT_IN_USE,
    ReasonCode.OUTPRICED,
)
_BEHIND, _NO_ROOM, _QUOTA, _USER, _OUTPRICED = range(len(_CODES))


def reasons_stand(snapshot: Snapshot, problem: Problem, choice: Choice) -> Flag:
    """bool[n]: waiting jobs without an option whose reason would have the code and accelerator that are on record.

    `waiting.reason_for` says what the reasons are; this is the same for those that need no look at the job itself.
    Where a policy prices, what was told stands while it is true: prices come and go with every cycle.
    """
    found = np.zeros(len(problem.number), dtype=np.bool_)
    seen = _look(snapshot, problem, choice)
    if not len(seen.jobs):
        return found
    key = _keys(snapshot)[seen.code, seen.kind]
    found[seen.jobs] = seen.known & (key == snapshot.columns.job("reason")[problem.number[seen.jobs]])
    if len(choice.worth):
        found[seen.jobs] |= _still_true(snapshot, problem, choice, seen.jobs)
    return found


def reasons_known(snapshot: Snapshot, problem: Problem, choice: Choice) -> dict[int, Reason]:
    """By index, the reasons of waiting jobs that need no look at the job itself and tell of no limit."""
    seen = _look(snapshot, problem, choice)
    names = snapshot.fleet.accelerators
    shown = seen.known & ~np.isin(seen.code, (_QUOTA, _USER))
    columns = (seen.jobs, seen.code, seen.kind, seen.need, seen.have)
    told: dict[tuple[int, ...], Reason] = {}
    found: dict[int, Reason] = {}
    for index, *what in zip(*(column[shown].tolist() for column in columns), strict=True):
        code, kind, need, have = key = tuple(what)
        if key not in told:
            told[key] = Reason(code=_CODES[code], accelerator=names[kind], need=need, have=have)
        found[index] = told[key]
    return found


@dataclass(frozen=True, slots=True)
class _Look:
    """Waiting jobs without an option, and the place in `_CODES`, accelerator and amounts of what the reason of each
    would be, where that is `known`."""

    jobs: Int
    code: Int
    kind: Int
    need: Int
    have: Int
    known: Flag


def _look(snapshot: Snapshot, problem: Problem, choice: Choice) -> _Look:
    some = np.diff(problem.ptr) > 0
    jobs = np.flatnonzero((problem.current == NONE) & (choice.option == NONE) & some)
    if not len(jobs):
        return _Look(jobs, jobs, jobs, jobs, jobs, np.zeros(0, dtype=np.bool_))
    columns, kinds = snapshot.columns, len(snapshot.fleet.accelerators)
    first = columns.job("first")[problem.number[jobs]]
    best = first + _best(problem, jobs)
    need = columns.option("devices")[best]
    blocked = choice.blocked_by[jobs]
    on_devices = (blocked != NONE) & (blocked < problem.capacity_rows)
    shelf = np.where(on_devices, blocked, 0)
    have = snapshot.idle[shelf]
    limited = (blocked >= problem.capacity_rows) & (blocked < len(problem.available))
    code = np.where(~on_devices | (have >= need), _BEHIND, _NO_ROOM)
    priced = np.zeros(problem.capacity_rows, dtype=np.bool_)
    priced[[row for row, price in choice.prices.items() if row < problem.capacity_rows and price > 0]] = True
    code[on_devices & priced[shelf]] = _OUTPRICED
    code[limited] = np.where(blocked[limited] >= snapshot.rows.first_user_row, _USER, _QUOTA)
    known = on_devices | ((blocked == NONE) & _any_open(problem)[jobs])
    known[limited] = _only_in_use(snapshot, problem, jobs[limited], blocked[limited])
    kind = np.where(on_devices, shelf % kinds, columns.option("kind")[best])
    return _Look(jobs, code, kind, np.where(on_devices, need, 0), np.where(on_devices, have, 0), known)


def _still_true(snapshot: Snapshot, problem: Problem, choice: Choice, jobs: Int) -> Flag:
    """bool[len(jobs)]: whether the reason on record says something of an accelerator that holds of the open options on
    it. No room: none has it; outpriced: none has, or the devices have a price; a limit in use: one exceeds what is left
    below some limit. Whoever waits is behind in the queue."""
    keys = _keys(snapshot)
    given = snapshot.columns.job("reason")[problem.number[jobs]]
    order = np.argsort(keys, axis=None)
    place = order[np.minimum(np.searchsorted(keys.ravel(), given, sorter=order), keys.size - 1)]
    code, kind = np.where(keys.ravel()[place] == given, place // keys.shape[1], NONE), place % keys.shape[1]
    ptr, at = spans(problem.ptr[jobs], problem.ptr[jobs + 1] - problem.ptr[jobs])
    owner = np.repeat(np.arange(len(jobs)), np.diff(ptr))
    option = snapshot.columns.job("first")[problem.number[jobs]][owner] + at - problem.ptr[jobs][owner]
    about = problem.open[at] & (snapshot.columns.option("kind")[option] == kind[owner])
    shelf = problem.use_row[np.minimum(problem.use_ptr[at], len(problem.use_row) - 1)]
    shelf = np.minimum(shelf, problem.capacity_rows - 1)
    room = snapshot.idle[shelf] >= snapshot.columns.option("devices")[option]
    dear = np.zeros(problem.capacity_rows, dtype=np.bool_)
    dear[[row for row, price in choice.prices.items() if row < problem.capacity_rows and price > 0]] = True
    some = _each(owner, about, len(jobs))
    roomy, priced = _each(owner, about & room, len(jobs)), _each(owner, about & dear[shelf], len(jobs))
    limit = _each(owner, about & _limited(problem, choice, at), len(jobs))
    holds = np.stack((some, some & ~roomy, limit, limit, some & (priced | ~roomy), np.zeros_like(some)))
    found: Flag = holds[code, np.arange(len(jobs))]
    return found


def _each(owner: Int, which: Flag, count: int) -> Flag:
    """bool[count]: whether any of what each owns is among `which`."""
    found: Flag = np.bincount(owner[which], minlength=count) > 0
    return found


def _limited(problem: Problem, choice: Choice, option: Int) -> Flag:
    """bool[len(option)]: whether the option takes more than what is left below some limit."""
    left = problem.available if choice.certificate is None else choice.certificate.left
    ptr, row, amount = entries_of(problem, option)
    short = (row >= problem.capacity_rows) & (amount > left[row])
    user = np.repeat(np.arange(len(option)), np.diff(ptr))
    return _each(user, short, len(option))


def _keys(snapshot: Snapshot) -> Int:
    """int64[codes, accelerators]"""
    names = snapshot.fleet.accelerators
    return np.array([[key_of(Reason(code=code, accelerator=name)) for name in names] for code in _CODES])


def _best(problem: Problem, jobs: Int) -> Int:
    """int64[len(jobs)]: the position of each job's own best option, open or not; the first of equals."""
    first, count = problem.ptr[jobs], problem.ptr[jobs + 1] - problem.ptr[jobs]
    starts = np.cumsum(count) - count
    place = np.arange(count.sum()) - np.repeat(starts, count)
    widest = int(count.max())
    order = problem.rank[np.repeat(first, count) + place] * widest + place
    best: Int = np.minimum.reduceat(order, starts) % widest
    return best


def _any_open(problem: Problem) -> Flag:
    """bool[n]"""
    opened = np.concatenate(([0], np.cumsum(problem.open)))
    found: Flag = opened[problem.ptr[1:]] > opened[problem.ptr[:-1]]
    return found


def _only_in_use(snapshot: Snapshot, problem: Problem, jobs: Int, blocked: Int) -> Flag:
    """bool[len(jobs)]: whether an option that the job may take and that no limit excludes for ever counts against the
    limit that blocks it, so that the limit is in use and not too small."""
    if not len(jobs):
        return np.zeros(0, dtype=np.bool_)
    count = problem.ptr[jobs + 1] - problem.ptr[jobs]
    owner = np.repeat(np.arange(len(jobs)), count)
    place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    option = problem.ptr[jobs][owner] + place
    numbers = problem.number[jobs]
    possible = snapshot.columns.option("allowed")[snapshot.columns.job("first")[numbers][owner] + place]
    uses = problem.use_ptr[option + 1] - problem.use_ptr[option]
    user = np.repeat(np.arange(len(option)), uses)
    entry = problem.use_ptr[option][user] + np.arange(uses.sum()) - np.repeat(np.cumsum(uses) - uses, uses)
    row = problem.use_row[entry]
    beyond = (row >= problem.capacity_rows) & (problem.use_amount[entry] > problem.available[row])
    possible &= np.bincount(user, weights=beyond, minlength=len(option)) == 0
    counted = np.bincount(user, weights=row == blocked[owner][user], minlength=len(option)) > 0
    found: Flag = np.bincount(owner, weights=possible & counted, minlength=len(jobs)) > 0
    return found
