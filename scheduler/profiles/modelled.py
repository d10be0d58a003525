"""Rates from the fitted models, where a job tells enough of its model: how fast, how sure, and in which layout.

The fits come with the catalog as plain values, so that whoever records the catalog records what was decided by.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, cast

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.errors import UsageError
from scheduler.model.accelerators import Accelerator, Catalog
from scheduler.model.jobs import Job, JobType, Load, ModelShape, Objectives, Service, Work, WorkUnit
from scheduler.model.precisions import Numerics
from scheduler.model.rates import CellRate, layout_text
from scheduler.model.transformers import Transformer, find_transformer
from scheduler.model.weights import parameters
from scheduler.profiles.layout_search import Arrangement, search_layouts
from scheduler.profiles.layouts import Layout, Precision
from scheduler.profiles.memory import SERVING_BYTES_PER_PARAMETER
from scheduler.profiles.serving_model import ServingModel
from scheduler.profiles.serving_rate import service_split
from scheduler.profiles.storage import bytes_per_parameter, storage_of
from scheduler.profiles.store import Store, store_of
from scheduler.profiles.table import Rate
from scheduler.profiles.training_rates import TrainingCoefficients
from scheduler.profiles.work import transformer_of

__all__ = [
    "Modelled",
    "engine_measured",
    "layout_words",
    "replica_rate",
    "served_bytes",
    "served_shape",
    "store_in",
    "training_rates",
    "transformer_named",
    "useful_counts",
]

SEARCHES_KEPT = 4096

ENGINES: Final = {"trt-llm": "trtllm", "tensorrt-llm": "trtllm"}
"""Other names of engines that were measured."""


class Modelled(Struct, frozen=True):
    """A rate in the job's own unit of work, the layout that reaches it in words, and how many tokens a unit has."""

    rate: Rate
    layout: str
    tokens_per_unit: float


def transformer_named(work: Work, catalog: Catalog) -> Transformer | None:
    """The architecture that the work names, else the one that its sizes make up, else None."""
    model = work.model
    if model is None or model.params <= 0:
        return None
    named = find_transformer(catalog.models, model.name) if model.name else None
    return named or transformer_of(model)


def training_rates(
    work: Work, accelerator: Accelerator, counts: Sequence[int], catalog: Catalog
) -> Mapping[int, Modelled]:
    """By count of devices, for the counts on which some layout fits and divides the batch; empty where the work does
    not tell sequence length and batch, or the catalog lacks a fit or a figure of the accelerator."""
    found = _searched(work, accelerator, tuple(counts), catalog, most=max(counts), min_efficiency=0.0) if counts else ()
    per_unit = _tokens_per_unit(work)
    return {a.count: Modelled(_in_units(a.rate, per_unit), layout_words(a.layout), per_unit) for a in found}


def useful_counts(
    work: Work, accelerator: Accelerator, catalog: Catalog, *, most: int, min_efficiency: float
) -> tuple[int, ...]:
    """Counts that are faster than every smaller one and not too inefficient; empty where nothing can be told."""
    found = _searched(work, accelerator, (), catalog, most=most, min_efficiency=min_efficiency)
    return tuple(a.count for a in found)


def replica_rate(
    service: Service, work: Work, accelerator: Accelerator, count: int, catalog: Catalog
) -> Modelled | None:
    """Requests a second that one replica of `count` devices serves within the service's objectives, in the formats and
    under the engine of `work`; a value of 0 where it cannot. None where the model or the lengths are not known, or the
    catalog lacks a fit or a figure."""
    model = find_transformer(catalog.models, service.model) if service.model else None
    load = service.load
    if model is None or load.prompt_tokens < 1 or load.output_tokens < 1:
        return None
    fit = _fit(catalog, "serving")
    if fit is None:
        return None
    lengths = msgspec.structs.replace(load, requests_per_s=0.0, trace="")
    engine = engine_measured(work.engine.name)
    return _served(_key(accelerator), fit, model, count, service.objectives, lengths, work.numerics, engine)


def engine_measured(name: str) -> str:
    """A serving engine as measurements call it."""
    return ENGINES.get(name.lower(), name.lower())


def served_bytes(job: Job, catalog: Catalog) -> float:
    """Of a parameter of the model that the job serves."""
    if job.type is not JobType.INFERENCE:
        return SERVING_BYTES_PER_PARAMETER
    service = job.service
    named = find_transformer(catalog.models, service.model) if service and service.model else None
    model = named or transformer_named(job.work, catalog)
    if model is None:
        return SERVING_BYTES_PER_PARAMETER
    formats = job.work.numerics
    return bytes_per_parameter(model, storage_of(model, formats.precision, formats.experts, formats.cache))


def served_shape(service: Service | None, catalog: Catalog) -> ModelShape | None:
    """The size of the model that a service names, or None where nobody knows it."""
    found = find_transformer(catalog.models, service.model) if service and service.model else None
    return ModelShape(params=float(parameters(found)), name=found.name) if found else None


def layout_words(layout: Layout) -> str:
    """As measurements and commands write it, such as `tp=2,dp=4,zero=1,mb=2,rc=full`."""
    sizes = {
        "tp": layout.tensor,
        "pp": layout.pipeline,
        "dp": layout.data,
        "ep": layout.expert,
        "cp": layout.context,
        "zero": layout.zero,
        "mb": layout.micro_batch,
    }
    return layout_text({**{name: str(size) for name, size in sizes.items()}, "rc": layout.recompute.value})


def store_in(catalog: Catalog) -> Store:
    """The figures of cells that the catalog holds."""
    return _store(_key(catalog.rates))


class _Key:
    """A value that is kept as a key by what it says: catalogs are decoded anew for each copy of a state."""

    __slots__ = ("_digest", "value")

    def __init__(self, value: object) -> None:
        self.value = value
        self._digest = hashlib.blake2b(msgspec.json.encode(value), digest_size=16).digest()

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other._digest == self._digest


_KEYS: dict[int, tuple[object, _Key]] = {}


def _key(value: object) -> _Key:
    """The key of a value that lives long, made once for each object."""
    known = _KEYS.get(id(value))
    if known is None or known[0] is not value:
        if len(_KEYS) >= SEARCHES_KEPT:
            _KEYS.clear()
        known = _KEYS[id(value)] = value, _Key(value)
    return known[1]


def _fit(catalog: Catalog, section: str) -> _Key | None:
    plain = catalog.fits.get(section)
    return None if plain is None else _key(plain)


def _searched(
    work: Work, accelerator: Accelerator, counts: tuple[int, ...], catalog: Catalog, *, most: int, min_efficiency: float
) -> tuple[Arrangement, ...]:
    transformer, fit = transformer_named(work, catalog), _fit(catalog, "training")
    if transformer is None or fit is None or work.model is None or not work.model.seq_len or not work.global_batch:
        return ()
    low = work.numerics.precision.startswith("fp8") and accelerator.fp8_tflops is not None  # else half is what is left
    return _search(
        _key(accelerator), fit, transformer, work.global_batch, work.model.seq_len, counts, most, min_efficiency,
        Precision.FP8 if low else Precision.BF16, str(work.engine),
    )  # fmt: skip


@lru_cache(maxsize=SEARCHES_KEPT)
def _search(
    accelerator: _Key,
    fit: _Key,
    transformer: Transformer,
    global_batch: int,
    seq_len: int,
    counts: tuple[int, ...],
    most: int,
    min_efficiency: float,
    precision: Precision,
    engine: str,
) -> tuple[Arrangement, ...]:
    chip = cast(Accelerator, accelerator.value)
    try:
        found = search_layouts(
            transformer,
            [chip],
            _training(fit),
            global_batch=global_batch,
            seq_len=seq_len,
            counts={chip.name: counts} if counts else None,
            most=most,
            min_efficiency=min_efficiency,
            precision=precision,
            engine=engine,
        )
    except UsageError:  # the catalog lacks a figure: the class table knows the chip all the same
        return ()
    return found[chip.name]


@lru_cache(maxsize=SEARCHES_KEPT)
def _served(
    accelerator: _Key,
    fit: _Key,
    model: Transformer,
    count: int,
    objectives: Objectives,
    lengths: Load,
    formats: Numerics,
    engine: str,
) -> Modelled | None:
    chip = cast(Accelerator, accelerator.value)
    storage = storage_of(model, formats.precision, formats.experts, formats.cache)
    try:
        rate, split = service_split(model, chip, count, objectives, lengths, _serving(fit), storage, engine=engine)
    except UsageError:
        return None
    sizes = {"tp": split.tensor, "adp": split.data, "ep": split.expert}
    layout = layout_text({axis: str(size) for axis, size in sizes.items()})
    return Modelled(rate, layout, float(lengths.output_tokens))


@lru_cache(maxsize=8)
def _store(rates: _Key) -> Store:
    return store_of(cast(tuple[CellRate, ...], rates.value))


@lru_cache(maxsize=8)
def _training(fit: _Key) -> TrainingCoefficients:
    return msgspec.convert(fit.value, TrainingCoefficients, dec_hook=_array)


@lru_cache(maxsize=8)
def _serving(fit: _Key) -> ServingModel:
    return msgspec.convert(fit.value, ServingModel, dec_hook=_array)


def _array(kind: type, value: object) -> NDArray[np.float64]:
    return np.array(value, dtype=np.float64)


def _tokens_per_unit(work: Work) -> float:
    seq_len = work.model.seq_len if work.model else 0
    return {WorkUnit.TOKENS: 1.0, WorkUnit.SAMPLES: float(seq_len), WorkUnit.STEPS: float(seq_len) * work.global_batch}[
        work.unit
    ]


def _in_units(tokens: Rate, per_unit: float) -> Rate:
    part = 1.0 / per_unit
    return tokens.times(part, part, part, tokens.provenance)
