"""How long the solvers of shares and of assignments take, how near they come, and what a general solver takes.

    python benchmarks/solve_time.py [--jobs 2048,10000] [--types 3] [--entities 0] [--load 12]
                                    [--options 20] [--rows 6] [--tenants 0] [--gap 1e-4]
                                    [--policies max-min,water-filling,finish-time-fairness,makespan,assignment,gangs]
                                    [--seed 0] [--repeat 3] [--peer-s 60] [-o json]

Shares: `--jobs` jobs of 1, 2, 4 or 8 devices with log-normal rates on `--types` types, a twelfth of all pairs dead, no
two rows alike; demand is 12 times what there is, or `--load` times for water-filling. Rates are normalised by those of
an equal split, as Gavel does. `--entities` splits the weights of water-filling between so many tenants of unequal
weight. `assignment`: one of `--options` for each job, in `--rows` rows; `--tenants` adds quota rows, as many as tenants
times types. `gangs`: 60 gangs of 8, 16 or 32, three types of 64 devices each.

`solve_ms` is the least of `--repeat` runs in CPU time, compiled loops warm, without prices from earlier runs; `gap` is
the one that the solver itself proves. `peer_ms` is the CPU time of HiGHS, `peer` says in which setting: the interior
point method without crossover for shares, branch and bound for assignments, `--peer-s` wall seconds at most (0: none).
`ratio` is the peer's time to ours. `peer_apart` is how far our value is from its own, relative: of water-filling at its
worst level, HiGHS being given who keeps what there. For finish-time fairness HiGHS solves the linear program at our rho
and at one 0.5 % lower, and `peer_apart` says whether it could be reached. `published` are figures of others.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import highspy
import numpy as np

import scheduler
from scheduler.policies.assignment import Assignment, solve
from scheduler.policies.exact_shares import lp_level
from scheduler.policies.shares import Shares, finish_time_fairness, makespan, max_min
from scheduler.policies.water_filling import TenantTree, water_filling

LOAD, DEAD = 12, 1 / 12
SCHEMA = "dualtrack/v1"
PUBLISHED = {
    ("max-min", 2048): "Gavel's code, 2,048 jobs: 59 ms",
    ("max-min", 100_000): "cvxpy with ECOS, 100,000 jobs: 17.5 s (3 types), 44 s (6 types)",
    ("water-filling", 1024): "Gavel's code, 1,024 jobs, 5 entities: 41 s",
    ("finish-time-fairness", 2048): "Gavel's code, 2,048 jobs: 19.8 s",
}


def contended(jobs: int, types: int, seed: int, load: float = LOAD) -> tuple[Shares, np.random.Generator]:
    draw = np.random.default_rng(seed)
    rate = draw.lognormal(0, 0.6, (jobs, types)) * np.linspace(1, 3, types)
    rate[draw.random((jobs, types)) < DEAD] = 0.0
    size = draw.choice([1, 2, 4, 8], jobs, p=[0.7, 0.1, 0.15, 0.05])
    available = np.full(types, max(8, int(size.sum() / load / types)))
    split = rate @ (available / available.sum())
    speed = rate * (size / np.where(split > 0, split, 1.0))[:, None]
    pairs = jobs * types
    shares = Shares(
        np.arange(jobs + 1) * types,
        speed.ravel(),
        np.arange(pairs + 1),
        np.tile(np.arange(types), jobs),
        np.repeat(size, types),
        available,
    )
    return shares, draw


def timed(call: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    found, best = call(), np.inf  # the first one compiles
    for _ in range(repeat):
        begun = time.process_time()
        found = call()
        best = min(best, (time.process_time() - begun) * 1e3)
    return best, found


def peer_level(shares: Shares, weight: np.ndarray, floor: np.ndarray) -> tuple[float, float]:
    rows, _ = shares.rows()
    begun = time.process_time()
    level, _, _ = lp_level(rows, weight, floor, "ipm", "off")
    return (time.process_time() - begun) * 1e3, level


def max_min_case(given: argparse.Namespace) -> dict[str, Any]:
    shares, draw = contended(given.jobs, given.types, given.seed)
    able = shares.speed.reshape(-1, given.types).max(axis=1) > 0
    weight = np.where(able, draw.uniform(0.5, 2, given.jobs), 0.0)
    took, found = timed(lambda: max_min(shares, weight), given.repeat)
    row = {"solve_ms": took, "gap": found.gap, "stopped": found.stopped}
    if given.peer_s:
        peer_ms, level = peer_level(shares, weight, np.zeros(given.jobs))
        row |= {"peer": "HiGHS ipm, no crossover", "peer_ms": peer_ms, "peer_apart": abs(found.level / level - 1)}
    return row


def makespan_case(given: argparse.Namespace) -> dict[str, Any]:
    shares, draw = contended(given.jobs, given.types, given.seed)
    fastest = shares.speed.reshape(-1, given.types).max(axis=1)
    left = fastest * draw.lognormal(8, 0.5, given.jobs)
    took, found = timed(lambda: makespan(shares, left), given.repeat)
    row = {"solve_ms": took, "gap": found.gap, "stopped": found.stopped}
    if given.peer_s:
        peer_ms, level = peer_level(shares, left / left.max(), np.zeros(given.jobs))
        apart = abs(left.max() / level / found.level - 1)
        row |= {"peer": "HiGHS ipm, no crossover", "peer_ms": peer_ms, "peer_apart": apart}
    return row


def finish_time_case(given: argparse.Namespace) -> dict[str, Any]:
    """Each job is due when it would end on an equal part of the cluster, give or take three tenths."""
    shares, draw = contended(given.jobs, given.types, given.seed)
    speed = shares.speed.reshape(-1, given.types)
    able = speed.max(axis=1) > 0
    left = np.where(able, draw.lognormal(8, 1, given.jobs), 0.0)
    due = left * LOAD / np.where(able, speed.mean(axis=1), 1.0) * draw.uniform(0.7, 1.3, given.jobs)
    due, age = np.where(able, due, 1.0), due * draw.uniform(0, 0.3, given.jobs)
    took, found = timed(lambda: finish_time_fairness(shares, left, age, due), given.repeat)
    row: dict[str, Any] = {"solve_ms": took, "gap": found.gap, "stopped": found.stopped, "rho": found.level}
    if given.peer_s:

        def meets(rho: float) -> tuple[float, bool]:
            need = left / np.maximum(rho * due - age, 1e-9)
            spent, level = peer_level(shares, need, np.zeros(given.jobs))
            return spent, level >= 1 - 1e-6

        begun, (low, high), total = 0, (found.level * 0.5, found.level * 2), 0.0
        while high / low > 1.0005 and begun < 30:
            spent, met = meets((low + high) / 2)
            low, high = (low, (low + high) / 2) if met else ((low + high) / 2, high)
            total, begun = total + spent, begun + 1
        apart = abs(found.level / high - 1)
        row |= {"peer": "bisection over HiGHS ipm to 0.05 %", "peer_ms": total, "peer_apart": apart}
    return row


def water_filling_case(given: argparse.Namespace) -> dict[str, Any]:
    shares, draw = contended(given.jobs, given.types, given.seed, given.load)
    count, tree = given.entities, None
    if count:
        tree = TenantTree(draw.integers(0, count, given.jobs), np.full(count, -1), np.arange(1.0, count + 1))
    took, found = timed(lambda: water_filling(shares, np.ones(given.jobs), tree=tree), given.repeat)
    levels = found.levels
    row = {"entities": count, "solve_ms": took, "gap": found.gap, "stopped": found.stopped, "levels": len(levels)}
    if given.peer_s:
        peers = [peer_level(shares, one.weight, one.floor) for one in levels]
        apart = max(abs(one.level / exact - 1) for one, (_, exact) in zip(levels, peers, strict=True))
        peer_ms = sum(spent for spent, _ in peers)
        row |= {"peer": "HiGHS ipm, no crossover, one program a level", "peer_ms": peer_ms, "peer_apart": apart}
    return row


def drawn_assignment(given: argparse.Namespace) -> Assignment:
    """Counts of 1 to 16 in `--rows` rows, with returns that diminish; with tenants, one more row for each and kind."""
    draw, jobs, kinds, options = np.random.default_rng(given.seed), given.jobs, given.rows, given.options
    count = np.tile(2 ** (np.arange(options) // 4 % 5), jobs)
    kind = (np.tile(np.arange(options), jobs) + np.repeat(draw.integers(0, kinds, jobs), options)) % kinds
    job = np.repeat(np.arange(jobs), options)
    utility = draw.lognormal(0, 0.6, jobs)[job] * draw.lognormal(0, 0.4, (jobs, kinds))[job, kind] * count**0.6
    row, available = kind[:, None], np.full(kinds, 3 * jobs // kinds)
    if given.tenants:
        tenant = draw.integers(0, given.tenants, jobs)
        row = np.stack((kind, kinds + tenant[job] * kinds + kind), axis=1)
        quota = draw.integers(2, 2 + max(2, 6 * jobs // given.tenants // kinds), given.tenants * kinds)
        available = np.concatenate((available, quota))
    width, pairs = row.shape[1], jobs * options
    ptr, use_ptr = np.arange(jobs + 1) * options, np.arange(pairs + 1) * width
    return Assignment(ptr, utility, use_ptr, row.ravel(), np.repeat(count, width), available)


def drawn_gangs(seed: int, gangs: int = 60, kinds: int = 3, devices: int = 64) -> Assignment:
    draw = np.random.default_rng(seed)
    size = draw.choice([8, 16, 32], gangs)
    utility = draw.lognormal(0, 0.5, (gangs, kinds)) * size[:, None]
    ptr, pairs = np.arange(gangs + 1) * kinds, gangs * kinds
    row, amount = np.tile(np.arange(kinds), gangs), np.repeat(size, kinds)
    return Assignment(ptr, utility.ravel(), np.arange(pairs + 1), row, amount, np.full(kinds, devices))


def assigned(problem: Assignment, given: argparse.Namespace, gap: float) -> dict[str, Any]:
    took, found = timed(lambda: solve(problem, gap=gap), given.repeat)
    row: dict[str, Any] = {"solve_ms": took, "gap": found.gap, "stopped": found.stopped}
    if given.peer_s:
        peer_ms, value, status = branched(problem, gap, given.peer_s)
        apart = found.value / value - 1 if value > 0 else None
        row |= {"peer": f"HiGHS branch and bound: {status}", "peer_ms": peer_ms, "peer_apart": apart}
    return row


def branched(problem: Assignment, gap: float, limit_s: float) -> tuple[float, float, str]:
    """CPU milliseconds of HiGHS, the value of the best assignment that it found (0: none), and how it ended."""
    options, jobs = len(problem.utility), len(problem.ptr) - 1
    owner = np.repeat(np.arange(jobs), np.diff(problem.ptr))
    row = np.concatenate((problem.use_row, len(problem.available) + owner))
    used_by = np.repeat(np.arange(options), np.diff(problem.use_ptr))
    column, value = (
        np.concatenate((used_by, np.arange(options))),
        np.concatenate((problem.use_amount, np.ones(options))),
    )
    order = np.lexsort((row, column))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = options, len(problem.available) + jobs
    model.sense_, model.col_cost_ = highspy.ObjSense.kMaximize, problem.utility
    model.col_lower_, model.col_upper_ = np.zeros(options), np.ones(options)
    model.row_lower_ = np.full(model.num_row_, -highspy.kHighsInf)
    model.row_upper_ = np.concatenate((problem.available, np.ones(jobs))).astype(np.float64)
    model.integrality_ = [highspy.HighsVarType.kInteger] * options
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.searchsorted(column[order], np.arange(options + 1)).astype(np.int32)
    model.a_matrix_.index_, model.a_matrix_.value_ = row[order].astype(np.int32), value[order].astype(np.float64)
    highs = highspy.Highs()
    settings = {"output_flag": False, "threads": 1, "mip_rel_gap": gap, "time_limit": float(limit_s)}
    for name, chosen in settings.items():
        highs.setOptionValue(name, chosen)
    highs.passModel(model)
    begun = time.process_time()
    highs.run()
    spent, info = (time.process_time() - begun) * 1e3, highs.getInfo()
    found = float(info.objective_function_value) if info.primal_solution_status == 2 else 0.0
    return spent, found, highs.modelStatusToString(highs.getModelStatus())


CASES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "max-min": max_min_case,
    "makespan": makespan_case,
    "finish-time-fairness": finish_time_case,
    "water-filling": water_filling_case,
    "assignment": lambda given: assigned(drawn_assignment(given), given, given.gap),
    "gangs": lambda given: assigned(drawn_gangs(given.seed), given, 0.0025),
}


def measured(name: str, jobs: int, given: argparse.Namespace) -> dict[str, Any]:
    given = argparse.Namespace(**{**vars(given), "jobs": jobs, **({"jobs": 60, "types": 3} if name == "gangs" else {})})
    row = {"policy": name, "jobs": given.jobs, "types": given.types, "seed": given.seed, **CASES[name](given)}
    if "peer_ms" in row:
        row["ratio"] = row["peer_ms"] / row["solve_ms"]
    if name == "assignment":
        row |= {"types": given.rows, "options": given.options, "tenants": given.tenants}
    known = PUBLISHED.get((name, given.jobs))
    return row | ({"published": known} if known else {})


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", default="2048", help="one number, or several with commas between")
    parser.add_argument("--types", type=int, default=3)
    parser.add_argument("--entities", type=int, default=0, help="of water-filling; 0: none")
    parser.add_argument("--load", type=float, default=LOAD, help="of water-filling: demand for what there is")
    parser.add_argument("--rows", type=int, default=6, help="of assignment")
    parser.add_argument("--options", type=int, default=20, help="of each job of assignment")
    parser.add_argument("--gap", type=float, default=1e-4, help="at which assignment may end")
    parser.add_argument("--tenants", type=int, default=0, help="of assignment, each with a quota for every row")
    parser.add_argument("--policies", default=",".join(CASES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peer-s", type=float, default=60.0, help="0: no peer")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    unknown = set(given.policies.split(",")) - set(CASES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(CASES)}")
    return given


def main() -> None:
    given = parsed()
    rows = [measured(name, int(jobs), given) for name in given.policies.split(",") for jobs in given.jobs.split(",")]
    if given.output == "json":
        machine = f"{platform.platform()}, {platform.processor() or platform.machine()}"
        versions = {
            "dualtrack": scheduler.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "highspy": highspy.Highs().version(),
        }
        command = " ".join(sys.argv)
        found = {"schema": SCHEMA, "command": command, "machine": machine, "versions": versions, "results": rows}
        print(json.dumps(found, indent=1))
        return
    print("policy                    jobs types  solve ms       gap    peer ms  ratio")
    for row in rows:
        peer = f"{row['peer_ms']:10.0f} {row['ratio']:6.1f}" if "peer_ms" in row else "         -      -"
        print(f"{row['policy']:22} {row['jobs']:7} {row['types']:5} {row['solve_ms']:9.1f} {row['gap']:9.1e} {peer}")


if __name__ == "__main__":
    main()
