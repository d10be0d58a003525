"""Depth first through the choices of the few jobs that prices leave open, cut off where the bound says so.

What a partial choice can still come to is the dual bound less what its jobs gave up against their best at the prices
(branch and bound on the Lagrangian; Fisher, 1981). A few jobs take microseconds where a general solver takes its start.
"""

from typing import Any

import numpy as np

from scheduler.policies.kernels import jit
from scheduler.policies.relaxed import Int, Real, Relaxed

__all__ = ["branched"]

NODES = 20_000
ROUNDING = 1e-12


def branched(
    relaxed: Relaxed, core: Int, start: Int, reduced: Real, bound: float, option: Int, within: float
) -> tuple[Int, float] | None:
    """The best choice among the options `core` of jobs to which `start` gives nothing, or `option` where none is
    better, and a bound on both.

    `bound` is the one that the prices of `reduced` prove for all; what could come to no more than `within` above the
    best is not looked at. None where amounts may be negative or the search would be too long.
    """
    if (relaxed.use_amount < 0).any():
        return None
    if not len(core):
        return (option, bound) if relaxed.value(option) >= relaxed.value(start) else (start, bound)
    owner = relaxed.owner[core]
    core = core[np.lexsort((core, -reduced[core], owner))]
    first = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
    ptr = np.append(first, len(core))
    gain = np.maximum(reduced[core[first]], 0.0)
    second = np.where(np.diff(ptr) > 1, reduced[core[np.minimum(first + 1, len(core) - 1)]], 0.0)
    order = np.argsort(np.maximum(second, 0.0) - gain, kind="stable")  # whoever would lose most decides first
    left = relaxed.available - relaxed.usage(start)
    uses = relaxed.use_ptr, relaxed.use_row, relaxed.use_amount
    chosen, told = np.full(len(order), -1, dtype=np.int64), np.array([relaxed.value(option), bound, 0.0])
    fixed = relaxed.value(start)
    _branch(ptr, core, order, gain, reduced, relaxed.utility, uses, left, fixed, within, chosen, told)
    if told[2] < 0:
        return None
    if told[2] > 0:
        option = start.copy()
        option[relaxed.owner[core[first[order]]]] = chosen
    return option, float(told[1]) * (1 + ROUNDING)


@jit
def _branch(
    ptr: Int,
    core: Int,
    order: Int,
    gain: Real,
    reduced: Real,
    utility: Real,
    uses: Any,
    left: Int,
    fixed: float,
    within: float,
    chosen: Int,
    told: Real,
) -> None:
    """`told`: the best worth, the bound, and 1 where something better was found, -1 where it took too long."""
    use_ptr, use_row, use_amount = uses
    jobs = len(order)
    place = np.full(jobs + 1, -1)
    option = np.full(jobs, -1)
    could, value = np.zeros(jobs + 1), np.zeros(jobs + 1)
    could[0], value[0] = told[1], fixed
    told[1] = told[0]
    depth, nodes = 0, 0
    while depth >= 0:
        nodes += 1
        if nodes > NODES:
            told[2] = -1.0
            return
        if depth == jobs:
            if value[depth] > told[0]:
                told[0], told[2] = value[depth], 1.0
                chosen[:] = option
            depth -= 1
            continue
        job = order[depth]
        if option[depth] >= 0:
            for u in range(use_ptr[option[depth]], use_ptr[option[depth] + 1]):
                left[use_row[u]] += use_amount[u]
            option[depth] = -1
        place[depth] += 1
        at = ptr[job] + place[depth]
        if at > ptr[job + 1]:
            place[depth] = -1
            depth -= 1
            continue
        idle = at == ptr[job + 1]
        lost = gain[job] - (0.0 if idle else reduced[core[at]])
        if could[depth] - lost <= told[0] + within:
            told[1] = max(told[1], could[depth] - lost)
            if not idle:
                place[depth] = ptr[job + 1] - ptr[job] - 1  # the others lose more still, but for taking nothing
            continue
        if not idle:
            o, fits = core[at], True
            for u in range(use_ptr[o], use_ptr[o + 1]):
                if use_amount[u] > left[use_row[u]]:
                    fits = False
            if not fits:
                continue
            for u in range(use_ptr[o], use_ptr[o + 1]):
                left[use_row[u]] -= use_amount[u]
            option[depth] = o
        could[depth + 1] = could[depth] - lost
        value[depth + 1] = value[depth] + (0.0 if idle else utility[core[at]])
        depth += 1
    told[1] = max(told[1], told[0])
