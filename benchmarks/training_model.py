"""How well step times of training are predicted: fit on some measurements, score on others, beside simple baselines.

    python benchmarks/training_model.py --measurements F [--protocol in-sample|leave-model-out|leave-device-out|scale]
                                        [--observations K [--draws N]] [--write FILE] [-o json]
    python benchmarks/training_model.py --measurements FIT --score OTHER [-o json]
    python benchmarks/training_model.py --measurements F --protocol memory|floor|speed|ratios|layout-assumed
    python benchmarks/training_model.py --profiles F       # step times of black boxes, as Sia publishes them
    python benchmarks/training_model.py --runs F           # MLPerf's times to train, scored and never fitted

`leave-device-out` leaves out every row of an accelerator; with `--observations K` the fit also gets K rows of a device,
drawn anew many times, and the others are scored. `leave-model-out` scores devices and software that the fit has.
`scale` fits up to 64 devices and scores 128 and more. Without a protocol all of them run, without and with three
observations. Scored are rows whose layout the file tells; `layout-assumed` scores the others, each in the fastest
layout that fits, before and after three of their software were seen. `floor`: how far nearly repeated measurements lie
from a smooth line.

Errors are of tokens a second. There is a row for each device and software, and for all. `baselines` are fitted to the
same rows: six operations per weight and token, and a constant share of the peak by device, of what the model needs
(mfu) and of what the hardware computes, recomputation included (hfu). `--write` fits all rows and writes the
coefficients.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks._scores import document, rounded
from benchmarks._training_facts import black_box, floors, memory, ratios, speed
from benchmarks._training_rows import Measured, read_training
from benchmarks._training_runs import read_runs, score_runs
from benchmarks._training_table import BoolArray, Scored, Table, assumed_layouts, shipped_coefficients
from scheduler.config import load_fit, shipped
from scheduler.config.dump import dump_yaml
from scheduler.config.profiles import encode_profiles, plain_fit
from scheduler.errors import DualtrackError
from scheduler.profiles.training_model import predict_steps
from scheduler.profiles.training_rates import TrainingCoefficients

PROTOCOLS = (
    "in-sample",
    "leave-model-out",
    "leave-device-out",
    "scale",
    "layout-assumed",
    "memory",
    "floor",
    "speed",
    "ratios",
)
SMALL, LARGE = 64, 128
DRAWS = 40
OBSERVATIONS = 3
DIGITS = 5


def run(table: Table, protocol: str, observations: int, draws: int) -> Iterator[dict[str, Any]]:
    """Rows of a protocol that fits a part of the table and scores another."""
    every = np.ones(len(table.rows), dtype=bool)
    scored, more = Scored(table), {}
    if protocol == "in-sample":
        scored.add(every, every, predict_steps(table.fit(every), table.steps))
    elif protocol == "leave-model-out":
        for name in sorted(set(table.model)):
            kept = table.model != name
            known = np.isin(table.device, table.device[kept]) & np.isin(table.engine, table.engine[kept])
            left(table, scored, kept, ~kept & known)
    elif protocol == "scale":
        left(table, scored, table.steps.counts <= SMALL, table.steps.counts >= LARGE)
    else:
        more = {"observations": observations, "fitted_accelerators": len(set(table.accelerator)) - 1}
        for name in sorted(set(table.accelerator)):
            kept = table.accelerator != name
            if observations:
                after(table, scored, kept, ~kept, observations, draws)
            else:
                left(table, scored, kept, ~kept)
    return scored.rows(protocol, **more)


def left(table: Table, scored: Scored, kept: BoolArray, held: BoolArray) -> None:
    if kept.any() and held.any():
        scored.add(kept, held, predict_steps(table.fit(kept), table.steps.where(held)))


def after(table: Table, scored: Scored, kept: BoolArray, out: BoolArray, observations: int, draws: int) -> None:
    """Rows left out, of one device and software at a time, with so many of them given back."""
    if not kept.any():
        return
    base, draw = table.fit(kept), np.random.default_rng(0)
    for device, engine in sorted({(table.device[i], table.engine[i]) for i in np.flatnonzero(out)}):
        held = out & (table.device == device) & (table.engine == engine)
        if held.sum() <= observations:
            continue
        for _ in range(draws):
            given = np.zeros_like(kept)
            given[draw.choice(np.flatnonzero(held), observations, replace=False)] = True
            model = table.fit(kept | given, bands=base)
            scored.add(kept | given, held & ~given, predict_steps(model, table.steps.where(held & ~given)))


def across(fitted: Table, other: Table) -> Iterator[dict[str, Any]]:
    """All of one table fitted, all of the other scored."""
    every = np.ones(len(fitted.rows), dtype=bool)
    scored = Scored(other)
    predicted = predict_steps(fitted.fit(every), other.steps)
    scored.add(every, np.ones(len(other.rows), dtype=bool), predicted, source=fitted)
    return scored.rows("score")


def whole(rows: Sequence[Measured], source: str) -> tuple[Table, int]:
    """The rows whose layout is told, then the others in layouts that are assumed; and how many are told."""
    told = [row for row in rows if row.layout is not None]
    table = Table(told)
    model = table.fit(np.ones(len(told), dtype=bool))
    others = assumed_layouts([r for r in rows if r.layout is None], shipped_coefficients(table, model, source))
    return Table([*told, *others], [False] * len(told) + [True] * len(others)), len(told)


def assumed(rows: Sequence[Measured], source: str, draws: int) -> Iterator[dict[str, Any]]:
    table, told = whole(rows, source)
    kept = np.arange(len(table.rows)) < told
    for observations in (0, OBSERVATIONS):
        scored = Scored(table)
        if observations:
            after(table, scored, kept, ~kept, observations, draws)
        else:
            left(table, scored, kept, ~kept)
        yield from scored.rows("layout-assumed", observations=observations)


def results(
    rows: Sequence[Measured], protocol: str, given: argparse.Namespace, observations: int
) -> Iterator[dict[str, Any]]:
    told, source = [row for row in rows if row.layout is not None], given.measurements.name
    if protocol == "memory":
        yield from memory(told)
    elif protocol == "floor":
        yield from floors(told)
    elif protocol == "layout-assumed":
        yield from assumed(rows, source, given.draws)
    elif protocol in ("speed", "ratios"):
        table, _ = whole(rows, source)
        coefficients = shipped_coefficients(table, table.fit(np.ones(len(table.rows), dtype=bool)), source)
        yield from speed(table, coefficients) if protocol == "speed" else ratios(coefficients)
    else:
        yield from run(Table(told), protocol, observations, given.draws)


def write(rows: Sequence[Measured], path: Path, source: str) -> None:
    """The coefficients of a fit to all rows, as a file that ships."""
    table, told = whole(rows, source)
    model = table.fit(np.ones(len(table.rows), dtype=bool))
    note = f"{source}: {told} rows whose layout is told, {len(table.rows) - told} in an assumed one"
    values = encode_profiles(fits={"training": rounded(plain_fit(shipped_coefficients(table, model, note)), DIGITS)})
    path.write_text(f"# Written by benchmarks/training_model.py --write.\n{dump_yaml(values)}", encoding="utf-8")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measurements", type=Path)
    parser.add_argument("--score", type=Path, help="fit all of --measurements and score this file")
    parser.add_argument("--protocol", choices=PROTOCOLS)
    parser.add_argument("--observations", type=int, default=0)
    parser.add_argument("--draws", type=int, default=DRAWS, help="times that observations of a device are drawn")
    parser.add_argument("--profiles", type=Path, help="Sia's profile_placements")
    parser.add_argument("--runs", type=Path, help="MLPerf's training runs")
    parser.add_argument("--write", type=Path, help="write the coefficients of a fit to all rows")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    if not (given.measurements or given.profiles or given.runs):
        parser.error("give --measurements, --profiles or --runs")
    return given


def found_by(given: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, int]]:
    found = list(black_box(given.profiles)) if given.profiles else []
    unused: Counter[str] = Counter()
    if given.runs:
        runs, unused = read_runs(given.runs)
        fitted = load_fit(shipped("profiles", "training"), "training", TrainingCoefficients)
        found.extend(score_runs(runs, fitted))
    if not given.measurements:
        return found, dict(unused)
    rows, left_out = read_training(given.measurements)
    if given.score:
        others, more = read_training(given.score)
        left_out.update(more)
        left_out["layout not told"] += sum(row.layout is None for row in others)
        fitted, scored = (Table([row for row in part if row.layout is not None]) for part in (rows, others))
        found.extend(across(fitted, scored))
    elif given.protocol:
        found.extend(results(rows, given.protocol, given, given.observations))
    elif not given.write:
        for protocol in PROTOCOLS:
            for observations in (0, OBSERVATIONS) if protocol == "leave-device-out" else (0,):
                found.extend(results(rows, protocol, given, observations))
    if given.write:
        write(rows, given.write, given.measurements.name)
    return found, dict(left_out)


def main() -> None:
    given = parsed()
    try:
        found, left_out = found_by(given)
    except DualtrackError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    if given.output == "json":
        print(json.dumps(document(found, left_out=left_out), indent=1))
        return
    print(f"left out: {left_out}")
    for row in found:
        print(line(row))


def line(row: dict[str, Any]) -> str:
    if "mape_percent" not in row:
        return "  ".join(f"{key} {value}" for key, value in row.items())
    low, high = row["coverage_interval_percent"]
    name = f"{row['protocol']}{'+' + str(row['observations']) if row.get('observations') else ''}"
    plain = "".join(f" {value:6.1f}" for key, value in row.items() if key.startswith("baseline_"))
    return (
        f"{name:19} {row.get('device', ''):13} {row.get('engine', '')[:27]:27} n {row['n']:4}"
        f"  error {row['mape_percent']:6.2f}  p90 {row['p90_error_percent']:6.2f}"
        f"  band holds {row['coverage_90_percent']:5.1f} [{low:.0f}, {high:.0f}]  6N, MFU, HFU:{plain}"
    )


if __name__ == "__main__":
    main()
