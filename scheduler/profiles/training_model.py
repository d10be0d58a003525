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

__all__ = ["Places", "Predicted", "Steps", "TrainingModel", "fit_training", "predict_steps", "reach_of", "software_of"]

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

ENGINE_SD = 0.2
"""Log units by which versions of software differ at the same layout: judgement."""

VENDOR_SD = 0.35
"""The same of vendors: tuning the software alone moves one model on an Ascend 910B by 1.45 to 2.8 times (GPUStack's
performance tables)."""

CLEAR = 0.1
"""Noise up to which a measurement vouches for its vendor."""

WIDE = 0.4
"""Log units that a band reaches while hardly anything was measured: versions of the same software differ by half of it
and more on mixtures of experts (Megatron Bridge's tables: 1.67 times)."""


class Steps(Struct, frozen=True, kw_only=True):
    """Steps to fit or to predict: `terms` (n, k), `covariates` (n, c), names (n,), and `counts` (n,) of devices.

    `kinds`: of models whose errors are alike, such as dense ones and mixtures.
    `engines` are software with its version, `families` and `vendors` those of the devices. `noise` (n,): log scale of
    the errors, larger where something about a row had to be assumed.
    """

    terms: FloatArray
    covariates: FloatArray
    devices: tuple[str, ...]
    engines: tuple[str, ...]
    models: tuple[str, ...]
    kinds: tuple[str, ...]
    families: tuple[str, ...]
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
            kinds=tuple(self.kinds[i] for i in places),
            families=tuple(self.families[i] for i in places),
            vendors=tuple(self.vendors[i] for i in places),
            counts=self.counts[places],
            noise=self.noise[places],
        )


class TrainingModel(Struct, frozen=True, kw_only=True):
    """`rows`: measurements by device, and by device, software and kind. `known_reach`, `new_reach`: log units that hold
    90 % of the errors on models in the fit and on others: by device, software and kind, and by device and kind, of
    which enough was measured, and by kind alone."""

    siblings: Siblings
    places: "Places"
    rows: Mapping[str, int]
    models: frozenset[str]
    most_devices: int
    known_reach: Mapping[str, float]
    new_reach: Mapping[str, float]


class Places(Struct, frozen=True):
    """Names in the order in which a fit has them; software is the engine without its version. A version is as good at
    one kind of models as at another only by chance, so `engines` are named with the kind."""

    devices: tuple[str, ...]
    software: tuple[str, ...]
    families: tuple[str, ...]
    engines: tuple[str, ...]
    vendors: tuple[str, ...]

    def groups(self, steps: Steps) -> tuple[IntArray, IntArray]:
        """Groupings (n, 3) and shifting groupings (n, 2) of `fit_siblings`; -1: the fit has no such name."""
        software = [software_of(engine) for engine in steps.engines]
        own = (steps.devices, self.devices), (software, self.software), (steps.families, self.families)
        groups = np.stack([_at(names, known) for names, known in own], axis=1)
        return groups, np.stack([_at(_versions(steps), self.engines), _at(steps.vendors, self.vendors)], axis=1)


class Predicted(Struct, frozen=True):
    """Seconds a step (n,) with the 90 % band, and whether the fit saw nothing of the kind."""

    times: FloatArray
    low: FloatArray
    high: FloatArray
    extrapolates: BoolArray


def software_of(engine: str) -> str:
    return engine.split(" ", 1)[0]


def fit_training(
    steps: Steps, times: FloatArray, *, beliefs: Sequence[Belief] = BELIEFS, bands: "TrainingModel | None" = None
) -> TrainingModel:
    """Fit `times` (n,) in seconds. `bands`: an earlier fit whose reaches stay, where only a few rows were added.

    ValueError where a time is not above 0.
    """
    places = _places(steps)
    siblings = _fitted(steps, times, places, beliefs)
    known, new = (bands.known_reach, bands.new_reach) if bands else _reaches(steps, times, siblings, places, beliefs)
    return TrainingModel(
        siblings=siblings,
        places=places,
        rows=Counter([*steps.devices, *_cells(steps)]),
        models=frozenset(steps.models),
        most_devices=int(steps.counts.max(initial=1)),
        known_reach=known,
        new_reach=new,
    )


def predict_steps(model: TrainingModel, steps: Steps) -> Predicted:
    groups, shifting = model.places.groups(steps)
    times, scale = model.siblings.predict(steps.terms, groups, shifting, steps.covariates)
    unseen = np.array([name not in model.models for name in steps.models])
    unseen |= steps.counts > 2 * model.most_devices
    strange = groups[:, 0] < 0  # the scale holds what is not known of it; models seen elsewhere are as well described
    few = np.array([model.rows.get(cell, 0) < ENOUGH_ERRORS for cell in _cells(steps)])
    reaches = (model.known_reach, model.new_reach)
    cells = zip(_cells(steps), steps.kinds, unseen | (few & ~strange), strict=True)
    beyond = [reach_of(reaches[int(new)], cell, kind) for cell, kind, new in cells]
    other = (shifting < 0).any(axis=1)
    assumed = np.where(steps.noise > CLEAR, steps.noise, 0.0)
    doubted = (few | other) * scale  # elsewhere the errors contain what is uncertain about coefficients
    reach = np.sqrt(np.square(beyond) + NORMAL_REACH**2 * (doubted**2 + assumed**2))
    return Predicted(times, times * np.exp(-reach), times * np.exp(reach), unseen | strange | other)


def reach_of(reaches: Mapping[str, float], cell: str, kind: str) -> float:
    """Of `known_reach` or `new_reach`, that of a device and software, or else of a kind of models."""
    return reaches.get(cell, reaches.get(kind, WIDE))


def _cells(steps: Steps) -> list[str]:
    parts = zip(steps.devices, steps.engines, steps.kinds, strict=True)
    return [f"{device} {software_of(engine)} {kind}" for device, engine, kind in parts]


def _versions(steps: Steps) -> list[str]:
    return [f"{engine} {kind}" for engine, kind in zip(steps.engines, steps.kinds, strict=True)]


def _places(steps: Steps) -> Places:
    """A vendor or a family counts as seen only where something clear was measured of it."""
    vendors, families = (
        {name for name, noise in zip(names, steps.noise, strict=True) if noise <= CLEAR}
        for names in (steps.vendors, steps.families)
    )
    software = {software_of(engine) for engine in steps.engines}
    names = set(steps.devices), software, families, set(_versions(steps)), vendors
    return Places(*(tuple(sorted(part)) for part in names))


def _at(names: Sequence[str], known: Sequence[str]) -> IntArray:
    place = {name: at for at, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in names], dtype=np.int64)


def _fitted(steps: Steps, times: FloatArray, places: Places, beliefs: Sequence[Belief]) -> Siblings:
    return fit_siblings(
        steps.terms,
        times,
        *places.groups(steps),
        steps.covariates,
        beliefs=beliefs,
        shift_sds=(ENGINE_SD, VENDOR_SD),
        noise=steps.noise,
    )


def _reaches(
    steps: Steps, times: FloatArray, siblings: Siblings, places: Places, beliefs: Sequence[Belief]
) -> tuple[dict[str, float], dict[str, float]]:
    """In sample, and on each model by a fit to the others, of devices and engines that the others have too."""
    inside = np.log(times / siblings.predict(steps.terms, *places.groups(steps), steps.covariates)[0])
    outside = np.full(len(times), np.nan)
    names = np.array(steps.models)
    for left in sorted(set(steps.models)):
        kept = names != left
        if not kept.any():
            continue
        rest, held = steps.where(kept), steps.where(~kept)
        among = _places(rest)
        groups, shifting = among.groups(held)
        said = _fitted(rest, times[kept], among, beliefs).predict(held.terms, groups, shifting, held.covariates)[0]
        seen = (groups[:, 0] >= 0) & (shifting[:, 0] >= 0)
        outside[~kept] = np.where(seen, np.log(times[~kept] / said), np.nan)
    new, known = _by_cell(outside, steps), _by_cell(inside, steps)
    return {cell: min(reach, new.get(cell, WIDE)) for cell, reach in known.items()}, new


def _by_cell(errors: FloatArray, steps: Steps) -> dict[str, float]:
    """Only clear measurements tell of a kind, all of them of their own device."""
    seen, kinds = np.isfinite(errors), np.array(steps.kinds)
    clear = seen & (steps.noise <= CLEAR)
    found = {kind: _reach(errors[clear & (kinds == kind)]) for kind in sorted(set(steps.kinds))}
    of_device = [f"{device} {kind}" for device, kind in zip(steps.devices, steps.kinds, strict=True)]
    for names in (np.array(_cells(steps)), np.array(of_device)):
        for name in sorted(set(names.tolist())):
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
