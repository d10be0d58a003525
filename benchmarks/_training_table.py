"""Measured training rows as arrays to fit and score, and the simple baselines beside."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from benchmarks._scores import scores
from benchmarks._training_rows import Measured
from scheduler.errors import UsageError
from scheduler.profiles.layout_search import search_layouts
from scheduler.profiles.layouts import Layout, Recompute
from scheduler.profiles.steps import chips_of, join, models_of, splits_of
from scheduler.profiles.training import training_covariates, training_terms
from scheduler.profiles.training_model import Predicted, Steps, TrainingModel, fit_training, predict_steps
from scheduler.profiles.training_rates import DENSE, MIXTURE, TrainingCoefficients, coefficients_of
from scheduler.profiles.work import active_parameters, forward_flops_per_token

__all__ = ["Scored", "Table", "assumed_layouts", "shipped_coefficients"]

BoolArray = NDArray[np.bool_]

NOISE = 0.03
"""Log scale of what repeated measurements of the same configuration differ by."""

ASSUMED_NOISE = 0.15
"""The same where the layout is what a search finds best: what good and better layouts differ by."""

BASELINES = ("six_per_token", "constant_mfu", "constant_hfu")


class Table:
    """Measured rows as arrays; `assumed` rows have a layout that the file does not tell."""

    def __init__(self, rows: Sequence[Measured], assumed: Sequence[bool] | None = None) -> None:
        self.rows = list(rows)
        doubtful = np.array(assumed if assumed is not None else [False] * len(rows))
        models = join([models_of(r.transformer, r.seq_len) for r in rows])
        chips = join([chips_of(r.accelerator) for r in rows])
        splits = join([splits_of(layout_of(r), r.global_batch, r.precision) for r in rows])
        self.steps = Steps(
            terms=training_terms(models, chips, splits),
            covariates=training_covariates(models, chips, splits),
            devices=tuple(r.device for r in rows),
            engines=tuple(r.engine for r in rows),
            models=tuple(r.transformer.name or r.model for r in rows),
            kinds=tuple(MIXTURE if r.transformer.experts else DENSE for r in rows),
            families=tuple(r.accelerator.family for r in rows),
            vendors=tuple(r.accelerator.vendor for r in rows),
            counts=np.array([r.devices for r in rows]),
            noise=np.where(doubtful, ASSUMED_NOISE, NOISE),
        )
        self.times = np.array([r.step_s for r in rows])
        self.tokens = np.array([r.global_batch * r.seq_len / r.devices for r in rows])
        self.device = np.array(self.steps.devices)
        self.engine = np.array(self.steps.engines)
        self.model = np.array(self.steps.models)
        self.accelerator = np.array([r.accelerator.name for r in rows])
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


def shipped_coefficients(table: Table, model: TrainingModel, source: str) -> TrainingCoefficients:
    """The fit as a value to ship, with each device's error in sample."""
    errors = 100 * np.abs(table.times / predict_steps(model, table.steps).times - 1)
    found = {name: float(errors[table.device == name].mean()) for name in model.places.devices}
    accelerators = {row.device: row.accelerator for row in table.rows}
    told = [row for row, noise in zip(table.rows, table.steps.noise, strict=True) if noise == NOISE]
    measured = {
        "devices": [row.devices for row in told],
        "hidden": [row.transformer.hidden for row in told],
        "seq_len": [row.seq_len for row in told],
    }
    ranges = {name: (float(min(values)), float(max(values))) for name, values in measured.items()}
    return coefficients_of(model, accelerators, found, ranges=ranges, source=source)


def assumed_layouts(rows: Sequence[Measured], coefficients: TrainingCoefficients) -> list[Measured]:
    """Rows whose layout the file does not tell, in the fastest that fits; without those that no layout fits."""
    found = []
    for row in rows:
        try:
            best = search_layouts(
                row.transformer,
                [row.accelerator],
                coefficients,
                global_batch=row.global_batch,
                seq_len=row.seq_len,
                counts={row.accelerator.name: (row.devices,)},
                precision=row.precision,
            )[row.accelerator.name]
        except UsageError:
            continue
        if best:
            found.append(structs.replace(row, layout=best[0].layout))
    return found


class Scored:
    """Predictions of one protocol, collected split by split."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.places: list[int] = []
        self.said: list[tuple[float, float, float]] = []
        self.simple: list[tuple[float, ...]] = []

    def add(self, kept: BoolArray, scored: BoolArray, predicted: Predicted, source: Table | None = None) -> None:
        """Predictions of the rows `scored`; `kept` rows of `source`, or of the table, were fitted."""
        places = np.flatnonzero(scored)
        self.places.extend(places.tolist())
        self.said.extend(zip(predicted.times, predicted.low, predicted.high, strict=True))
        self.simple.extend(_baselines(source or self.table, kept, self.table, scored))

    def rows(self, protocol: str, **more: Any) -> Iterator[dict[str, Any]]:
        """One for each device and software, one for each software with several devices, and one for all."""
        table, places = self.table, np.array(self.places, dtype=int)
        if not len(places):
            return
        device = table.device[places]
        engine = np.array([name.split(" ")[0] for name in table.engine[places]])
        groups = sorted(set(zip(device.tolist(), engine.tolist(), strict=True)))
        several = sorted({e for _, e in groups if sum(e == other for _, other in groups) > 1})
        for label, software in [*groups, *(("all", e) for e in several), ("all", "all")]:
            chosen = ((device == label) | (label == "all")) & ((engine == software) | (software == "all"))
            tokens = table.tokens[places[chosen]]
            observed = tokens / table.times[places[chosen]]
            rates = tokens[:, None] / np.array(self.said)[chosen]
            found = scores(observed, rates[:, 0], rates[:, 2], rates[:, 1], places[chosen])
            plain = tokens[:, None] / np.array(self.simple)[chosen]
            errors = 100 * np.abs(plain / observed[:, None] - 1).mean(axis=0)
            beside = {
                f"baseline_{name}_mape_percent": round(float(e), 2) for name, e in zip(BASELINES, errors, strict=True)
            }
            yield {"protocol": protocol, "device": label, "engine": software, **more, **found, **beside}


def _baselines(source: Table, kept: BoolArray, table: Table, scored: BoolArray) -> list[tuple[float, ...]]:
    """Seconds a step by a constant share of the peak, that of the device where it is in the fit, else of all."""
    share = source.times[kept, None] / (source.work[kept] * source.tokens[kept, None])
    names, found = source.device[kept], []
    for place in np.flatnonzero(scored):
        same = names == table.device[place]
        typical = np.median(share[same] if same.any() else share, axis=0)
        found.append(tuple(typical * table.work[place] * table.tokens[place]))
    return found
