"""The exact assignment by HiGHS: the oracle of tests, and the last step where few jobs are still undecided."""

from dataclasses import dataclass

import highspy
import numpy as np

from scheduler.policies.branching import branched
from scheduler.policies.relaxed import NONE, Int, Real, Relaxed

__all__ = ["Exact", "exact", "fractional", "polished", "repaired"]

CORE_OPTIONS = 4000
"""A core with more options is left as it is: HiGHS would not end within its nodes."""

NODES = 50
"""Where an assignment is there already and only to be mended; then HiGHS also does not begin anew when its root has
fixed something, which took four times as long as it was worth."""

REPAIRED_JOBS, NEAR = 150, 4
"""Jobs that prices leave most undecided, and how many of the options of each are looked at."""


@dataclass(frozen=True, slots=True)
class Exact:
    """`option` int64[n]; `bound` holds for every assignment."""

    option: Int
    bound: float


def exact(relaxed: Relaxed) -> Exact:
    """The best assignment of all, to HiGHS's tolerances. For small problems: exponential in the worst case."""
    everything = np.flatnonzero(np.isfinite(relaxed.utility))
    start = np.full(relaxed.jobs, NONE, dtype=np.int64)
    found = _search(relaxed, everything, start, gap=0.0, nodes=None)
    if found is None:
        raise RuntimeError("HiGHS found no assignment, though taking nothing is one")
    return found


def polished(relaxed: Relaxed, prices: Real, bound: float, option: Int, gap: float) -> Exact | None:
    """An assignment at least as good as `option`, found by searching among the jobs that prices leave open; or None.

    A job whose best option leads the second by more than bound - value has it in every better assignment (reduced-cost
    fixing), so the search over the others loses nothing.
    """
    reduced = relaxed.reduced(prices)
    gain, favourite = relaxed.best(reduced)
    slack = bound - relaxed.value(option)
    second = np.where(favourite == NONE, -np.inf, 0.0)
    others = reduced.copy()
    others[favourite[favourite != NONE]] = -np.inf
    present = np.flatnonzero(np.diff(relaxed.ptr))
    second[present] = np.maximum(second[present], np.maximum.reduceat(others, relaxed.ptr[present]))
    fixed = gain - second > slack * (1 + 1e-9)
    core = np.flatnonzero(
        ~fixed[relaxed.owner] & np.isfinite(relaxed.utility) & (gain[relaxed.owner] - reduced <= slack)
    )
    start = np.where(fixed, favourite, NONE)
    if (relaxed.usage(start) > relaxed.available).any():
        return None
    deep = branched(relaxed, core, start, reduced, bound, option, gap / 2 * bound)
    if deep is not None:
        return Exact(*deep)
    found = _search(relaxed, core, start, gap, NODES) if len(core) <= CORE_OPTIONS else None
    if found is None or relaxed.value(found.option) >= relaxed.value(option):
        return found
    return Exact(option, found.bound)


def repaired(relaxed: Relaxed, prices: Real, bound: float, option: Int, gap: float) -> Exact | None:
    """An assignment at least as good as `option`, the best that the most undecided jobs can do while all others keep
    what they have; or None. It proves nothing new: its bound is `bound`."""
    reduced = relaxed.reduced(prices)
    usable = np.flatnonzero(np.isfinite(relaxed.utility))
    order = usable[np.lexsort((-reduced[usable], relaxed.owner[usable]))]
    owner = relaxed.owner[order]
    first = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
    place = np.arange(len(order)) - np.repeat(first, np.diff(np.append(first, len(order))))
    margin = np.full(relaxed.jobs, np.inf)
    gain, _ = relaxed.best(reduced)
    best, second = reduced[order[first]], np.zeros(len(first))
    more = np.append(first[1:], len(order)) - first > 1
    second[more] = np.maximum(reduced[order[first[more] + 1]], 0.0)
    margin[owner[first]] = np.abs(best - second)
    held = np.where(option == NONE, 0.0, reduced[option])
    margin -= np.where(gain - held > 0, gain - held, 0.0)  # whoever has less than its best is undecided too
    open_ = np.zeros(relaxed.jobs, dtype=np.bool_)
    open_[np.argsort(margin, kind="stable")[:REPAIRED_JOBS]] = True
    core = order[open_[owner] & ((place < NEAR) | (option[owner] == order))]
    found = _search(relaxed, np.sort(core), np.where(open_, NONE, option), gap / 4, NODES)
    if found is None or relaxed.value(found.option) <= relaxed.value(option):
        return None
    return Exact(found.option, bound)


def fractional(relaxed: Relaxed) -> Real | None:
    """The prices float64[r] at which shares of the options would do best, by one linear program."""
    everything = np.flatnonzero(np.isfinite(relaxed.utility))
    highs, rows = _loaded(relaxed, everything, relaxed.available, whole=False)
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    prices = np.zeros(len(relaxed.available))
    prices[rows] = np.maximum(np.array(highs.getSolution().row_dual[: len(rows)]), 0.0)
    return prices


def _loaded(relaxed: Relaxed, core: Int, left: Int, whole: bool) -> tuple[highspy.Highs, Int]:
    """At most one of the options `core` for each job within what is left, and the rows that they use."""
    column = np.full(len(relaxed.utility), NONE, dtype=np.int64)
    column[core] = np.arange(len(core))
    inside = column[relaxed.used_by] != NONE
    rows, row = np.unique(relaxed.use_row[inside], return_inverse=True)
    jobs, job = np.unique(relaxed.owner[core], return_inverse=True)
    matrix_row = np.concatenate((row, len(rows) + job))
    matrix_col = np.concatenate((column[relaxed.used_by[inside]], np.arange(len(core))))
    amount = np.concatenate((relaxed.use_amount[inside].astype(np.float64), np.ones(len(core))))
    order = np.lexsort((matrix_row, matrix_col))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(core), len(rows) + len(jobs)
    model.sense_ = highspy.ObjSense.kMaximize
    model.col_cost_ = relaxed.utility[core]
    model.col_lower_, model.col_upper_ = np.zeros(len(core)), np.ones(len(core))
    model.row_lower_ = np.full(model.num_row_, -highspy.kHighsInf)
    model.row_upper_ = np.concatenate((left[rows].astype(np.float64), np.ones(len(jobs))))
    if whole:
        model.integrality_ = [highspy.HighsVarType.kInteger] * len(core)
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.searchsorted(matrix_col[order], np.arange(len(core) + 1)).astype(np.int32)
    model.a_matrix_.index_ = matrix_row[order].astype(np.int32)
    model.a_matrix_.value_ = amount[order]
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.passModel(model)
    return highs, rows


def _search(relaxed: Relaxed, core: Int, start: Int, gap: float, nodes: int | None) -> Exact | None:
    """Choose among the options `core`; jobs that `start` gives something keep it."""
    highs, _ = _loaded(relaxed, core, relaxed.available - relaxed.usage(start), whole=True)
    highs.setOptionValue("mip_rel_gap", gap / 2)
    highs.setOptionValue("mip_abs_gap", 0.0)
    if nodes is not None:
        highs.setOptionValue("mip_max_nodes", nodes)
        highs.setOptionValue("mip_allow_restart", False)
    highs.run()
    info = highs.getInfo()
    if len(core) and info.primal_solution_status != 2:
        return None
    taken = np.flatnonzero(np.array(highs.getSolution().col_value) > 0.5) if len(core) else core
    option = start.copy()
    option[relaxed.owner[core[taken]]] = core[taken]
    if (relaxed.usage(option) > relaxed.available).any():
        return None
    fixed = relaxed.value(start)
    return Exact(option, fixed + float(info.mip_dual_bound) if len(core) else fixed)
