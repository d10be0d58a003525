"""The least time in which a fleet could finish a set of jobs, were they free to divide their time between types."""

from collections.abc import Mapping

import highspy
import numpy as np

from scheduler.errors import UnavailableError, UsageError
from scheduler.model.workload import Workload

__all__ = ["makespan_bound_s"]


def makespan_bound_s(workload: Workload, devices: Mapping[str, int]) -> float:
    """Seconds: the optimum of a linear program, a lower bound for every schedule of jobs that all arrive at once.

    Job m on type j for `t[m, j]` seconds at rate `r[m, j]` with `z[m]` devices does all its work: `sum_j r t >= work`;
    it runs on one type at a time, `sum_j t <= T`; types hold, `sum_m z t <= N_j T`. T is the least possible (Gavel's
    makespan policy, OSDI 2020, solved once instead of by bisection). Raises UsageError for jobs of unknown size.
    """
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    infinity = highspy.kHighsInf
    solver.addVar(0.0, infinity)
    solver.changeColCost(0, 1.0)
    load: dict[str, list[tuple[int, float]]] = {name: [] for name in devices}
    column = 1
    for arrival in workload.arrivals:
        amount = arrival.job.work.amount
        if amount is None:
            raise UsageError(f"`{arrival.job.name}` does not say how much there is to do")
        parts = [m for m in arrival.job.work.measured if m.accelerator in devices]
        columns = np.arange(column, column + len(parts), dtype=np.int32)
        column += len(parts)
        for part, place in zip(parts, columns.tolist(), strict=True):
            solver.addVar(0.0, infinity)
            load[part.accelerator].append((place, float(part.count)))
        rates = np.array([part.rate for part in parts]) / amount
        solver.addRow(1.0, infinity, len(parts), columns, rates)
        solver.addRow(-infinity, 0.0, len(parts) + 1, np.append(columns, 0), np.append(np.ones(len(parts)), -1.0))
    for name, uses in load.items():
        index = np.array([place for place, _ in uses] + [0], dtype=np.int32)
        value = np.array([count for _, count in uses] + [-float(devices[name])])
        solver.addRow(-infinity, 0.0, len(index), index, value)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise UnavailableError("the bound on the makespan could not be computed", "check that every job can run")
    return float(solver.getInfo().objective_function_value)
