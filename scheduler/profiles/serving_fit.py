"""What the terms of serving cost, learnt from measurements: for all engines together and, near that, for each.

A step's time is terms @ coefficients (`serving`), coefficients not negative, errors relative. Each engine's own are
pulled towards those of all, so that an engine seen once keeps the physics of the others. Measurements that lie far off
(speculative decoding that nobody mentioned, a server that was overrun) count ever less: weights of Student's t with
four degrees of freedom on log errors (Lange, Little and Taylor, 1989).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.profiles.fitting import fit_nonnegative
from scheduler.profiles.serving import (
    DECODE_TERMS,
    PREFILL_TERMS,
    Demand,
    Served,
    decode_floor_s,
    decode_terms,
    largest_batch,
    prefill_floor_s,
    prefill_terms,
    running,
)

__all__ = ["QUEUE_TERMS", "ServingCoefficients", "busy_s", "fit_serving", "tpot_s", "ttft_s"]

FloatArray = NDArray[np.float64]
Names = tuple[str, ...]

QUEUE_TERMS = ("prompt", "products_of_others", "launches_of_others", "steps", "busy", "overflow")
"""Own prompt; arithmetic and launches of the prompts of all others; decode steps in between; the others' arithmetic
again, by the share of the time that it takes; and whole requests that end before there is room in the cache."""

ANY = "any"
"""Engine of which nothing was measured: the coefficients of all together."""

BELIEVED_DECODE = {
    "expert_layers": 1e-5, "weights": 0.8, "cache": 1.2, "all_reduce_steps": 3e-6, "messages": 2.0,
    "prompt_products": 1.2, "prompt_expert_products": 1.0, "prompt_attention": 3.0, "prompt_messages": 2.0,
    "prompt_layers": 1e-4, "data_parallel_layers": 1e-5, "hidden_weights": 2.0, "attention": 2.0,
    "expert_parallel_layers": 1e-5, "layers_by_root_of_batch": 8e-6, "experts": 1.0, "hidden_experts": 2.0,
    "widened_experts": 1.0,
}  # fmt: skip
BELIEVED_PREFILL = {
    "layers": 5e-4, "expert_layers": 3e-4, "latent_layers": 1e-3, "expert_parallel_layers": 1e-4, "products": 2.0,
    "expert_products": 2.0, "attention": 2.0, "experts": 1.0, "token_layers": 1e-7,
}  # fmt: skip
"""What is believed before anything is measured, in round figures: reading and arithmetic at half to most of the data
sheet's rate, microseconds for a collective's step, half a millisecond for a prompt's eager launches per layer. Where
measurements cannot tell two terms apart (all models of a file are mixtures, or of one size) these do."""

BELIEVED_PULL_DECODE, BELIEVED_PULL_PREFILL = 0.5, 2.0
"""How many measurements that is worth; chosen among 0, 0.1, 0.5 and 2 by leaving out models."""

PULL = 5.0
"""How many measurements the coefficients of all engines are worth for each engine's own; chosen among 3, 5, 10, 20 and
40 by leaving out each cell, model and device in turn."""

LEAST_SHARE = 0.03
"""A term that all engines together do without may still explain about so much of one engine's time, where it is."""

QUIET_BATCH = 4
"""Requests at once up to which a prompt hardly waits for others; from these the time without queueing is learnt."""

ENOUGH = 12
"""Measurements below which an engine keeps the coefficients of all."""

NOTHING = 1e-30
"""A coefficient of which nothing is known: the priors of the fit lie above 0."""

ROUNDS = 12
STUDENT_SCALE = 2.0
QUEUE_PRIOR = (1.0, 0.05, 0.02, 1.0, 0.1, 1.0)
QUEUE_PULL = (1e6, 1.0, 1.0, 1.0, 1.0, 1.0)
"""The own prompt counts once; the rest is loosely held: a burst of requests at the start, spread over ten rounds."""

PRODUCTS = np.array([name in ("products", "expert_products", "attention") for name in PREFILL_TERMS])
ONCE = ("layers", "expert_layers", "latent_layers", "expert_parallel_layers", "experts")
LAUNCHES = np.array([name in ONCE for name in PREFILL_TERMS])
"""What a pass costs once, however many prompts it takes."""

PASS_TOKENS = 8192.0
"""Prompt tokens of one pass; vLLM's and TensorRT-LLM's usual `max_num_batched_tokens`."""

BUSIEST = 5.0
"""Arithmetic of prompts over time at hand, where the load is more than can be."""


class ServingCoefficients(Struct, frozen=True, kw_only=True):
    """By engine, with `any` for every other: what each of `DECODE_TERMS`, `PREFILL_TERMS` and `QUEUE_TERMS` costs.

    ValueError where a cost is missing or negative, or none stands for other engines.
    """

    decode: Mapping[str, Mapping[str, float]]
    prefill: Mapping[str, Mapping[str, float]]
    queue: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        for part, names in ((self.decode, DECODE_TERMS), (self.prefill, PREFILL_TERMS), (self.queue, QUEUE_TERMS)):
            if ANY not in part or any(set(costs) != set(names) or min(costs.values()) < 0 for costs in part.values()):
                raise ValueError(f"needs `{ANY}` and, for each engine, costs not below 0 of {', '.join(names)}")

    @property
    def engines(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.decode if name != ANY))


def tpot_s(
    served: Served, demand: Demand, engines: str | Sequence[str], coefficients: ServingCoefficients
) -> FloatArray:
    """Seconds per output token (n,) of replicas that hold `demand.batch` requests at once."""
    costs = _costs(coefficients.decode, engines, DECODE_TERMS)
    return np.asarray(np.maximum((decode_terms(served, demand) * costs).sum(axis=-1), decode_floor_s(served, demand)))


def ttft_s(
    served: Served,
    demand: Demand,
    engines: str | Sequence[str],
    coefficients: ServingCoefficients,
    *,
    queueing: bool = False,
) -> FloatArray:
    """Seconds to the first token (n,); with `queueing`, of clients that keep `demand.batch` requests at hand and send
    the next when one ends, started together (a closed loop, as benchmarks are run)."""
    if queueing:
        waits = _queue_terms(served, demand, engines, coefficients)
        return np.asarray((waits * _costs(coefficients.queue, engines, QUEUE_TERMS)).sum(axis=-1))
    alone = (prefill_terms(served, demand) * _costs(coefficients.prefill, engines, PREFILL_TERMS)).sum(axis=-1)
    return np.asarray(np.maximum(alone, prefill_floor_s(served, demand)))


def busy_s(
    served: Served, demand: Demand, engines: str | Sequence[str], coefficients: ServingCoefficients
) -> FloatArray:
    """Seconds (n,) that a prompt keeps a replica from others: engines take prompts together up to `PASS_TOKENS`, which
    share the launches and the reading of experts."""
    parts = prefill_terms(served, demand) * _costs(coefficients.prefill, engines, PREFILL_TERMS)
    shared = np.minimum(np.asarray(demand.prompt, dtype=np.float64) / PASS_TOKENS, 1.0)[..., None]
    return np.asarray(np.where(LAUNCHES, parts * shared, parts).sum(axis=-1))


def fit_serving(
    served: Served, demand: Demand, engines: Sequence[str], *, tpot: FloatArray, ttft: FloatArray
) -> ServingCoefficients:
    """From measured seconds per output token `tpot` (n,) and to the first token `ttft` (n,); NaN is not measured.

    Time to the first token is learnt from the smallest batches (`QUIET_BATCH`, else the smallest there are), and what
    queueing adds from all. ValueError where nothing is measured.
    """
    named = np.asarray(engines, dtype=object)
    if not (np.isfinite(tpot).any() and np.isfinite(ttft).any()):
        raise ValueError("fit_serving needs times per output token and to the first token")
    decode = _by_engine(BELIEVED_DECODE, BELIEVED_PULL_DECODE, decode_terms(served, demand), tpot, named)
    total = np.asarray(demand.batch * np.asarray(served.data))
    measured = np.isfinite(ttft)
    quiet = measured & (total <= max(QUIET_BATCH, float(total[measured].min())))
    first = np.where(quiet, ttft, np.nan)
    prefill = _by_engine(BELIEVED_PREFILL, BELIEVED_PULL_PREFILL, prefill_terms(served, demand), first, named)
    quietly = ServingCoefficients(decode=decode, prefill=prefill, queue={ANY: _named(QUEUE_TERMS, QUEUE_PRIOR)})
    waits = _queue_terms(served, demand, engines, quietly)
    return ServingCoefficients(decode=decode, prefill=prefill, queue=_queue(waits, ttft, named))


def robust_fit(
    terms: FloatArray, times: FloatArray, prior: FloatArray | None = None, pull: float | FloatArray = 0.0
) -> FloatArray:
    """Coefficients (k,) of terms (n, k), by reweighted least squares."""
    weights = np.ones(len(times))
    found = np.zeros(terms.shape[1]) if prior is None else np.where(prior > NOTHING, prior, 0.0)
    seen = terms.any(axis=0)  # what no measurement has stays as it was
    near, held = (None, 0.0) if prior is None else (prior[seen], np.broadcast_to(pull, prior.shape)[seen])
    for _ in range(ROUNDS):
        found[seen] = fit_nonnegative(terms[:, seen], times, prior=near, prior_weight=held, weights=weights)
        errors = np.log(np.maximum(terms @ found, 1e-9 * times) / times)
        spread = max(1.4826 * float(np.median(np.abs(errors))), 0.02)
        weights = 1.0 / (1.0 + (errors / (STUDENT_SCALE * spread)) ** 2)
    return found


def _by_engine(
    believed: Mapping[str, float], belief: float, terms: FloatArray, times: FloatArray, engines: NDArray[np.object_]
) -> dict[str, dict[str, float]]:
    names = tuple(believed)
    known = np.isfinite(times)
    terms, times, engines = terms[known], times[known], engines[known]
    pooled = robust_fit(terms, times, np.array(list(believed.values())), belief)
    found = {ANY: _named(names, pooled)}
    for engine in sorted(set(engines)):
        own = engines == engine
        if own.sum() >= ENOUGH:
            found[engine] = _named(names, robust_fit(terms[own], times[own], *_pulled(pooled, terms[own], times[own])))
    return found


def _pulled(pooled: FloatArray, terms: FloatArray, times: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Prior and its weights: a coefficient may stray from that of all by its own size, or by what explains
    `LEAST_SHARE` of the times that have the term, whichever is more: few runs that went wrong, and alone have a term,
    do not make it what they please."""
    shares = (terms / times[:, None]).sum(axis=0) / np.maximum((terms > 0).sum(axis=0), 1)
    stray = np.maximum(pooled, np.divide(LEAST_SHARE, shares, out=np.zeros_like(shares), where=shares > 0))
    prior = np.maximum(pooled, np.where(stray > 0, 1e-6 * stray, NOTHING))
    return prior, PULL * np.divide(prior, stray, out=np.ones_like(stray), where=stray > 0) ** 2


def _queue(waits: FloatArray, ttft: FloatArray, engines: NDArray[np.object_]) -> dict[str, dict[str, float]]:
    prior, pull = np.array(QUEUE_PRIOR), np.array(QUEUE_PULL)
    known = np.isfinite(ttft)
    pooled = robust_fit(waits[known], ttft[known], prior, pull)
    found = {ANY: _named(QUEUE_TERMS, pooled)}
    for engine in sorted(set(engines)):
        own = known & (engines == engine)
        if own.sum() >= ENOUGH:
            near = np.maximum(pooled, LEAST_SHARE * prior)
            found[engine] = _named(
                QUEUE_TERMS, robust_fit(waits[own], ttft[own], near, np.where(pull > PULL, pull, PULL))
            )
    return found


def _queue_terms(
    served: Served, demand: Demand, engines: str | Sequence[str], coefficients: ServingCoefficients
) -> FloatArray:
    """Seconds (n, k) in the order of `QUEUE_TERMS`."""
    alone = ttft_s(served, demand, engines, coefficients)
    step = tpot_s(served, demand, engines, coefficients)
    parts = prefill_terms(served, demand) * _costs(coefficients.prefill, engines, PREFILL_TERMS)
    products, launches = parts[..., PRODUCTS].sum(axis=-1), parts[..., LAUNCHES].sum(axis=-1)
    held = running(served, demand)
    others = np.maximum(held - 1.0, 0.0)
    busy = np.minimum(held * (products + 0.3 * launches) / (demand.output * step), BUSIEST)
    beyond = np.maximum(np.asarray(demand.batch) / np.maximum(largest_batch(served, demand), 1.0) - 1.0, 0.0)
    waits = (alone, others * products, others * launches, step * np.sqrt(held), busy * others * products,
             beyond * demand.output * step)  # fmt: skip
    return np.stack(np.broadcast_arrays(*waits), axis=-1)


def _costs(by_engine: Mapping[str, Mapping[str, float]], engines: str | Sequence[str], terms: Names) -> FloatArray:
    if isinstance(engines, str):
        costs = by_engine.get(engines, by_engine[ANY])
        return np.array([costs[term] for term in terms])
    names, place = np.unique(np.asarray(engines, dtype=str), return_inverse=True)
    return np.array([_costs(by_engine, str(name), terms) for name in names])[place.reshape(-1)]


def _named(names: Names, values: Sequence[float] | FloatArray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}
