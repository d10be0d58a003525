"""How fast a replica serves: time per output token and to the first token, as sums of few physical terms.

A decode step reads the weights and the cached keys and values, launches the kernels of every layer and sums partial
results over the tensor-parallel devices; prompts that come in meanwhile take their share. What the terms cost is
fitted (`serving_fit`); the terms themselves are times in seconds that a perfect device would need, or counts.
Formulas: Pope et al., 2023 (decode is bound by what it reads); DeepSeek-AI, 2024 (compressed cache); expected
distinct experts touched by independent draws. Experts in a format that the device cannot multiply are widened on the
way, which takes as long as they are large. The square roots stand for launch and reading that hide each other in part:
they transfer to models never seen better than either alone.

All functions take arrays or scalars alike; `Served` holds one column for each figure of a replica.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from scheduler.errors import UsageError
from scheduler.model.accelerators import Accelerator
from scheduler.model.transformers import Transformer
from scheduler.profiles.storage import Storage
from scheduler.profiles.work import attention_parameters, mlp_parameters

__all__ = [
    "DECODE_TERMS",
    "PREFILL_TERMS",
    "Demand",
    "Served",
    "Split",
    "decode_floor_s",
    "decode_terms",
    "largest_batch",
    "prefill_floor_s",
    "prefill_terms",
    "running",
    "served",
    "together",
    "touched_s",
]

FloatArray = NDArray[np.float64]
Column = NDArray[np.floating[Any]] | float

USABLE_SHARE = 0.9
"""Of a device's memory, as vLLM's default `gpu_memory_utilization`."""

RESERVED_BYTES = 2e9
"""Activations, communication buffers and captured graphs of a serving engine; modelled."""

LAUNCH_S = 1e-5
"""Of a layer, for scale only: what the square roots weigh reading against."""

DECODE_TERMS = (
    "expert_layers", "weights", "cache", "all_reduce_steps", "messages", "prompt_products", "prompt_expert_products",
    "prompt_attention", "prompt_messages", "prompt_layers", "data_parallel_layers", "hidden_weights", "attention",
    "expert_parallel_layers", "layers_by_root_of_batch", "experts", "hidden_experts",
    "widened_experts",
)  # fmt: skip

PREFILL_TERMS = (
    "layers", "expert_layers", "latent_layers", "expert_parallel_layers", "products", "expert_products", "attention",
    "experts", "token_layers",
)  # fmt: skip


class Split(Struct, frozen=True, kw_only=True, gc=False):
    """How a replica lies on its devices: `tensor` devices share every layer, `data` such groups have requests of their
    own but share the experts (attention data parallelism); experts lie whole on `expert` groups of devices."""

    tensor: int = 1
    data: int = 1
    expert: int = 1

    @property
    def devices(self) -> int:
        return self.tensor * self.data


class Served(Struct, frozen=True, kw_only=True):
    """A replica in figures: times on one of its devices at the full rate of the data sheet. Columns (n,) or scalars.

    `weights_s`, `experts_s`: to read all weights but the experts', and all experts'. `widened`: 1 where experts must
    be widened to half precision before they multiply, else 0. `drawn`: share of the experts that a token passes.
    `position_s`, `windowed_s`: to read one cached position of one request in the layers that attend to all, and to
    the last `window` only. `room`: positions that fit beside the weights, in bytes of one layer's position over
    bytes; negative where not even the weights fit. `product_s`, `expert_product_s`: arithmetic of a token. `score_s`,
    `windowed_score_s`: arithmetic of a prompt's token for each position it attends to, `read_score_s` and
    `windowed_read_score_s` of an output token. `message_s`: to send one token's partial results twice a layer.
    """

    layers: Column
    expert_layers: Column
    latent_layers: Column
    tensor: Column
    data: Column
    expert: Column
    weights_s: Column
    experts_s: Column
    widened: Column
    drawn: Column
    position_s: Column
    windowed_s: Column
    window: Column
    room: Column
    full_layers: Column
    windowed_layers: Column
    product_s: Column
    expert_product_s: Column
    score_s: Column
    windowed_score_s: Column
    read_score_s: Column
    windowed_read_score_s: Column
    message_s: Column


class Demand(Struct, frozen=True, kw_only=True):
    """Requests at once on each data-parallel group, tokens of a prompt and of an answer. Columns (n,) or scalars.

    `mixed`: share of the prompts that the same devices fill; 0 where other devices do it (prefill apart from decode).
    """

    batch: Column
    prompt: Column
    output: Column
    mixed: Column = 1.0


def served(transformer: Transformer, accelerator: Accelerator, storage: Storage, split: Split) -> Served:
    """Raises UsageError where the split does not divide the model or the catalog lacks a figure of the device."""
    _check(transformer, accelerator, split)
    t, tensor, devices = transformer, split.tensor, split.devices
    bandwidth = _figure(accelerator, "bandwidth_tb_per_s") * 1e12
    half = storage.operations_per_s(accelerator, "bf16")
    routed = storage.operations_per_s(accelerator, storage.expert_products)
    full_layers = t.layers - t.windowed_layers
    attention = t.layers * attention_parameters(t)
    mlp = (t.layers - t.expert_layers) * mlp_parameters(t, t.ffn) + t.expert_layers * mlp_parameters(t, t.shared_ffn)
    per_expert = t.expert_layers * mlp_parameters(t, t.expert_ffn)
    read = attention * storage.attention / tensor + (mlp * storage.dense + 2.0 * t.vocab * t.hidden) / devices
    experts = t.experts * per_expert * storage.experts / devices
    cached = (t.latent_kv or 2 * t.kv_heads * t.head_dim / min(tensor, t.kv_heads)) * storage.cache
    scored = 2.0 * t.heads * (t.nope_dim + t.rope_dim + t.value_dim if t.latent_kv else 2 * t.head_dim) / tensor / half
    absorbed = 2.0 * t.heads * (2 * t.latent_kv - t.rope_dim) / tensor / half if t.latent_kv else scored
    free = accelerator.hbm_gib.value * 2**30 * USABLE_SHARE - RESERVED_BYTES - read - experts
    link = accelerator.link_gb_per_s
    speed = link.value * 1e9 / 2 if link else bandwidth / 100
    return Served(
        layers=float(t.layers),
        expert_layers=float(t.expert_layers),
        latent_layers=float(t.layers if t.latent_kv else 0),
        tensor=float(tensor),
        data=float(split.data),
        expert=float(split.expert),
        weights_s=read / bandwidth,
        experts_s=experts / bandwidth,
        widened=float(storage.widens_experts(accelerator)),
        drawn=t.experts_per_token / t.experts if t.experts else 0.0,
        position_s=full_layers * cached / bandwidth,
        windowed_s=t.windowed_layers * cached / bandwidth,
        window=float(t.window),
        room=free / cached,
        full_layers=float(t.layers if t.latent_kv else full_layers),
        windowed_layers=float(0 if t.latent_kv else t.windowed_layers),
        product_s=2.0 * (attention / tensor + mlp / devices) / storage.operations_per_s(accelerator, storage.products),
        expert_product_s=2.0 * t.experts_per_token * per_expert / devices / routed,
        score_s=full_layers * scored,
        windowed_score_s=t.windowed_layers * scored,
        read_score_s=full_layers * absorbed,
        windowed_read_score_s=t.windowed_layers * absorbed,
        message_s=2.0 * t.layers * t.hidden * 2 / speed if tensor > 1 else 0.0,
    )


def together(replicas: Sequence[Served]) -> Served:
    """Columns (n,) of `replicas`."""
    names = [field.name for field in structs.fields(Served)]
    return Served(**{name: np.array([getattr(one, name) for one in replicas], dtype=np.float64) for name in names})


def largest_batch(s: Served, demand: Demand) -> Column:
    """Requests of the demand's lengths whose caches fit at once on each data-parallel group; 0 where none does."""
    total = np.asarray(demand.prompt, dtype=np.float64) + demand.output
    return np.asarray(np.maximum(s.room / (s.full_layers * total + s.windowed_layers * _within(s, total)), 0.0))


def running(s: Served, demand: Demand) -> Column:
    """Of the requests at hand, those that the cache has room for; the others wait. At least one."""
    return np.minimum(demand.batch, np.maximum(largest_batch(s, demand), 1.0))


def touched_s(s: Served, tokens: Column) -> Column:
    """Time to read the distinct experts that so many tokens draw between them."""
    return s.experts_s * (1.0 - (1.0 - np.asarray(s.drawn)) ** tokens)


def decode_terms(s: Served, demand: Demand) -> FloatArray:
    """Terms (n, k) of a decode step's time, in the order of `DECODE_TERMS`."""
    batch = running(s, demand)
    context = np.asarray(demand.prompt + np.asarray(demand.output) / 2.0)
    starting = demand.mixed * np.maximum(batch - 1.0, 0.0) / demand.output
    products, experts, attention = _prompt_s(s, demand)
    touched = touched_s(s, batch * s.data)
    return _columns(
        s.expert_layers,
        s.weights_s,
        batch * _cache_s(s, context),
        2.0 * s.layers * np.log2(s.tensor),
        batch * s.message_s,
        starting * (products + experts),
        starting * experts,
        starting * attention,
        starting * demand.prompt * s.message_s,
        starting * s.layers,
        s.expert_layers * (np.asarray(s.data) > 1),
        np.sqrt(s.weights_s * np.asarray(s.layers) * LAUNCH_S),
        batch * (s.read_score_s * context + s.windowed_read_score_s * _within(s, context)),
        s.expert_layers * (np.asarray(s.expert) > 1),
        s.layers * np.sqrt(batch),
        touched,
        np.sqrt(touched * s.layers * LAUNCH_S),
        touched * s.widened,
    )


def decode_floor_s(s: Served, demand: Demand) -> Column:
    """No step is faster than the bytes it reads, nor than its arithmetic, on a perfect device (roofline)."""
    batch = running(s, demand)
    tokens = batch * s.data
    read = s.weights_s + touched_s(s, tokens) + batch * _cache_s(s, demand.prompt + np.asarray(demand.output) / 2.0)
    return np.maximum(read, batch * s.product_s + tokens * s.expert_product_s)


def prefill_terms(s: Served, demand: Demand) -> FloatArray:
    """Terms (n, k) of a prompt's time without queueing, in the order of `PREFILL_TERMS`."""
    products, experts, attention = _prompt_s(s, demand)
    prompt = np.asarray(demand.prompt, dtype=np.float64)
    return _columns(
        s.layers,
        s.expert_layers,
        s.latent_layers,
        s.expert_layers * (np.asarray(s.expert) > 1),
        products + experts,
        experts,
        attention,
        touched_s(s, prompt * s.data),
        prompt * s.layers,
    )


def prefill_floor_s(s: Served, demand: Demand) -> Column:
    return np.maximum(demand.prompt * (np.asarray(s.product_s) + s.expert_product_s), s.weights_s)


def _prompt_s(s: Served, demand: Demand) -> tuple[Column, Column, Column]:
    """Arithmetic of a prompt on one device: products with weights of all tokens, with those of experts, and scores and
    weighted values."""
    prompt = np.asarray(demand.prompt, dtype=np.float64)
    scores = prompt * (s.score_s * prompt / 2.0 + s.windowed_score_s * _within(s, prompt / 2.0))
    return prompt * s.product_s, prompt * s.expert_product_s * s.data, scores


def _cache_s(s: Served, context: Column) -> Column:
    return s.position_s * np.asarray(context) + s.windowed_s * _within(s, context)


def _within(s: Served, context: Column) -> Column:
    """Positions that a windowed layer attends to."""
    return np.where(np.asarray(s.window) > 0, np.minimum(context, s.window), context)


def _columns(*terms: Column) -> FloatArray:
    return np.stack(np.broadcast_arrays(*[np.atleast_1d(np.asarray(t, dtype=np.float64)) for t in terms]), axis=-1)


def _check(t: Transformer, accelerator: Accelerator, split: Split) -> None:
    if min(split.tensor, split.data, split.expert) < 1:
        raise UsageError(f"a split below 1 in {split}")
    if t.heads % split.tensor:
        raise UsageError(f"tensor {split.tensor} does not divide {t.heads} heads", "choose a divisor")
    if split.expert > 1 and not t.experts:
        raise UsageError(f"expert {split.expert}, but {t.name or 'the model'} has no experts", "set it to 1")
    if split.devices % split.expert:
        raise UsageError(f"expert {split.expert} does not divide {split.devices} devices", "choose a divisor")


def _figure(accelerator: Accelerator, name: str) -> float:
    figure = getattr(accelerator, name)
    if figure is None or not (math.isfinite(figure.value) and figure.value > 0):
        raise UsageError(f"{accelerator.name} has no {name}", "add the figure to the catalog")
    return float(figure.value)
