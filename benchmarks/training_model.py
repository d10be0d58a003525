"""How well step times of training are predicted: fit on some measurements, score on others, beside simple baselines.

    python benchmarks/training_model.py --measurements F --protocol in-sample|leave-model-out|leave-device-out|scale
                                        [--observations K] [-o json]
    python benchmarks/training_model.py --measurements FIT --score OTHER [-o json]

`leave-device-out` leaves out every row of the same accelerator; with `--observations K` the fit also gets K rows of
the device, drawn anew many times, and the others are scored. `scale` fits up to 64 devices and scores 128 and more.
Rows are those whose layout the file tells. Errors are of tokens a second, one row for each device and software and one
for all; `baselines` are fitted to the same rows: six operations per weight and token, and a constant share of the peak
arithmetic by device, without (mfu) and with (hfu) what recomputation adds.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from numpy.typing import NDArray

from benchmarks._scores import document, scores
from benchmarks._training_rows import Measured, read_training
from scheduler.errors import DualtrackError
from scheduler.profiles.layouts import Layout, Recompute
from scheduler.profiles.steps import chips_of, join, models_of, splits_of
from scheduler.profiles.training import training_covariates, training_terms
from scheduler.profiles.training_model import Predicted, Steps, TrainingModel, fit_training, predict_steps
from scheduler.profiles.work import active_parameters, forward_flops_per_token

PROTOCOLS = ("in-sample", "leave-model-out", "leave-device-out", "scale")
SMALL, LARGE = 64, 128
DRAWS = 40

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


class Table:
    """Measured rows as arrays."""

    def __init__(self, rows: Sequence[Measured]) -> None:
        self.rows = list(rows)
        models = join([models_of(r.transformer, r.seq_len) for r in rows])
        chips = join([chips_of(r.accelerator) for r in rows])
        splits = join([splits_of(layout_of(r), r.global_batch, r.precision) for r in rows])
        self.steps = Steps(
            terms=training_terms(models, chips, splits),
            covariates=training_covariates(models, chips, splits),
            devices=tuple(r.device for r in rows),
            engines=tuple(r.engine for r in rows),
            models=tuple(r.transformer.name or r.model for r in rows),
            vendors=tuple(r.accelerator.vendor for r in rows),
            counts=np.array([r.devices for r in rows]),
        )
        self.times = np.array([r.step_s for r in rows])
        self.tokens = np.array([r.global_batch * r.seq_len / r.devices for r in rows])
        self.device = np.array(self.steps.devices)
        self.model = np.array(self.steps.models)
        self.family = np.array([r.accelerator.name for r in rows])
        self.work = np.array([work_of(r) for r in rows])

    def fit(self, kept: BoolArray, bands: TrainingModel | None = None) -> TrainingModel:
        return fit_training(self.steps.where(kept), self.times[kept], bands=bands)


def layout_of(row: Measured) -> Layout:
    if row.layout is None:
        raise ValueError("a row without a layout")
    return row.layout


def work_of(row: Measured) -> tuple[float, float, float]:
    """Operations per token over the peak: six per weight, of the model, and of the hardware with recomputation."""
    figure = row.accelerator.fp8_tflops if row.precision == "fp8" else None
    peak = (figure or row.accelerator.bf16_tflops).value * 1e12  # type: ignore[union-attr]
    forward = forward_flops_per_token(row.transformer, row.seq_len)
    passes = 4 if layout_of(row).recompute is Recompute.FULL else 3
    return 6 * active_parameters(row.transformer) / peak, 3 * forward / peak, passes * forward / peak


class Scored:
    """Predictions of one protocol, collected split by split."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.places: list[int] = []
        self.said: list[tuple[float, float, float]] = []
        self.simple: list[tuple[float, ...]] = []

    def add(self, kept: BoolArray, scored: BoolArray, predicted: Predicted, source: "Table | None" = None) -> None:
        places = np.flatnonzero(scored)
        self.places.extend(places.tolist())
        self.said.extend(zip(predicted.times, predicted.low, predicted.high, strict=True))
        self.simple.extend(baselines(source or self.table, kept, self.table, scored))

    def rows(self, protocol: str, **more: Any) -> Iterator[dict[str, Any]]:
        table, places = self.table, np.array(self.places, dtype=int)
        if not len(places):
            return
        said, simple = np.array(self.said), np.array(self.simple)
        label = table.device[places]
        engine = np.array([table.rows[i].engine.split(" ")[0] for i in places])
        groups = sorted({(d, e) for d, e in zip(label, engine, strict=True)})
        for device, software in [*groups, ("all", "all")]:
            chosen = np.ones(len(places), dtype=bool) if device == "all" else (label == device) & (engine == software)
            tokens = table.tokens[places[chosen]]
            observed = tokens / table.times[places[chosen]]
            times = said[chosen]
            found = scores(observed, tokens / times[:, 0], tokens / times[:, 2], tokens / times[:, 1], places[chosen])
            plain = {
                f"baseline_{name}_mape_percent": round(
                    float(100 * np.abs(1 / simple[chosen, n] * tokens / observed - 1).mean()), 2
                )
                for n, name in enumerate(("six_per_token", "constant_mfu", "constant_hfu"))
            }
            yield {"protocol": protocol, "device": device, "engine": software, **more, **found, **plain}


def baselines(source: Table, kept: BoolArray, table: Table, scored: BoolArray) -> list[tuple[float, ...]]:
    """Seconds a step by a constant share of the peak, that of the device where it is in the fit, else of all."""
    share = source.times[kept, None] / (source.work[kept] * source.tokens[kept, None])
    names, found = source.device[kept], []
    for place in np.flatnonzero(scored):
        same = names == table.device[place]
        typical = np.median(share[same] if same.any() else share, axis=0)
        found.append(tuple(typical * table.work[place] * table.tokens[place]))
    return found


def run(table: Table, protocol: str, observations: int) -> Scored:
    every = np.ones(len(table.rows), dtype=bool)
    scored = Scored(table)
    if protocol == "in-sample":
        scored.add(every, every, predict_steps(table.fit(every), table.steps))
    elif protocol == "leave-model-out":
        for name in sorted(set(table.model)):
            kept = table.model != name
            known = np.isin(table.device, table.device[kept]) & np.isin(engines(table), engines(table)[kept])
            left(table, scored, kept, ~kept & known)
    elif protocol == "scale":
        left(table, scored, table.steps.counts <= SMALL, table.steps.counts >= LARGE)
    else:
        for name in sorted(set(table.family)):
            kept = table.family != name
            if not observations:
                left(table, scored, kept, ~kept)
            else:
                after(table, scored, kept, observations)
    return scored


def engines(table: Table) -> NDArray[np.str_]:
    return np.array(table.steps.engines)


def left(table: Table, scored: Scored, kept: BoolArray, held: BoolArray) -> None:
    if kept.any() and held.any():
        scored.add(kept, held, predict_steps(table.fit(kept), table.steps.where(held)))


def after(table: Table, scored: Scored, kept: BoolArray, observations: int) -> None:
    """Rows of a device left out, of one software at a time, with so many of them given back."""
    if not kept.any():
        return
    base, draw = table.fit(kept), np.random.default_rng(0)
    for device, engine in sorted({(table.device[i], table.steps.engines[i]) for i in np.flatnonzero(~kept)}):
        held = ~kept & (table.device == device) & (engines(table) == engine)
        if held.sum() <= observations:
            continue
        for _ in range(DRAWS):
            given = np.zeros_like(kept)
            given[draw.choice(np.flatnonzero(held), observations, replace=False)] = True
            model = table.fit(kept | given, bands=base)
            scored.add(kept | given, held & ~given, predict_steps(model, table.steps.where(held & ~given)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measurements", type=Path, required=True)
    parser.add_argument("--score", type=Path, help="fit all of --measurements and score this file")
    parser.add_argument("--protocol", choices=PROTOCOLS)
    parser.add_argument("--observations", type=int, default=0)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    try:
        rows, left_out = read_training(given.measurements)
        stated = [r for r in rows if r.layout is not None]
        left_out["layout not told"] += len(rows) - len(stated)
        found: list[dict[str, Any]] = []
        if given.score:
            others, more = read_training(given.score)
            left_out.update(more)
            found = list(across(Table(stated), Table([r for r in others if r.layout is not None])))
        else:
            table = Table(stated)
            for protocol in [given.protocol] if given.protocol else PROTOCOLS:
                more = {"observations": given.observations} if protocol == "leave-device-out" else {}
                found.extend(run(table, protocol, given.observations).rows(protocol, **more))
    except DualtrackError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    if given.output == "json":
        print(json.dumps(document(found, left_out=dict(left_out)), indent=1, default=float))
        return
    print(f"left out: {dict(left_out)}")
    print(
        "protocol          device        engine                        n   MAPE    p90  90 % band holds   6N  MFU  HFU"
    )
    for row in found:
        low, high = row["coverage_interval_percent"]
        print(
            f"{row['protocol']:17} {row['device']:13} {row['engine'][:27]:27} {row['n']:4} {row['mape_percent']:6.2f}"
            f" {row['p90_error_percent']:6.2f}  {row['coverage_90_percent']:5.1f} [{low:.0f}, {high:.0f}]"
            f"  {row['baseline_six_per_token_mape_percent']:5.1f} {row['baseline_constant_mfu_mape_percent']:4.1f}"
            f" {row['baseline_constant_hfu_mape_percent']:4.1f}"
        )


def across(fitted: Table, other: Table) -> Iterator[dict[str, Any]]:
    every = np.ones(len(fitted.rows), dtype=bool)
    scored = Scored(other)
    predicted = predict_steps(fitted.fit(every), other.steps)
    scored.add(every, np.ones(len(other.rows), dtype=bool), predicted, source=fitted)
    return scored.rows("score")


if __name__ == "__main__":
    main()
