"""The exact shares by HiGHS: the oracle of tests and benchmarks, and of use where a problem is small."""

import highspy
import numpy as np
from numpy.typing import NDArray

from scheduler.policies.shares_level import Rows

__all__ = ["lp_level"]

Int = NDArray[np.int64]
Real = NDArray[np.float64]

EXACT = 1e-9
"""Feasibility asked of the simplex: where one job is hundreds of times dearer than another, an error grows as much."""


def lp_level(
    rows: Rows, weight: Real, floor: Real, solver: str = "simplex", crossover: str = "on"
) -> tuple[float, Real, Real]:
    """The greatest t with throughput >= max(floor, t x weight), as one linear program.

    Gives t (infinite where no weight is above 0), the shares float64[m], and the duals float64[n] of the rows of the
    weights. Raises RuntimeError where the floors cannot be met.
    """
    n, m, r = len(rows.ptr) - 1, len(rows.speed), len(rows.available)
    if not (weight > 0).any():
        return np.inf, np.zeros(m), np.zeros(n)
    owner = np.repeat(np.arange(n), np.diff(rows.ptr))
    used_by = np.repeat(np.arange(m), np.diff(rows.use_ptr))
    held = np.flatnonzero(floor > 0)
    place = np.full(n, -1, dtype=np.int64)
    place[held] = np.arange(len(held))
    below = np.flatnonzero(place[owner] >= 0)
    row = np.concatenate(
        (rows.use_row, r + owner, r + n + owner, r + n + np.arange(n), r + 2 * n + place[owner[below]])
    )
    column = np.concatenate((used_by, np.arange(m), np.arange(m), np.full(n, m), below))
    scaled = rows.use_amount / rows.available[rows.use_row]
    value = np.concatenate((scaled, np.ones(m), rows.speed, -weight, rows.speed[below]))
    lower = np.concatenate((np.full(r + n, -highspy.kHighsInf), np.zeros(n), floor[held]))
    upper = np.concatenate((np.ones(r + n), np.full(n + len(held), highspy.kHighsInf)))
    highs = _loaded(m + 1, row, column, value, lower, upper)
    for name, chosen in (("threads", 1), ("solver", solver), ("run_crossover", crossover)):
        highs.setOptionValue(name, chosen)
    if solver == "simplex":
        highs.setOptionValue("primal_feasibility_tolerance", EXACT)
        highs.setOptionValue("dual_feasibility_tolerance", EXACT)
    highs.run()
    if highs.getModelStatus() not in (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kUnknown):
        raise RuntimeError(f"HiGHS: {highs.modelStatusToString(highs.getModelStatus())}")
    found = highs.getSolution()
    share = np.array(found.col_value)
    return float(share[m]), share[:m], np.abs(np.array(found.row_dual)[r + n : r + 2 * n])


def _loaded(columns: int, row: Int, column: Int, value: Real, lower: Real, upper: Real) -> highspy.Highs:
    """Maximise the last column, all of them at least 0."""
    stay = value != 0
    row, column, value = row[stay], column[stay], value[stay]
    order = np.lexsort((row, column))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = columns, len(upper)
    model.sense_ = highspy.ObjSense.kMaximize
    model.col_cost_ = np.append(np.zeros(columns - 1), 1.0)
    model.col_lower_, model.col_upper_ = np.zeros(columns), np.full(columns, highspy.kHighsInf)
    model.row_lower_, model.row_upper_ = lower, upper
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.searchsorted(column[order], np.arange(columns + 1)).astype(np.int32)
    model.a_matrix_.index_ = row[order].astype(np.int32)
    model.a_matrix_.value_ = value[order]
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.passModel(model)
    return highs
