"""How many requests a second devices serve within their objectives, together or with prefill apart, and how many
replicas a load needs.

A replica holds as many requests as arrive in the time that one takes (Little, 1961), which settles its batch, its time
per token, and with it the largest rate: batches are tried up to what the cache holds. Prompts wait in a queue
(`queueing`); the percentile of the time per token is that of a batch that has grown by chance (Poisson).
"""

import math
from collections.abc import Iterator

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from scheduler.errors import UsageError
from scheduler.model.accelerators import Accelerator, Provenance
from scheduler.model.jobs import Load, Objectives
from scheduler.model.transformers import Transformer
from scheduler.profiles.queueing import highest_rate
from scheduler.profiles.serving import Demand, Served, Split, largest_batch, served
from scheduler.profiles.serving_fit import busy_s, tpot_s, ttft_s
from scheduler.profiles.serving_model import Phase, ServingModel
from scheduler.profiles.serving_spread import band
from scheduler.profiles.storage import Storage
from scheduler.profiles.table import Rate

__all__ = ["Pool", "pooled_rate", "replicas_needed", "separated_rate", "service_split", "splits_of"]

FloatArray = NDArray[np.float64]

SHARE = 0.99
"""Of requests that must keep the objectives: those of a job file are 99th percentiles."""

USUAL_PERCENTILE_Z = 2.326
"""Deviations above the mean that a normal stays below in 99 of 100 draws."""

PROMPT_CV2 = 1.0
"""Squared coefficient of variation of prompts' lengths; production traces lie near it (BurstGPT, Azure: 0.7 to 2)."""

BATCHES = 96
"""Sizes tried between one request and what the cache holds."""

LARGEST_BATCH = 4096.0
FULLEST = 0.9
"""Share of the time that prompts may take where nothing limits how long they wait."""


class Pool(Struct, frozen=True, kw_only=True):
    """Replicas of one kind under an engine."""

    replica: Served
    replicas: int = 1
    engine: str = ""


def service_split(
    transformer: Transformer,
    accelerator: Accelerator,
    count: int,
    objectives: Objectives,
    load: Load,
    model: ServingModel,
    storage: Storage,
    *,
    engine: str = "",
) -> tuple[Rate, Split]:
    """Requests a second that `count` devices serve within `objectives` at the lengths of `load`, with the band that the
    model's errors leave, and the split that gives the most. 0 where no split holds the model or keeps the objectives.

    UsageError where the catalog lacks a figure of the device.
    """
    best = Rate(0.0, 0.0, 0.0, Provenance.MODELLED), Split()
    for split in splits_of(transformer, count):
        replica = served(transformer, accelerator, storage, split)
        pool = Pool(replica=replica, replicas=count // split.devices, engine=engine)
        found = pooled_rate(pool, objectives, load, model), split
        best = max(best, found, key=lambda one: (one[0].value, one[0].high))
    return best


def splits_of(transformer: Transformer, count: int) -> Iterator[Split]:
    """Ways to split a replica that leave none of `count` devices over: tensor parallel, and for mixtures of experts
    with requests of their own on each device."""
    if count < 1:
        raise UsageError(f"{count} devices serve nothing", "give at least one")
    for devices in (n for n in range(1, count + 1) if count % n == 0):
        if transformer.heads % devices == 0:
            yield Split(tensor=devices)
        if transformer.experts and devices > 1 and transformer.experts % devices == 0:
            yield Split(data=devices, expert=devices)


def pooled_rate(pool: Pool, objectives: Objectives, load: Load, model: ServingModel) -> Rate:
    """Of replicas that fill prompts and write answers, requests divided among them evenly."""
    found = _written_rate(pool, objectives, load, model, mixed=1.0)
    one = structs.replace(pool, replicas=1)
    filled = _filled_rate(one, objectives, load, model, transfer_s=0.0) * pool.replicas
    return _rate(np.minimum(found, filled))


def separated_rate(
    prefill: Pool, decode: Pool, objectives: Objectives, load: Load, model: ServingModel, *, transfer_s: float = 0.0
) -> Rate:
    """Of one pool that fills prompts and another, of other devices maybe, that writes answers: the lesser of the two.

    `transfer_s`: to move a prompt's cache between them, which counts towards the first token.
    """
    filled = _filled_rate(prefill, objectives, load, model, transfer_s)
    return _rate(np.minimum(filled, _written_rate(decode, objectives, load, model, mixed=0.0)))


def replicas_needed(rate: Rate, requests_per_s: float, *, sure: bool = True) -> int:
    """Replicas of `rate` each that serve so many requests; by the lower end of the band where `sure`. At least one.

    UsageError where a replica serves none.
    """
    each = rate.low if sure else rate.value
    if each <= 0:
        raise UsageError("a replica serves no request within the objectives", "give it more devices or ease them")
    return max(1, math.ceil(requests_per_s / each - 1e-9))


def _rate(found: FloatArray) -> Rate:
    return Rate(float(found[0]), float(found[1]), float(found[2]), Provenance.MODELLED)


def _written_rate(pool: Pool, objectives: Objectives, load: Load, model: ServingModel, mixed: float) -> FloatArray:
    """Answers a second (3,) of a pool as predicted, and at the slow and the fast end of the band; groups of a replica
    with requests of their own add up."""
    s, length = pool.replica, _lengths(load)
    room = min(float(np.asarray(largest_batch(s, length))), LARGEST_BATCH)
    if room < 1:
        return np.zeros(3)
    factors = _reach(model, Phase.TPOT, s)[:, None]
    batches = np.geomspace(1.0, room, BATCHES)
    busiest = np.minimum(batches + USUAL_PERCENTILE_Z * np.sqrt(batches), room)
    steps, slowest = (
        tpot_s(s, structs.replace(length, batch=held, mixed=mixed), pool.engine, model.coefficients) * factors
        for held in (batches, busiest)
    )
    rates = batches / (np.asarray(length.output) * steps)
    if objectives.tpot_ms_p99 is not None:
        rates = np.where(slowest * 1000 <= objectives.tpot_ms_p99, rates, 0.0)
    return np.asarray(rates.max(axis=1) * float(np.asarray(s.data)) * pool.replicas)


def _filled_rate(pool: Pool, objectives: Objectives, load: Load, model: ServingModel, transfer_s: float) -> FloatArray:
    """Prompts a second (3,) that a pool fills from one queue; groups of a replica take theirs apart."""
    s, length = pool.replica, _lengths(load)
    if float(np.asarray(largest_batch(s, length))) < 1:
        return np.zeros(3)
    groups = int(np.asarray(s.data)) * pool.replicas
    factors = _reach(model, Phase.TTFT, s)
    alone = ttft_s(s, length, pool.engine, model.coefficients) * factors
    busy = np.minimum(busy_s(s, length, pool.engine, model.coefficients) * factors, alone)
    most = groups / busy * FULLEST
    if objectives.ttft_ms_p99 is None:
        return np.asarray(most)
    patience = objectives.ttft_ms_p99 / 1000 - alone - transfer_s
    return np.minimum(most, highest_rate(patience, SHARE, busy, groups, service_cv2=PROMPT_CV2))


def _lengths(load: Load) -> Demand:
    return Demand(batch=1.0, prompt=float(max(load.prompt_tokens, 1)), output=float(max(load.output_tokens, 1)))


def _reach(model: ServingModel, phase: Phase, replica: Served) -> FloatArray:
    """What to multiply a time by (3,): as predicted, and at the slow and the fast end of its band."""
    low, high = band(model.spread(phase, float(np.asarray(replica.expert_layers)) > 0))
    return np.array([1.0, high, low])
