"""What one training step does, counted per device: the figures that every term of its time follows from.

Fields are floats or arrays that broadcast, so that one model meets many layouts, or many rows of measurements stand
side by side.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.errors import UsageError
from scheduler.model.accelerators import Accelerator
from scheduler.model.transformers import Transformer
from scheduler.profiles.layouts import Layout, Precision, Recompute
from scheduler.profiles.work import (
    attention_flops_per_token,
    attention_parameters,
    expert_parameters,
    mlp_parameters,
    parameters,
)

__all__ = ["Chips", "Models", "Splits", "chips_of", "join", "models_of", "splits_of"]

Numbers = NDArray[np.float64] | float

USUAL_LINK_GB_PER_S = 32.0
"""PCIe 4.0 x16, both directions together: what devices without a link of their own have."""

USUAL_NETWORK_GB_PER_S = 12.5
"""100 Gbit/s a device."""


class Models(Struct, frozen=True, kw_only=True):
    """Of transformers at a sequence length. Weights and bytes count the whole model, flops one token's forward pass.

    `dense`: weights of the products that every token passes but the logits'; `routed`: of the experts that one token
    passes; `attention`: operations on scores; `scores`: score entries over all heads and layers; `traffic`: bytes that
    one token's activations take in all layers, for one pass over them; `inner_bytes`: what one token leaves in a layer
    for the backward pass, of the parts that tensor parallelism splits; `stored`: all weights, `stored_experts` and
    `embeddings` among them; `kv_width`: values of keys and values in a layer.
    """

    layers: Numbers
    hidden: Numbers
    vocab: Numbers
    dense: Numbers
    routed: Numbers
    attention: Numbers
    scores: Numbers
    traffic: Numbers
    stored: Numbers
    stored_experts: Numbers
    embeddings: Numbers
    inner_bytes: Numbers
    expert_layers: Numbers
    experts_per_token: Numbers
    kv_width: Numbers
    seq_len: Numbers


class Chips(Struct, frozen=True, kw_only=True):
    """Of accelerators: operations and bytes a second; `link` and `network` one way a device; `node` devices."""

    flops: Numbers
    low_flops: Numbers  # in FP8, or in BF16 where the chip has no FP8
    bandwidth: Numbers
    link: Numbers
    network: Numbers
    node: Numbers
    memory: Numbers


class Splits(Struct, frozen=True, kw_only=True):
    """Of layouts with their batch. `full` and `selective` recomputation, `parallel` sequence, `low` precision: 0, 1."""

    data: Numbers
    tensor: Numbers
    pipeline: Numbers
    expert: Numbers
    context: Numbers
    zero: Numbers
    full: Numbers
    selective: Numbers
    micro_batch: Numbers
    micro_batches: Numbers
    virtual_stages: Numbers
    parallel: Numbers
    low: Numbers


def models_of(t: Transformer, seq_len: int) -> Models:
    width = t.heads * (t.value_dim if t.latent_kv else t.head_dim)
    kv_width = t.latent_kv or 2 * t.kv_heads * t.head_dim
    routed = t.expert_layers * t.experts_per_token * mlp_parameters(t, t.expert_ffn)
    shared = t.expert_layers * (mlp_parameters(t, t.shared_ffn) + t.experts * t.hidden)
    plain = (t.layers - t.expert_layers) * mlp_parameters(t, t.ffn)
    per_token = t.experts_per_token * t.expert_ffn + t.shared_ffn if t.experts else 0
    inner = (t.layers - t.expert_layers) * t.ffn + t.expert_layers * per_token
    within = min(seq_len, t.window) if t.window else seq_len
    met = (t.layers - t.windowed_layers) * seq_len + t.windowed_layers * within
    return Models(
        layers=float(t.layers),
        hidden=float(t.hidden),
        vocab=float(t.vocab),
        dense=float(t.layers * attention_parameters(t) + plain + shared),
        routed=float(routed),
        attention=attention_flops_per_token(t, seq_len),
        scores=float(t.heads * met),
        traffic=_traffic(t, width, kv_width, inner),
        stored=float(parameters(t)),
        stored_experts=float(expert_parameters(t)),
        embeddings=float(t.vocab * t.hidden * (1 if t.tied else 2)),
        inner_bytes=4.0 * width + 2.0 * kv_width + (6.0 if t.gated else 4.0) * inner / t.layers,
        expert_layers=float(t.expert_layers),
        experts_per_token=float(t.experts_per_token),
        kv_width=float(kv_width),
        seq_len=float(seq_len),
    )


def _traffic(t: Transformer, width: int, kv_width: int, inner: int) -> float:
    """34 bytes per width, layer and token where the MLP is four times as wide and ungated (Korthikanti et al., 2022):
    12 around norms and residuals, 2 for each value of queries, keys, values; 4 for each inner value of the MLP, 6 where
    a gate doubles what is read."""
    attention = t.layers * (12.0 * t.hidden + 2.0 * (width + kv_width))
    return attention + (6.0 if t.gated else 4.0) * inner


def chips_of(accelerator: Accelerator) -> Chips:
    """UsageError where the catalog has no arithmetic or memory bandwidth: nothing can be derived without them."""
    flops, reads = accelerator.bf16_tflops, accelerator.bandwidth_tb_per_s
    if flops is None or reads is None or flops.value <= 0 or reads.value <= 0:
        raise UsageError(
            f"the catalog has no arithmetic or memory bandwidth of {accelerator.name}", "give bf16_tflops and bandwidth"
        )
    low, link, network = accelerator.fp8_tflops, accelerator.link_gb_per_s, accelerator.network_gb_per_s
    return Chips(
        flops=flops.value * 1e12,
        low_flops=(low or flops).value * 1e12,
        bandwidth=reads.value * 1e12,
        link=(link.value if link else USUAL_LINK_GB_PER_S) * 1e9 / 2,
        network=(network.value if network else USUAL_NETWORK_GB_PER_S) * 1e9,
        node=float(accelerator.devices_per_node),
        memory=accelerator.hbm_gib.value * 2**30,
    )


def splits_of(layout: Layout, global_batch: int, precision: Precision = Precision.BF16) -> Splits:
    return Splits(
        data=float(layout.data),
        tensor=float(layout.tensor),
        pipeline=float(layout.pipeline),
        expert=float(layout.expert),
        context=float(layout.context),
        zero=float(layout.zero),
        full=float(layout.recompute is Recompute.FULL),
        selective=float(layout.recompute is Recompute.SELECTIVE),
        micro_batch=float(layout.micro_batch),
        micro_batches=float(max(1, layout.micro_batches(global_batch))),
        virtual_stages=float(layout.virtual_stages),
        parallel=float(layout.sequence_parallel),
        low=float(precision is Precision.FP8),
    )


Row = TypeVar("Row", Models, Chips, Splits)


def join(rows: Sequence[Row]) -> Row:
    """Rows side by side: every field an array (n,)."""
    kind = type(rows[0])
    return kind(**{name: np.array([getattr(row, name) for row in rows]) for name in kind.__struct_fields__})
