"""Gavel's scheduling in rounds (OSDI 2020, section 5), written anew to compare with: an allocation, then priorities.

Each round solves a linear program for the share of time `X[m, j]` that job m should run on type j, and ranks the pairs
by that share over the share of type j's time that the job has had so far of all that was given. In that order jobs are
given whole devices for the round, those that do not fit are passed over. So does Sia's artifact; Gavel's own simulator
(`resets_s`) keeps an allocation for a while although jobs come and go, then forgets what each has had but for what it
is owed still, which breaks ties, and fills one type after the other, the fastest first. Then they are given their
devices by number, the largest gangs first: those of the last round if nobody has taken them, else the first that are
free. Devices stay with a job to the end of the round. A job that starts again, or on other nodes, loses its restart
time.

Three allocations are there: `max_sum_throughput_perf`, the largest sum of steps a second, as Sia's artifact runs it;
`max_min_fairness_perf`, the largest least rate relative to an equal share of all types; and `fifo_perf`, in order of
arrival each job's fastest type that has room, up to the first job that fits nowhere. The last two know no sizes, and
one or the other is the best of all of Gavel's in each figure that was measured anew on its own lists.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

from scheduler.model.units import to_s
from scheduler.model.workload import Workload

__all__ = ["ALLOCATIONS", "Outcome", "replay"]

Int = NDArray[np.int64]
Real = NDArray[np.float64]
Flag = NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """Per job in order of arrival: submission and end in seconds, infinite past the run; starts beyond the first."""

    submitted_s: Real
    ended_s: Real
    restarts: NDArray[np.int64]
    rounds: int


@dataclass(frozen=True)
class Jobs:
    arrival_s: Real  # [n]
    work: Real  # [n] steps
    count: Real  # [n] devices
    rate: Real  # [n, k] steps per second, 0: cannot run there
    restart_s: Real  # [n]
    spread: tuple[Mapping[str, tuple[float, ...]], ...]  # [n] rate on 1, 2, ... nodes over `rate`


def jobs_of(workload: Workload, types: Sequence[str]) -> Jobs:
    rate = np.zeros((len(workload.arrivals), len(types)))
    for m, arrival in enumerate(workload.arrivals):
        for part in arrival.job.work.measured:
            if part.accelerator in types:
                rate[m, types.index(part.accelerator)] = part.rate
    jobs = [arrival.job for arrival in workload.arrivals]
    return Jobs(
        arrival_s=np.array([to_s(arrival.at_us) for arrival in workload.arrivals]),
        work=np.array([a.truth.amount or a.job.work.amount or 0.0 for a in workload.arrivals]),
        count=np.array([float(job.work.measured[0].count) for job in jobs]),
        rate=rate,
        restart_s=np.array([to_s(job.checkpoint.restart_us) if job.checkpoint else 0.0 for job in jobs]),
        spread=tuple(arrival.truth.spread_factor for arrival in workload.arrivals),
    )


def _solved(cost: Real, rate: Real, count: Real, devices: Real, floor: Real | None) -> Real:
    """max cost . X [+ t]  with sum_j X <= 1, sum_m count X <= devices, and floor . X >= t where `floor` is given."""
    n, k = rate.shape
    index = np.arange(n * k, dtype=np.int32).reshape(n, k)
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("solver", "ipm")  # the middle of all optima, as Gavel's own solver finds: equal jobs share
    solver.setOptionValue("run_crossover", "off")
    solver.setOptionValue("presolve", "off")
    for m in range(n):
        for j in range(k):
            solver.addVar(0.0, 1.0 if rate[m, j] > 0 else 0.0)
    solver.changeColsCost(n * k, index.ravel(), -cost.ravel())
    for m in range(n):
        solver.addRow(-highspy.kHighsInf, 1.0, k, index[m], np.ones(k))
    for j in range(k):
        solver.addRow(-highspy.kHighsInf, float(devices[j]), n, index[:, j].copy(), count.copy())
    if floor is not None:
        solver.addVar(0.0, highspy.kHighsInf)
        solver.changeColCost(n * k, -1.0)
        for m in range(n):
            solver.addRow(0.0, highspy.kHighsInf, k + 1, np.append(index[m], n * k), np.append(floor[m], -1.0))
    solver.run()
    return np.array(solver.getSolution().col_value[: n * k]).reshape(n, k).clip(0.0, 1.0)


def max_sum_throughput_perf(rate: Real, count: Real, devices: Real) -> Real:
    return _solved(rate, rate, count, devices, None)


def max_min_fairness_perf(rate: Real, count: Real, devices: Real) -> Real:
    equal = rate @ (devices / devices.sum())
    floor = rate * count[:, None] / equal[:, None]
    return _solved(np.zeros_like(rate), rate, count, devices, floor)


def fifo_perf(rate: Real, count: Real, devices: Real) -> Real:
    share, free = np.zeros_like(rate), devices.copy()
    for m in range(len(rate)):
        fits = np.flatnonzero(count[m] <= free)
        if not len(fits):
            break
        j = fits[np.argmax(rate[m, fits])]
        share[m, j] = 1.0
        free[j] -= count[m]
    return share


ALLOCATIONS: Mapping[str, Callable[[Real, Real, Real], Real]] = {
    "max_sum_throughput_perf": max_sum_throughput_perf,
    "max_min_fairness_perf": max_min_fairness_perf,
    "fifo_perf": fifo_perf,
}


def replay(
    workload: Workload,
    devices: Mapping[str, int],
    allocation: str,
    round_s: float,
    per_node: Mapping[str, int] | None = None,
    load_first: bool = False,
    first: int | None = None,
    resets_s: float | None = None,
) -> Outcome:
    """Run until the `first` jobs have ended, or all. `per_node`: devices of a node, by type; one where nothing is said.

    `load_first`: the first start of a job costs its restart time too. No allocation looks at what is left of a job, so
    that each is solved once for the same jobs; with `resets_s` at most so often, newcomers waiting until then.
    """
    types = list(devices)
    jobs, held = jobs_of(workload, types), np.array([float(devices[name]) for name in types])
    n, k = jobs.rate.shape
    left = jobs.work.copy()
    ended = np.full(n, np.inf)
    had = np.full((n, k), round_s / 2)  # seconds on each type, so that nothing is divided by zero
    sizes = [(per_node or {}).get(name, 1) for name in types]
    place: dict[int, tuple[int, tuple[int, ...]]] = {}  # type and devices in the last round
    owed_s = np.zeros(n)  # of a restart that outlasts its round
    starts = np.zeros(n, dtype=np.int64)
    solve = ALLOCATIONS[allocation]
    clock, rounds = 0, 0
    solved, solved_s, share = np.zeros(0, dtype=np.int64), -np.inf, np.zeros((0, k))
    owed = np.zeros((n, k))  # seconds that were promised and not given, up to the last allocation
    while np.isinf(ended[:first]).any():
        now_s = clock * round_s
        active = np.flatnonzero((jobs.arrival_s <= now_s) & np.isinf(ended))
        if not len(active):
            clock = int(np.ceil(jobs.arrival_s[np.isinf(ended)].min() / round_s))
            continue
        if not np.array_equal(active, solved) and (resets_s is None or now_s - solved_s >= resets_s):
            if resets_s is not None:
                owed[solved] += share * (now_s - solved_s if len(solved) else 0.0) - (had[solved] - round_s / 2)
                had[:] = round_s / 2
            solved, solved_s, share = active, now_s, solve(jobs.rate[active], jobs.count[active], held)
        mine = _rows_of(active, solved, share)
        shut = (jobs.rate[active] <= 0) | ((mine <= 0) & (allocation == "fifo_perf"))
        if resets_s is None:
            given_s = had[jobs.arrival_s <= now_s].sum(axis=0)
            chosen = _chosen(mine / (had[active] / given_s), mine, jobs.count[active], shut, held)
        else:
            had_s = had[active]
            chosen = _filled(mine / (had_s / had_s.sum(axis=0)), owed[active], mine, jobs.count[active], shut, held)
        before, place = (
            place,
            _seated(dict(zip(active.tolist(), chosen.tolist(), strict=True)), place, jobs.count, held),
        )
        for m, (j, ids) in place.items():
            if m not in before or _nodes(before[m], sizes) != _nodes((j, ids), sizes):
                owed_s[m] = jobs.restart_s[m] if starts[m] or load_first else 0.0
                starts[m] += 1
            had[m, j] += round_s
            idle_s = min(round_s, owed_s[m])
            owed_s[m] -= idle_s
            spread = jobs.spread[m].get(types[j], (1.0,))
            rate = jobs.rate[m, j] * spread[min(len(set(_nodes((j, ids), sizes)[1])), len(spread)) - 1]
            needed_s = left[m] / rate
            if needed_s <= round_s - idle_s:
                ended[m] = now_s + idle_s + needed_s
            else:
                left[m] -= (round_s - idle_s) * rate
        clock += 1
        rounds += 1
    return Outcome(jobs.arrival_s, ended, starts - 1, rounds)


def _rows_of(active: Int, solved: Int, share: Real) -> Real:
    """float64[active, k]: their shares, nothing for jobs that were not there when the allocation was made."""
    found = np.zeros((len(active), share.shape[1]))
    known = np.isin(active, solved)
    found[known] = share[np.searchsorted(solved, active[known])]
    return found


def _chosen(priority: Real, share: Real, count: Real, shut: Flag, devices: Real) -> Int:
    """int64[n]: the type that each job runs on in this round, or -1; never one where `shut`, bool[n, k]."""
    n, k = share.shape
    order = np.lexsort((np.arange(n * k), -share.ravel(), -priority.ravel()))
    return _given(order.tolist(), count, shut, devices)


def _filled(priority: Real, owed: Real, share: Real, count: Real, shut: Flag, devices: Real) -> Int:
    """The same, one type after the other; of equal priorities who is owed most goes first."""
    n, k = share.shape
    turns = [np.lexsort((np.arange(n), -share[:, j], -owed[:, j], -priority[:, j])) * k + j for j in range(k)]
    return _given(np.concatenate(turns).tolist(), count, shut, devices)


def _given(pairs: Sequence[int], count: Real, shut: Flag, devices: Real) -> Int:
    found, free = np.full(len(count), -1, dtype=np.int64), devices.copy()
    for pair in pairs:
        m, j = divmod(pair, len(devices))
        if found[m] < 0 and not shut[m, j] and count[m] <= free[j]:
            found[m] = j
            free[j] -= count[m]
    return found


def _nodes(place: tuple[int, tuple[int, ...]], sizes: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """The type, and the node of each device."""
    j, ids = place
    return j, tuple(sorted(device // sizes[j] for device in ids))


def _seated(
    chosen: Mapping[int, int], before: Mapping[int, tuple[int, tuple[int, ...]]], count: Real, devices: Real
) -> dict[int, tuple[int, tuple[int, ...]]]:
    """Devices by number for each job that runs in this round."""
    found: dict[int, tuple[int, tuple[int, ...]]] = {}
    for j, total in enumerate(devices.astype(int).tolist()):
        free = set(range(total))
        mine = [m for m, kind in chosen.items() if kind == j]
        for size in sorted({int(count[m]) for m in mine}, reverse=True):
            group = [m for m in mine if int(count[m]) == size]
            for m in group:
                if m in before and before[m][0] == j and free.issuperset(before[m][1]):
                    found[m] = before[m]
                    free.difference_update(before[m][1])
            for m in group:
                if m not in found:
                    found[m] = (j, tuple(sorted(free)[:size]))
                    free.difference_update(found[m][1])
    return found
