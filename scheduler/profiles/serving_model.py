"""A serving model fitted to measurements: times per output token and to the first token, with bands.

Bands come from errors on cells (a model on a device under an engine) that the fit did not see, apart for dense models
and mixtures of experts, because errors in sample flatter.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

import numpy as np
from msgspec import Struct, field, structs
from numpy.typing import NDArray

from scheduler.profiles.hierarchy import Prediction
from scheduler.profiles.serving import Column, Demand, Served
from scheduler.profiles.serving_fit import QUIET_BATCH, ServingCoefficients, fit_serving, tpot_s, ttft_s
from scheduler.profiles.serving_spread import Spread, expected, fit_spread

__all__ = ["Forecast", "Phase", "Points", "ServingModel", "fit_serving_model", "forecast", "outside", "predicted_s"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Columns = TypeVar("Columns", Served, Demand)

FOLDS = 12
"""Groups of cells left out in turn for the errors that bands come from; each cell by itself where there are no more."""

FEWEST_CELLS = 4
"""Dense models or mixtures of fewer cells share the bands of both."""

FEATURE_UNITS = (1.3, 1.0, 1.2, 0.85)
"""Of log batch, prompt, output and split: about what they vary by in published measurements."""

DEMANDED = ("batch", "prompt", "output")
SERVED = ("layers", "tensor", "data", "weights_s", "experts_s", "product_s", "expert_product_s")
BEYOND = 1.2
"""Factor beyond what was measured from which a prediction counts as an extrapolation."""


class Phase(StrEnum):
    """What is timed. Without queueing a prompt finds the server as good as empty."""

    TPOT = "tpot"
    TTFT = "ttft"
    TTFT_QUEUED = "ttft_queued"


class Points(Struct, frozen=True, kw_only=True):
    """Measured or asked for, n of them: replicas and demands in columns, engines by name, `cells` (device, model,
    engine) and `stacks` (version, precision) by label, whether experts are mixed; seconds, NaN where not measured."""

    served: Served
    demand: Demand
    engines: tuple[str, ...]
    cells: tuple[str, ...]
    stacks: tuple[str, ...]
    tpot: FloatArray
    ttft: FloatArray

    def __len__(self) -> int:
        return len(self.engines)

    def where(self, kept: BoolArray | IntArray) -> "Points":
        """Those of a mask or of places."""
        places = np.arange(len(self))[kept]
        pick = [int(place) for place in places]
        return Points(
            served=_picked(self.served, places, len(self)),
            demand=_picked(self.demand, places, len(self)),
            engines=tuple(self.engines[i] for i in pick),
            cells=tuple(self.cells[i] for i in pick),
            stacks=tuple(self.stacks[i] for i in pick),
            tpot=self.tpot[places],
            ttft=self.ttft[places],
        )

    def observed(self, phase: Phase) -> FloatArray:
        """Seconds (n,), NaN where not measured or, without queueing, at batches that queue."""
        if phase is Phase.TPOT:
            return self.tpot
        if phase is Phase.TTFT_QUEUED:
            return self.ttft
        total = np.asarray(self.demand.batch) * np.asarray(self.served.data)
        return np.where(total <= QUIET_BATCH, self.ttft, np.nan)

    @property
    def mixtures(self) -> BoolArray:
        return np.asarray(np.broadcast_to(np.asarray(self.served.expert_layers) > 0, (len(self),)))


class ServingModel(Struct, frozen=True, kw_only=True):
    """Coefficients, and how far predictions lie off, by phase and by `dense` or `mixture`; least and most of what was
    measured (`ranges`), what it was fitted to, and the accelerators among that."""

    coefficients: ServingCoefficients
    spreads: Mapping[str, Mapping[str, Spread]]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    source: str = ""
    devices: tuple[str, ...] = ()

    def spread(self, phase: Phase, mixture: bool) -> Spread:
        """ValueError where nothing of the phase was measured."""
        found = self.spreads.get(phase.value, {}).get("mixture" if mixture else "dense")
        if found is None:
            raise ValueError(f"no {phase.value} was measured when this model was fitted")
        return found


class Forecast(Struct, frozen=True):
    """Seconds (n,): most likely, and a band that holds 90 % of outcomes."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


def predicted_s(points: Points, coefficients: ServingCoefficients, phase: Phase) -> FloatArray:
    """Seconds (n,) by the terms alone."""
    if phase is Phase.TPOT:
        found = tpot_s(points.served, points.demand, points.engines, coefficients)
    else:
        queueing = phase is Phase.TTFT_QUEUED
        found = ttft_s(points.served, points.demand, points.engines, coefficients, queueing=queueing)
    return np.asarray(np.broadcast_to(found, (len(points),)))


def fit_serving_model(points: Points, rng: np.random.Generator) -> ServingModel:
    """Fits all of `points`; `rng` draws which cells are left out together and what bands are learnt from.

    ValueError where no time per output token or none to the first token is measured.
    """
    coefficients = fit_serving(points.served, points.demand, points.engines, tpot=points.tpot, ttft=points.ttft)
    said = _held_out(points, rng)
    cells, stacks = _numbers(points.cells), _numbers(points.stacks)
    shape, mixture = features(points), points.mixtures
    spreads: dict[str, dict[str, Spread]] = {}
    for phase in Phase:
        residuals = np.log(points.observed(phase) / said[phase])
        known = np.isfinite(residuals)
        for kind, own in (("dense", ~mixture), ("mixture", mixture)):
            enough = len(np.unique(cells[known & own])) >= FEWEST_CELLS
            rows = np.flatnonzero(known & own if enough else known)
            if len(rows):
                made = fit_spread(residuals[rows], cells[rows], stacks[rows], shape[rows], rng)
                spreads.setdefault(phase.value, {})[kind] = made
    return ServingModel(coefficients=coefficients, spreads=spreads, ranges=_ranges(points))


def forecast(model: ServingModel, points: Points, phase: Phase, seen: Points | None = None) -> Forecast:
    """Times of `points`, moved and narrowed by what was `seen` of the same cells."""
    plain = predicted_s(points, model.coefficients, phase)
    shape, stacks = features(points), points.stacks
    labels = _numbers((*stacks, *(seen.stacks if seen else ())))
    mean, low, high = np.ones(len(points)), np.ones(len(points)), np.ones(len(points))
    for cell in sorted(set(points.cells)):
        rows = np.array([n for n, name in enumerate(points.cells) if name == cell])
        spread = model.spread(phase, bool(points.mixtures[rows[0]]))
        said = _expected(model, spread, shape[rows], labels[rows], labels[len(points) :], seen, cell, phase)
        mean[rows] = said.factor()
        low[rows], high[rows] = said.interval(0.90)
    return Forecast(plain * mean, plain * low, plain * high)


def outside(model: ServingModel, replica: Served, demand: Demand) -> tuple[str, ...]:
    """What of a replica and its demand lies outside of all that was measured, by more than a fifth: there the model
    extrapolates."""
    found = []
    for name, (least, most) in model.ranges.items():
        value = float(np.asarray(getattr(demand if name in DEMANDED else replica, name)))
        if not least / BEYOND <= value <= most * BEYOND:
            found.append(name)
    return tuple(found)


def features(points: Points) -> FloatArray:
    """Log batch, prompt, output and split (n, 4), each over what is a large change of it."""
    d = points.demand
    columns = (d.batch, d.prompt, d.output, np.asarray(points.served.tensor))
    logs = [np.log(np.maximum(np.asarray(column, dtype=np.float64), 1e-3)) for column in columns]
    scaled = [log / unit for log, unit in zip(logs, FEATURE_UNITS, strict=True)]
    return np.stack([np.broadcast_to(one, (len(points),)) for one in scaled], axis=-1)


def _expected(
    model: ServingModel,
    spread: Spread,
    shape: FloatArray,
    stacks: IntArray,
    seen_stacks: IntArray,
    seen: Points | None,
    cell: str,
    phase: Phase,
) -> Prediction:
    if seen is None:
        return expected(spread, shape, stacks)
    measured = seen.observed(phase)
    same = np.array([name == cell for name in seen.cells], dtype=bool) & np.isfinite(measured)
    if not same.any():
        return expected(spread, shape, stacks)
    there = seen.where(same)
    residuals = np.log(there.observed(phase) / predicted_s(there, model.coefficients, phase))
    return expected(spread, shape, stacks, residuals, features(there), seen_stacks[same])


def _held_out(points: Points, rng: np.random.Generator) -> dict[Phase, FloatArray]:
    """What fits without a point's cell say of it; NaN where the others do not suffice for a fit."""
    cells = _numbers(points.cells)
    count = int(cells.max(initial=0)) + 1
    fold = rng.permutation(count)[cells] % min(FOLDS, count) if count > FOLDS else cells
    found = {phase: np.full(len(points), np.nan) for phase in Phase}
    for one in np.unique(fold):
        left = fold == one
        rest = points.where(~left)
        if not (np.isfinite(rest.tpot).any() and np.isfinite(rest.ttft).any()):
            continue
        fitted = fit_serving(rest.served, rest.demand, rest.engines, tpot=rest.tpot, ttft=rest.ttft)
        for phase in Phase:
            found[phase][left] = predicted_s(points.where(left), fitted, phase)
    return found


def _ranges(points: Points) -> dict[str, tuple[float, float]]:
    columns = {name: np.asarray(getattr(points.demand, name)) for name in DEMANDED}
    columns |= {name: np.asarray(getattr(points.served, name)) for name in SERVED}
    return {name: (float(column.min()), float(column.max())) for name, column in columns.items()}


def _numbers(labels: Sequence[str]) -> IntArray:
    return np.unique(np.asarray(labels, dtype=str), return_inverse=True)[1].reshape(-1).astype(np.int64)


def _picked(columns: Columns, places: IntArray, count: int) -> Columns:
    names = [one.name for one in structs.fields(type(columns))]
    values: dict[str, Column] = {
        name: np.broadcast_to(np.asarray(getattr(columns, name), dtype=np.float64), (count,))[places] for name in names
    }
    return type(columns)(**values)
