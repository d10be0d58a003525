"""A training model fitted to measurements: step times with bands, for devices, software and models seen and unseen.

Bands come from errors on models that the fit did not see (leave one model out), because errors in sample flatter; their
90th percentile, with the correction for few errors of conformal prediction (Vovk et al., 2005), is the reach of a band.
What is uncertain about a device's coefficients comes on top.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.profiles.siblings import Belief, Siblings, fit_siblings
from scheduler.profiles.training import BELIEFS

__all__ = ["Predicted", "Steps", "TrainingModel", "fit_training", "predict_steps"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

LEVEL = 0.90
NORMAL_REACH = 1.645
"""Standard deviations on each side that hold 90 % of normal errors."""

LEAST_ERRORS = 8
"""Errors on unseen models from which a band is derived; with fewer, `WIDE` stands in."""

ENOUGH_ERRORS = 20
"""Errors on one device from which its band is its own."""

STRANGER_SD = 0.35
"""Log units by which devices of a vendor without measurements differ beside: tuning the software alone moves one model
on an Ascend 910B by 1.45 to 2.8 times (GPUStack's performance tables)."""

CLEAR = 0.1
"""Noise up to which a measurement vouches for its vendor."""

WIDE = 0.25
"""Log units that a band reaches while hardly anything was measured: what models differ by in published tables."""


class Steps(Struct, frozen=True, kw_only=True):
    """Steps to fit or to predict: `terms` (n, k), `covariates` (n, c), names (n,), and `counts` (n,) of devices.

    `engines` are software with its version, `vendors` those of the devices. `noise` (n,): log scale of the errors,
    larger where something about a row had to be assumed.
    """

    terms: FloatArray
    covariates: FloatArray
    devices: tuple[str, ...]
    engines: tuple[str, ...]
    models: tuple[str, ...]
    vendors: tuple[str, ...]
    counts: IntArray
    noise: FloatArray

    def where(self, kept: BoolArray) -> "Steps":
        places = np.flatnonzero(kept)
        return Steps(
            terms=self.terms[places],
            covariates=self.covariates[places],
            devices=tuple(self.devices[i] for i in places),
            engines=tuple(self.engines[i] for i in places),
            models=tuple(self.models[i] for i in places),
            vendors=tuple(self.vendors[i] for i in places),
            counts=self.counts[places],
            noise=self.noise[places],
        )


class TrainingModel(Struct, frozen=True, kw_only=True):
    """`rows`: measurements by device. `known_reach`, `new_reach`: log units that hold 90 % of the errors on models in
    the fit and on others, by device of which enough was measured, and for all others under ``""``."""

    siblings: Siblings
    engines: tuple[str, ...]
    rows: Mapping[str, int]
    models: frozenset[str]
    vendors: frozenset[str]
    most_devices: int
    known_reach: Mapping[str, float]
    new_reach: Mapping[str, float]

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(self.rows)


class Predicted(Struct, frozen=True):
    """Seconds a step (n,) with the 90 % band, and whether the fit saw nothing of the kind."""

    times: FloatArray
    low: FloatArray
    high: FloatArray
    extrapolates: BoolArray


def fit_training(
    steps: Steps, times: FloatArray, *, beliefs: Sequence[Belief] = BELIEFS, bands: "TrainingModel | None" = None
) -> TrainingModel:
    """Fit `times` (n,) in seconds. `bands`: an earlier fit whose reaches stay, where only a few rows were added.

    ValueError where a time is not above 0.
    """
    devices, engines = tuple(sorted(set(steps.devices))), tuple(sorted(set(steps.engines)))
    siblings = _fitted(steps, times, devices, engines, beliefs)
    rows = Counter(steps.devices)
    known, new = (bands.known_reach, bands.new_reach) if bands else _reaches(steps, times, siblings, beliefs)
    return TrainingModel(
        siblings=siblings,
        engines=engines,
        rows={name: rows[name] for name in devices},
        models=frozenset(steps.models),
        vendors=frozenset(v for v, noise in zip(steps.vendors, steps.noise, strict=True) if noise <= CLEAR),
        most_devices=int(steps.counts.max(initial=1)),
        known_reach=known,
        new_reach=new,
    )


def predict_steps(model: TrainingModel, steps: Steps) -> Predicted:
    device, engine = _places(steps.devices, model.devices), _places(steps.engines, model.engines)
    times, scale = model.siblings.predict(steps.terms, device, engine, steps.covariates)
    unseen = np.array([name not in model.models for name in steps.models])
    unseen |= (steps.counts > 2 * model.most_devices) | (device < 0)
    few = np.array([model.rows.get(name, 0) < ENOUGH_ERRORS for name in steps.devices])
    stranger = STRANGER_SD * np.array([name not in model.vendors for name in steps.vendors])
    reaches = (model.known_reach, model.new_reach)
    beyond = [
        reaches[int(new)].get(name, reaches[int(new)][""])
        for name, new in zip(steps.devices, (unseen | few), strict=True)
    ]
    doubted = few | (engine < 0)  # elsewhere the errors contain what is uncertain about coefficients
    assumed = np.where(steps.noise > CLEAR, steps.noise, 0.0)
    reach = np.sqrt(np.square(beyond) + NORMAL_REACH**2 * (doubted * scale**2 + stranger**2 + assumed**2))
    return Predicted(times, times * np.exp(-reach), times * np.exp(reach), unseen | (engine < 0))


def _places(names: Sequence[str], known: Sequence[str]) -> IntArray:
    place = {name: at for at, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in names], dtype=np.int64)


def _fitted(
    steps: Steps, times: FloatArray, devices: Sequence[str], engines: Sequence[str], beliefs: Sequence[Belief]
) -> Siblings:
    device, engine = _places(steps.devices, devices), _places(steps.engines, engines)
    return fit_siblings(steps.terms, times, device, engine, steps.covariates, beliefs=beliefs, noise=steps.noise)


def _reaches(
    steps: Steps, times: FloatArray, siblings: Siblings, beliefs: Sequence[Belief]
) -> tuple[dict[str, float], dict[str, float]]:
    """In sample, and on each model by a fit to the others, of devices and engines that the others have too."""
    devices, engines = tuple(sorted(set(steps.devices))), tuple(sorted(set(steps.engines)))
    placed = _places(steps.devices, devices), _places(steps.engines, engines)
    inside = np.log(times / siblings.predict(steps.terms, *placed, steps.covariates)[0])
    outside = np.full(len(times), np.nan)
    names = np.array(steps.models)
    for left in sorted(set(steps.models)):
        kept = names != left
        if not kept.any():
            continue
        rest, held = steps.where(kept), steps.where(~kept)
        among = tuple(sorted(set(rest.devices))), tuple(sorted(set(rest.engines)))
        device, engine = _places(held.devices, among[0]), _places(held.engines, among[1])
        others = _fitted(rest, times[kept], *among, beliefs)
        said = others.predict(held.terms, device, engine, held.covariates)[0]
        outside[~kept] = np.where((device >= 0) & (engine >= 0), np.log(times[~kept] / said), np.nan)
    new = _by_device(outside, steps.devices)
    known = _by_device(inside, steps.devices)
    return {name: min(reach, new.get(name, new[""])) for name, reach in known.items()}, new


def _by_device(errors: FloatArray, devices: Sequence[str]) -> dict[str, float]:
    seen, names = np.isfinite(errors), np.array(devices)
    found = {"": _reach(errors[seen])}
    for name in sorted(set(devices)):
        own = errors[seen & (names == name)]
        if len(own) >= ENOUGH_ERRORS:
            found[name] = _reach(own)
    return found


def _reach(errors: FloatArray) -> float:
    """What 90 % of the absolute errors stay within; one more error is thought to lie beyond all."""
    if len(errors) < LEAST_ERRORS:
        return WIDE
    place = math.ceil((len(errors) + 1) * LEVEL) - 1
    return float(np.sort(np.abs(errors))[min(place, len(errors) - 1)])
