"""Tokens per second of a training job in one layout on one accelerator, from fitted coefficients."""

import math
from collections.abc import Mapping

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from scheduler.model.accelerators import Accelerator, Provenance
from scheduler.model.transformers import Transformer
from scheduler.profiles.layouts import Layout, Precision, check_layout
from scheduler.profiles.steps import Chips, Models, Splits, chips_of, models_of, splits_of
from scheduler.profiles.table import Rate
from scheduler.profiles.training import TERMS, USUAL_PEAK, training_covariates, training_terms
from scheduler.profiles.training_model import NORMAL_REACH, TrainingModel, reach_of, software_of

__all__ = [
    "DENSE",
    "MIXTURE",
    "DeviceFit",
    "FamilyFit",
    "PooledFit",
    "TrainingCoefficients",
    "beyond_measured",
    "coefficients_of",
    "log_reach",
    "step_seconds",
    "training_rate",
]

FloatArray = NDArray[np.float64]

DENSE, MIXTURE = "dense", "mixture"
"""Kinds of models: experts and their exchange are predicted less well."""

RANGES: Mapping[str, tuple[str, float]] = {
    "devices": ("a count of", 2.0),
    "hidden": ("a width of", 1.5),
    "seq_len": ("a length of", 2.0),
}
"""By quantity, how it is called, and the factor beyond what was measured that a prediction is still trusted for."""

EXPERTS = TERMS.index("experts")
PRODUCTS = 1 + TERMS.index("attention")
"""The first terms are products: ideal times at the chip's peak."""


class DeviceFit(Struct, frozen=True, kw_only=True):
    """An accelerator with measurements: coefficient of each term at the usual width of products, `n` measurements,
    mean absolute error in sample, and the log units that a 90 % band of a new dense model reaches."""

    coefficients: tuple[float, ...]
    n: int
    mape_percent: float
    reach: float


class FamilyFit(Struct, frozen=True, kw_only=True):
    """A family of accelerators with measurements: by term its log offset from the average family, and how uncertain."""

    offsets: tuple[float, ...]
    doubts: tuple[float, ...]


class PooledFit(Struct, frozen=True, kw_only=True):
    """What all devices show. Coefficients are exp(level + peak_slope * log(peak / usual peak) + width_slope * log(width
    / usual width)); `peak_slope_sd`: how uncertain those slopes are. Log scales: `device_sd`, `family_sd`
    and `software_sd` by term, how much devices of a family, families of a vendor, and software differ; `engine_sd`,
    versions of software; `vendor_sd`; `reach` as of a device, and `mixture_reach` the same of mixtures."""

    levels: tuple[float, ...]
    peak_slopes: tuple[float, ...]
    peak_slope_sd: tuple[float, ...]
    width_slopes: tuple[float, ...]
    device_sd: tuple[float, ...]
    family_sd: tuple[float, ...]
    software_sd: tuple[float, ...]
    engine_sd: float
    vendor_sd: float
    reach: float
    mixture_reach: float


class TrainingCoefficients(Struct, frozen=True, kw_only=True):
    """A fit as files hold it. `software`: log offsets by term from the average, without version; `engines`, with
    version and kind of models, and `vendors`: log shifts of the whole time. `ranges`: least and most of what was
    measured, by quantity. `source`: what it was fitted to."""

    terms: tuple[str, ...]
    pooled: PooledFit
    devices: Mapping[str, DeviceFit] = field(default_factory=dict)
    software: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    families: Mapping[str, FamilyFit] = field(default_factory=dict)
    engines: Mapping[str, float] = field(default_factory=dict)
    vendors: Mapping[str, float] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    source: str = ""


def coefficients_of(
    model: TrainingModel,
    accelerators: Mapping[str, Accelerator],
    errors: Mapping[str, float],
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    source: str = "",
) -> TrainingCoefficients:
    """The fit of measurements as a value to ship. `accelerators`: what the devices of the fit are in the catalog; where
    two are the same, the one with more measurements stands for it. `errors`: in sample, in per cent, by device.
    `ranges` as in `RANGES`."""
    fit, places = model.siblings, model.places
    family = {name: at for at, name in enumerate(places.families)}
    doubts = np.sqrt(np.diag(fit.covariance)[fit.place_of(2)]).reshape(-1, len(TERMS))
    devices: dict[str, DeviceFit] = {}
    for place, label in enumerate(places.devices):
        accelerator, n = accelerators[label], model.rows[label]
        known = devices.get(accelerator.name)
        if known is not None and known.n >= n:
            continue
        chips = chips_of(accelerator)
        at = np.array([[math.log(float(chips.flops) / USUAL_PEAK), 0.0]])
        groups = np.array([[place, -1, family.get(accelerator.family, -1)]])
        devices[accelerator.name] = DeviceFit(
            coefficients=tuple(fit.coefficients(groups, at)[0].tolist()),
            n=n,
            mape_percent=errors[label],
            reach=reach_of(model.new_reach, f"{label} {DENSE}", DENSE),
        )
    pooled = PooledFit(
        levels=tuple(fit.levels.tolist()),
        peak_slopes=tuple(fit.slopes[0].tolist()),
        peak_slope_sd=tuple(np.sqrt(np.diag(fit.covariance)[len(TERMS) : 2 * len(TERMS)]).tolist()),
        width_slopes=tuple(fit.slopes[1].tolist()),
        device_sd=tuple(fit.own_sds[0].tolist()),
        family_sd=tuple(fit.own_sds[2].tolist()),
        software_sd=tuple(fit.own_sds[1].tolist()),
        engine_sd=fit.shift_sds[0],
        vendor_sd=fit.shift_sds[1],
        reach=reach_of(model.new_reach, "", DENSE),
        mixture_reach=reach_of(model.new_reach, "", MIXTURE),
    )
    return TrainingCoefficients(
        terms=TERMS,
        pooled=pooled,
        devices=devices,
        software={name: tuple(row.tolist()) for name, row in zip(places.software, fit.own[1], strict=True)},
        families={
            name: FamilyFit(offsets=tuple(row.tolist()), doubts=tuple(doubt.tolist()))
            for name, row, doubt in zip(places.families, fit.own[2], doubts, strict=True)
        },
        engines=dict(zip(places.engines, fit.shifts[0].tolist(), strict=True)),
        vendors=dict(zip(places.vendors, fit.shifts[1].tolist(), strict=True)),
        ranges=dict(ranges or {}),
        source=source,
    )


def step_seconds(
    coefficients: TrainingCoefficients,
    accelerator: Accelerator,
    models: Models,
    chips: Chips,
    splits: Splits,
    engine: str = "",
) -> tuple[FloatArray, FloatArray]:
    """Seconds of a step (n,), and the share (n, k) of each term in them. `engine`: software with its version; what the
    coefficients do not have of it is average.

    ValueError where the coefficients are of other terms than this version computes.
    """
    if coefficients.terms != TERMS:
        raise ValueError(f"coefficients of the terms {coefficients.terms}, but {TERMS} are computed; fit them again")
    pooled, known = coefficients.pooled, coefficients.devices.get(accelerator.name)
    covariates = training_covariates(models, chips, splits)
    slopes = np.array([pooled.peak_slopes, pooled.width_slopes])
    logs = np.array(coefficients.software.get(software_of(engine), (0.0,) * len(TERMS)))
    if known is None:
        family = coefficients.families.get(accelerator.family)
        logs = logs + np.array(family.offsets if family else 0.0) + np.array(pooled.levels) + covariates @ slopes
    else:
        logs = logs + np.log(known.coefficients) + covariates[:, 1:] @ slopes[1:]
    dense, mixture = (coefficients.engines.get(f"{engine} {kind}", 0.0) for kind in (DENSE, MIXTURE))
    shift = np.where(np.asarray(models.routed) > 0, mixture, dense) + coefficients.vendors.get(accelerator.vendor, 0.0)
    factors = np.exp(logs + shift[..., None])
    factors[..., :PRODUCTS] = np.maximum(factors[..., :PRODUCTS], 1.0)  # no chip computes faster than its peak
    parts = training_terms(models, chips, splits) * factors
    seconds = parts.sum(axis=1)
    return seconds, np.asarray(parts / seconds[:, None], dtype=np.float64)


def log_reach(
    coefficients: TrainingCoefficients, accelerator: Accelerator, shares: FloatArray, engine: str = ""
) -> FloatArray:
    """Log units (n,) on each side that the 90 % band reaches: errors on new models, and what is not known of the
    device and of the software."""
    pooled, known = coefficients.pooled, coefficients.devices.get(accelerator.name)
    variance = np.zeros(len(shares))
    if software_of(engine) not in coefficients.software:
        variance += shares**2 @ np.square(pooled.software_sd)
    mixture = shares[:, EXPERTS] > 0
    known_version = [f"{engine} {kind}" in coefficients.engines for kind in (DENSE, MIXTURE)]
    variance += pooled.engine_sd**2 * ~np.where(mixture, known_version[1], known_version[0])
    if known is None:
        beyond_usual = math.log(float(chips_of(accelerator).flops) / USUAL_PEAK)
        apart = np.square(pooled.device_sd) + np.square(pooled.peak_slope_sd) * beyond_usual**2
        family = coefficients.families.get(accelerator.family)
        apart += np.square(family.doubts if family else pooled.family_sd)
        variance += shares**2 @ apart
        if accelerator.vendor not in coefficients.vendors:
            variance += pooled.vendor_sd**2
    beyond = np.where(mixture, pooled.mixture_reach, known.reach if known else pooled.reach)
    return np.asarray(np.sqrt(beyond**2 + NORMAL_REACH**2 * variance), dtype=np.float64)


def beyond_measured(
    coefficients: TrainingCoefficients,
    transformer: Transformer,
    accelerator: Accelerator,
    *,
    devices: int,
    seq_len: int,
) -> tuple[str, ...]:
    """Why a prediction of this extrapolates, empty where it does not."""
    found = []
    if accelerator.name not in coefficients.devices:
        found.append(f"no training was measured on {accelerator.name}")
        if accelerator.vendor not in coefficients.vendors:
            found.append(f"nor, with its layout, on any chip of {accelerator.vendor}")
    asked = {"devices": devices, "hidden": transformer.hidden, "seq_len": seq_len}
    for quantity, (word, slack) in RANGES.items():
        least, most = coefficients.ranges.get(quantity, (0.0, math.inf))
        if not least / slack <= asked[quantity] <= most * slack:
            found.append(f"{word} {asked[quantity]} lies beyond the measured {least:g} to {most:g}")
    return tuple(found)


def training_rate(
    transformer: Transformer,
    accelerator: Accelerator,
    layout: Layout,
    coefficients: TrainingCoefficients,
    seq_len: int,
    global_batch: int,
    *,
    precision: Precision = Precision.BF16,
    engine: str = "",
) -> Rate:
    """Tokens per second of the whole job with its 90 % band. `engine`: the software with its version, as in
    `coefficients`; where it is not there, it is an average one and the band holds what software differs by.

    UsageError where the layout does not divide model, batch or sequence, or the catalog lacks figures.
    """
    check_layout(layout, transformer, devices=layout.devices, global_batch=global_batch, seq_len=seq_len)
    models, chips = models_of(transformer, seq_len), chips_of(accelerator)
    splits = splits_of(layout, global_batch, precision)
    seconds, shares = step_seconds(coefficients, accelerator, models, chips, splits, engine)
    reach = float(log_reach(coefficients, accelerator, shares, engine)[0])
    tokens = global_batch * seq_len / float(seconds[0])
    known = accelerator.name in coefficients.devices
    provenance = Provenance.DERIVED if known else Provenance.MODELLED
    return Rate(tokens, tokens * math.exp(-reach), tokens * math.exp(reach), provenance)
