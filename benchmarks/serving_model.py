"""How well serving times are predicted: fit on some measured points, score on others, beside simple baselines.

    python benchmarks/serving_model.py --points FIT... [--protocol P,...] [--observations K] [--write FILE] [-o json]
    python benchmarks/serving_model.py --points FIT... --score OTHER... [--observations K] [-o json]

Files are aiconfigurator's `silicon_sample` (CSV, plain or gzip) or the table of published figures. Without `--score` a
protocol says what is left out in turn: `leave-cell-out` (a model on a device under an engine), `leave-model-out`,
`leave-device-out`, `leave-engine-out`, or nothing (`in-sample`). With `--observations K` so many rows of each cell that
is scored, drawn at random ten times, are seen before the others of the cell are predicted; rows `seen: stack` draw them
from the same version and precision. Phases: time per output token, time to the first token at batches of at most four
(no queueing), and at all batches (with the queueing of a closed loop). `overrun` rows, which wait longer for the first
token than all others take, are scored, but not in groups that say `running`: their batch column is a queue.
`--write` fits all of `--points`, writes what ships and scores nothing.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from benchmarks._clustered import clustered_interval
from benchmarks._scores import LEVEL, document, rounded, scores
from benchmarks._serving_rows import Row, points_of, read_points
from scheduler.config import encode_profiles, plain_fit
from scheduler.config.dump import dump_yaml
from scheduler.errors import DualtrackError
from scheduler.profiles.serving import decode_floor_s, running
from scheduler.profiles.serving_model import Forecast, Phase, Points, ServingModel, fit_serving_model, forecast

PROTOCOLS: Mapping[str, Callable[[Row], str] | None] = {
    "in-sample": None,
    "leave-cell-out": lambda row: row.cell,
    "leave-model-out": lambda row: row.model,
    "leave-device-out": lambda row: row.device,
    "leave-engine-out": lambda row: row.engine,
}
USUAL = "in-sample,leave-cell-out,leave-model-out"
HOPPER = ("h100", "h200")
DRAWS = 10
SEED = 0
DIGITS = 6

AICONFIGURATOR = (
    # NVIDIA aiconfigurator 0.12.0 run on 114 rows drawn from the whole silicon sample (aggregated, tensor split <= 8)
    {"phase": "tpot", "device": "all", "mape_percent": 25.6, "median_error_percent": 15.1, "n": 114},
    {"phase": "tpot", "device": "h100", "mape_percent": 14.3, "n": 68},
    {"phase": "tpot", "device": "h200", "mape_percent": 42.0, "n": 46},
    {"phase": "ttft_queued", "device": "all", "mape_percent": 51.0, "n": 114},
)
SOURCE = "aiconfigurator 0.12.0 on 114 random rows of the same dump; figures taken over, not run here"

HAND_BANDWIDTH, HAND_ARITHMETIC, HAND_LAYER_S = 0.8, 0.6, 20e-6
"""Shares of the data sheet and time per layer that practitioners assume; others' prompts take their share of a step."""

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class Said:
    """Predictions of one protocol, phase and count of observations: which row, and with what band."""

    def __init__(self) -> None:
        self.which: list[int] = []
        self.values: list[tuple[float, float, float]] = []

    def add(self, places: Sequence[int], made: Forecast) -> None:
        self.which.extend(int(place) for place in places)
        self.values.extend(zip(made.value, made.low, made.high, strict=True))


class Table:
    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self.points = points_of(rows)
        self.overrun = self.points.ttft > np.asarray(self.points.demand.output) * self.points.tpot

    def groups(self) -> Iterator[tuple[dict[str, str], BoolArray]]:
        """What is reported apart: device, engine, kind of model, and whether servers that were overrun count."""
        device = np.array([row.device for row in self.rows])
        engine = np.array([row.engine for row in self.rows])
        mixture = np.array([row.mixture for row in self.rows])
        every, hopper = np.ones(len(device), dtype=bool), np.isin(device, HOPPER)
        yield {"device": "all", "engine": "all", "models": "all"}, every
        yield {"device": "all", "engine": "all", "models": "all", "batches": "running"}, ~self.overrun
        yield {"device": "h100+h200", "engine": "all", "models": "all"}, hopper
        yield {"device": "h100+h200", "engine": "all", "models": "dense"}, hopper & ~mixture
        yield {"device": "all", "engine": "all", "models": "dense"}, ~mixture
        yield {"device": "all", "engine": "all", "models": "mixture"}, mixture
        for one in sorted(set(device)):
            yield {"device": one, "engine": "all", "models": "all"}, device == one
        for one in sorted(set(engine)):
            yield {"device": "all", "engine": one, "models": "all"}, engine == one
        model = np.array([row.model for row in self.rows])
        for one in sorted(set(model)):
            yield {"device": "all", "engine": "all", "models": one}, model == one


def report(table: Table, phase: Phase, said: Said, **more: Any) -> Iterator[dict[str, Any]]:
    which, values = np.array(said.which, dtype=int), np.array(said.values).reshape(-1, 3)
    observed = table.points.observed(phase)
    for names, rows in table.groups():
        chosen = rows[which] & np.isfinite(observed[which])
        if chosen.any():
            value, low, high = values[chosen].T
            seen = observed[which[chosen]]
            found = scores(seen, value, low, high, which[chosen])
            inside = ((low <= seen) & (seen <= high)).astype(np.float64)
            clustered = by_cell(inside, which[chosen], table)
            yield {**more, "phase": phase.value, **names, "predictor": "dualtrack", **found, **clustered}


def by_cell(inside: FloatArray, which: NDArray[np.int64], table: Table) -> dict[str, Any]:
    """How many cells the measurements are of, and what coverage their number allows: those of a cell err together."""
    cells = [table.points.cells[place] for place in which]
    low, high = clustered_interval(inside, which, cells)
    interval = [round(100 * low, 2), round(100 * high, 2)]
    return {"cells": len(set(cells)), "coverage_interval_by_cell_percent": interval,
            "coverage_holds_by_cell": low <= LEVEL <= high}  # fmt: skip


def simple(table: Table, phase: Phase) -> Iterator[dict[str, Any]]:
    """Baselines without any fit, on the same rows."""
    s, d, observed = table.points.served, table.points.demand, table.points.observed(phase)
    held = np.asarray(running(s, d)) * np.ones(len(observed))
    if phase is Phase.TPOT:
        tokens = held * s.data
        arithmetic = held * s.product_s + tokens * s.expert_product_s
        read = np.asarray(decode_floor_s(s, d))
        prompts = d.prompt * (np.asarray(s.product_s) + np.asarray(s.expert_product_s) * s.data)
        others = d.mixed * (held - 1) / d.output * prompts / HAND_ARITHMETIC
    else:
        arithmetic = d.prompt * (np.asarray(s.product_s) + np.asarray(s.expert_product_s) * s.data)
        read, others = np.maximum(s.weights_s, arithmetic), 0.0
    hand = (
        np.maximum(read / HAND_BANDWIDTH, arithmetic / HAND_ARITHMETIC) + HAND_LAYER_S * np.asarray(s.layers) + others
    )
    for name, value in (("bandwidth roofline", read), ("hand-set coefficients", hand)):
        for names, rows in table.groups():
            chosen = rows & np.isfinite(observed)
            if chosen.any():
                errors = 100 * np.abs(value[chosen] / observed[chosen] - 1)
                figures = {"mape_percent": errors.mean(), "median_error_percent": np.median(errors),
                           "p90_error_percent": np.quantile(errors, 0.9)}  # fmt: skip
                rounded = {key: round(float(figure), 2) for key, figure in figures.items()}
                yield {
                    "protocol": "baseline",
                    "phase": phase.value,
                    **names,
                    "predictor": name,
                    **rounded,
                    "n": int(chosen.sum()),
                }


def repeats(table: Table) -> Iterator[dict[str, Any]]:
    """How far repeated measurements of one setting lie from each other, of the same software and of any version: no
    prediction can be nearer than that."""
    for phase, same in ((phase, same) for phase in (Phase.TPOT, Phase.TTFT_QUEUED) for same in (True, False)):
        settings: dict[tuple[Any, ...], list[float]] = {}
        for row, seconds in zip(table.rows, table.points.observed(phase), strict=True):
            s, d = row.replica, row.demand
            setting = (row.cell, row.precision, s.tensor, s.data, s.expert, d.batch, d.prompt, d.output)
            settings.setdefault((*setting, row.version) if same else setting, []).append(float(seconds))
        pairs = [abs(a / b - 1) for found in settings.values() for a, b in combinations(sorted(found), 2)]
        if pairs:
            names = {"device": "all", "engine": "all", "models": "all"}
            predictor = f"a repeated measurement, {'same' if same else 'any'} version"
            error, median = (round(100 * float(f(pairs)), 2) for f in (np.mean, np.median))
            yield {"protocol": "baseline", "phase": phase.value, **names, "predictor": predictor, "mape_percent": error,
                   "median_error_percent": median, "n": len(pairs)}  # fmt: skip


def run(table: Table, protocol: str, observations: int) -> dict[tuple[Phase, int, str], Said]:
    """All phases of one protocol, without and with observations."""
    key = PROTOCOLS[protocol]
    said: dict[tuple[Phase, int, str], Said] = {}
    every = np.arange(len(table.rows))
    if key is None:
        score(fitted(table.points), table.points, every, 0, said)
        return said
    labels = np.array([key(row) for row in table.rows])
    for label in sorted(set(labels)):
        held = labels == label
        rest = table.points.where(~held)
        if np.isfinite(rest.tpot).any() and np.isfinite(rest.ttft).any():
            score(fitted(rest), table.points, every[held], observations, said)
    return said


def fitted(points: Points) -> ServingModel:
    return fit_serving_model(points, np.random.default_rng(SEED))


def score(
    model: ServingModel,
    points: Points,
    places: NDArray[np.int64],
    observations: int,
    said: dict[tuple[Phase, int, str], Said],
) -> None:
    """Predicts the rows at `places`, and again after observations of their cells and stacks."""
    for phase in Phase:
        measured = places[np.isfinite(points.observed(phase)[places])]
        if not len(measured) or phase.value not in model.spreads:
            continue
        said.setdefault((phase, 0, ""), Said()).add(measured, forecast(model, points.where(measured), phase))
        for seen in ("cell", "stack") if observations else ():
            into = said.setdefault((phase, observations, seen), Said())
            after(model, points, measured, phase, observations, seen, into)


def after(
    model: ServingModel,
    points: Points,
    places: NDArray[np.int64],
    phase: Phase,
    observations: int,
    seen: str,
    into: Said,
) -> None:
    labels = [points.cells[i] if seen == "cell" else f"{points.cells[i]} {points.stacks[i]}" for i in places]
    rng = np.random.default_rng(SEED)
    for label in sorted(set(labels)):
        own = places[np.array([name == label for name in labels])]
        for _ in range(DRAWS if len(own) > observations else 0):
            order = rng.permutation(own)
            known, rest = order[:observations], order[observations:]
            into.add(rest, forecast(model, points.where(rest), phase, points.where(known)))


def speed(points: Points, model: ServingModel) -> float:
    """Predictions of time per output token a second, arrays of 200,000, best of five by processor time."""
    from scheduler.profiles.serving_fit import tpot_s

    many = points.where(np.resize(np.arange(len(points)), 200_000))
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        tpot_s(many.served, many.demand, "vllm", model.coefficients)
        best = min(best, time.process_time() - begun)
    return len(many) / best


def results(table: Table, other: Table | None, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    apart = Table([row for row in table.rows if row.apart]) if any(row.apart for row in table.rows) else None
    table = Table([row for row in table.rows if not row.apart])
    model = fitted(table.points)
    if other is not None:
        said: dict[tuple[Phase, int, str], Said] = {}
        score(model, other.points, np.arange(len(other.rows)), given.observations, said)
        yield from told(other, "score", said)
    else:
        for protocol in given.protocol.split(","):
            yield from told(table, protocol, run(table, protocol, given.observations))
    if apart is not None:
        said = {}
        score(model, apart.points, np.arange(len(apart.rows)), 0, said)
        yield from told(apart, "published rates", said)
    for phase in Phase:
        yield from simple(other or table, phase)
    yield from repeats(other or table)
    for row in AICONFIGURATOR:
        yield {"protocol": "baseline", "engine": "all", "models": "all", **row, "predictor": SOURCE}
    yield {"protocol": "speed", "phase": "tpot", "predictions_per_s": round(speed(table.points, model))}


def write(rows: Sequence[Row], files: Sequence[Path], path: Path) -> None:
    """The coefficients and bands of a fit to all rows, as a file that ships."""
    kept = [row for row in rows if not row.apart]
    model = fitted(points_of(kept))
    cells, names = len({row.cell for row in kept}), ", ".join(file.name for file in files)
    note = f"{len(kept)} measured points of {cells} models on devices under engines, from {names}"
    devices = tuple(sorted({row.device for row in kept}))
    shipped = structs.replace(model, source=note, devices=devices)
    values = encode_profiles(fits={"serving": rounded(plain_fit(shipped), DIGITS)})
    path.write_text(f"# Written by benchmarks/serving_model.py --write.\n{dump_yaml(values)}", encoding="utf-8")


def told(table: Table, protocol: str, said: Mapping[tuple[Phase, int, str], Said]) -> Iterator[dict[str, Any]]:
    for (phase, observations, seen), one in said.items():
        more = {"seen": seen} if seen else {}
        yield from report(table, phase, one, protocol=protocol, observations=observations, **more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, nargs="+", required=True)
    parser.add_argument("--score", type=Path, nargs="+", help="fit all of --points and score these files")
    parser.add_argument("--protocol", default=USUAL, help=f"of {', '.join(PROTOCOLS)}; several by comma")
    parser.add_argument("--observations", type=int, default=0)
    parser.add_argument("--write", type=Path, help="write coefficients and bands of a fit to all of --points")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    if unknown := set(given.protocol.split(",")) - set(PROTOCOLS):
        parser.error(f"unknown protocol {', '.join(sorted(unknown))}")
    try:
        rows, left_out = read_points(given.points)
        others, more = read_points(given.score) if given.score else ([], Counter[str]())
        if given.write:
            write(rows, given.points, given.write)
            return
        found = list(results(Table(rows), Table(others) if given.score else None, given))
    except (DualtrackError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(getattr(error, "exit_code", 2)) from None
    told_out = {"points": dict(left_out), **({"score": dict(more)} if given.score else {})}
    if given.output == "json":
        print(json.dumps(document(found, left_out=told_out, seed=SEED), indent=1, default=float))
        return
    show(found, told_out)


def show(found: Sequence[Mapping[str, Any]], left_out: Mapping[str, Any]) -> None:
    print(f"left out: {left_out}")
    print(
        "protocol          K seen   phase        device       engine   models              n   MAPE median    p90"
        "   90 % band holds [if rows were independent], [as cells are]"
    )
    for row in found:
        if row["protocol"] == "speed":
            print(f"{row['predictions_per_s']:,} predictions of time per output token a second")
            continue
        batches = f" {row['batches']}" if "batches" in row else ""
        band = ""
        if "coverage_90_percent" in row:
            low, high = row["coverage_interval_percent"]
            least, most = row["coverage_interval_by_cell_percent"]
            band = f"  {row['coverage_90_percent']:5.1f} [{low:.1f}, {high:.1f}]"
            band += f", {row['cells']} cells [{least:.1f}, {most:.1f}]"
        name = row["protocol"] if row["predictor"] == "dualtrack" else row["predictor"][:17]
        median, p90 = (row.get(f"{part}_error_percent", float("nan")) for part in ("median", "p90"))
        print(
            f"{name:17} {row.get('observations', 0)} {row.get('seen', ''):6} {row['phase']:12} {row['device']:12}"
            f" {row['engine']:8} {row['models'] + batches:16} {row['n']:4} {row['mape_percent']:6.1f}"
            f" {median:6.1f} {p90:6.1f}{band}"
        )


if __name__ == "__main__":
    main()
