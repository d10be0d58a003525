"""Seconds of one training step as a sum of terms: each is what an ideal device would take, times a coefficient.

Formulas: Narayanan et al., 2021 (arithmetic, bubble), Korthikanti et al., 2022 (recomputation, activations),
Rajbhandari et al., 2020 (traffic of sharded states), Dao et al., 2022 (attention computes its scores twice).
The coefficients say how far a device and its software are from ideal; `siblings` fits them.
"""

import numpy as np
from numpy.typing import NDArray

from scheduler.profiles.collectives import all_gather_s, all_reduce_s, all_to_all_s, bandwidth, point_to_point_s
from scheduler.profiles.siblings import Belief
from scheduler.profiles.steps import Chips, Models, Splits

__all__ = ["BELIEFS", "TERMS", "USUAL_PEAK", "stage_excess", "tokens_per_step", "training_covariates", "training_terms"]

FloatArray = NDArray[np.float64]
Numbers = FloatArray | float

TERMS = (
    "products",  # dense matrix products in BF16
    "low_products",  # and in FP8
    "experts",  # products of routed experts
    "attention",  # products of scores and values
    "scores",  # what attention does beside its products, one score at a time
    "elementwise",  # norms, activations, residuals: memory traffic
    "vocabulary",  # logits and their loss: memory traffic
    "states",  # optimiser: memory traffic
    "launch",  # layers x passes, in seconds
    "shards",  # weights and gradients over the data axis, all of it
    "spread",  # the same times the doublings of nodes
    "stragglers",  # products times the doublings of nodes
    "unhidden",  # what of `shards` exceeds the arithmetic that could hide it
    "tensor",  # activations over the tensor axis
    "context",  # keys and values over the context axis
    "exchange",  # tokens to experts and back
    "stages",  # activations between pipeline stages
)

USUAL_PEAK = 312e12
USUAL_WIDTH = 4096.0
"""Where the covariates of `training_covariates` are 0: an A100, and products that wide."""

PRODUCTS = ((0.15, 0.08), (-0.1, 0.05))
"""Slopes of matrix products. The best shapes reach 87 % of an A100's peak, 80 % of an H100's, 60 % of an MI300X's, 78 %
of a B200's, 97 % of a Gaudi 2's (Bekman, Machine Learning Engineering): 0.11 over the peak with a standard error of
0.08, and shapes of models fill a large device less. Around that line devices of one vendor scatter by 0.07, of several
by 0.14. Wider products fill a device better: judgement."""

ATTENTION = ((0.6, 0.3),)
"""FlashAttention 2 reaches 73 % of an A100's peak and 35 % of an H100's (Dao, 2023; Shah et al., 2024)."""

DEVICES, FAMILIES = 0.04, 0.06
"""Log units by which a term's coefficient differs between devices of a family and between families of one vendor, as of
matrix products: boards of one chip lie 0.04 to 0.07 apart there (A100 SXM and PCIe, H100 and GH200), a scale of 0.04 at
most; with families, devices of one vendor scatter by 0.07."""

BELIEFS = (
    Belief(1.2, 0.3, PRODUCTS, (DEVICES, 0.05, FAMILIES)),
    Belief(1.6, 0.3, PRODUCTS, (DEVICES, 0.1, FAMILIES)),
    Belief(2.0, 0.5, PRODUCTS, (DEVICES, 0.4, FAMILIES)),
    Belief(1.5, 0.5, ATTENTION, (DEVICES, 0.2, FAMILIES)),
    Belief(0.05, 1.0, (), (DEVICES, 0.3, FAMILIES)),
    # what is kept is written, read, and so are its gradients; or it is fused
    Belief(5.0, 0.5, (), (DEVICES, 0.4, FAMILIES)),
    Belief(1.0, 0.4, (), (DEVICES, 0.3, FAMILIES)),
    Belief(2.0, 1.0, (), (DEVICES, 0.3, FAMILIES)),
    # ten kernels of ten microseconds a layer, mostly while the device is busy
    Belief(1e-4, 0.7, (), (0.03, 0.5, 0.04)),
    Belief(0.1, 1.0, (), (DEVICES, 0.4, FAMILIES)),  # most of it is hidden behind arithmetic
    Belief(0.02, 1.0, (), (DEVICES, 0.3, FAMILIES)),
    Belief(0.01, 0.5, (), (DEVICES, 0.3, FAMILIES)),
    Belief(1.0, 0.3, (), (DEVICES, 0.1, FAMILIES)),
    Belief(1.2, 0.5, (), (DEVICES, 0.3, FAMILIES)),
    Belief(0.5, 0.7, (), (DEVICES, 0.3, FAMILIES)),
    Belief(1.0, 0.7, (), (DEVICES, 0.5, FAMILIES)),
    Belief(0.5, 0.7, (), (DEVICES, 0.3, FAMILIES)),
)
"""By term, before any measurement; groupings are devices, software and families of devices. Traffic reaches about the
same share of any device's bandwidth, so it has no slopes. What has no source is judgement."""

GEMM_PASSES = 3.0
"""Forward, and twice in the backward pass: towards the input and towards the weights."""

ATTENTION_PASSES = 3.5
"""Forward 2 products; backward 4, and the scores once more."""

LOGIT_BYTES = 38.0
"""A logit is written in BF16, cast to FP32, normalised, picked, and its gradient goes back the same way: 38 bytes of
reads and writes where nothing is fused."""

STATE_BYTES = 18.0
"""Per parameter: both moments, master weight and gradient in FP32, read or written once, and the BF16 weight."""

WEIGHT_BYTES = 2.0


def training_terms(models: Models, chips: Chips, splits: Splits) -> FloatArray:
    """Ideal seconds (n, len(TERMS)) of one step, bubbles included; `launch` counts launches, not seconds."""
    m, c, s = models, chips, splits
    per_micro = s.micro_batch * m.seq_len / s.context  # tokens of one pass on the devices of a stage
    passes = s.micro_batches + (s.pipeline - 1) / s.virtual_stages  # the bubble is as if more passes ran
    passes = passes * stage_excess(m, s)  # all wait for the stage with the most layers
    tokens = per_micro * passes / (s.tensor * s.pipeline)  # a device's share of all weights
    rate = np.where(s.low, c.low_flops, c.flops)
    gemm = 2 * (GEMM_PASSES * (m.dense + m.vocab * m.hidden) + s.full * m.dense) * tokens / rate
    # at BF16's peak whatever the precision: at FP8's, mixtures never seen were foretold less well, for few are so wide
    experts = 2 * (GEMM_PASSES + s.full) * m.routed * tokens / c.flops
    again = ATTENTION_PASSES + np.maximum(s.full, s.selective)
    split_elements = np.where(s.parallel, s.tensor, 1.0)
    shared = per_micro * passes / (split_elements * s.pipeline)
    attention = again * m.attention * tokens / c.flops
    shards = _shards_s(m, c, s)
    doublings = np.log2(np.maximum(s.data * s.tensor * s.pipeline * s.context / c.node, 1.0))
    layers = m.layers / s.pipeline * passes
    columns = (
        gemm * (1 - s.low),
        gemm * s.low,
        experts,
        attention,
        4 * again * m.scores * tokens / c.bandwidth,
        (1 + s.full / GEMM_PASSES) * m.traffic * shared / c.bandwidth,
        LOGIT_BYTES * m.vocab * per_micro * passes / (s.tensor * s.pipeline) / c.bandwidth,
        STATE_BYTES * m.stored / (s.tensor * s.pipeline * np.where(s.zero >= 1, s.data * s.context, 1)) / c.bandwidth,
        layers * (GEMM_PASSES + s.full),
        shards,
        shards * doublings,
        gemm * doublings,
        np.maximum(shards - 0.5 * (gemm + experts + attention), 0.0),
        _tensor_s(m, c, s, per_micro, layers),
        _context_s(m, c, s, per_micro, layers),
        _exchange_s(m, c, s, per_micro, passes),
        _stages_s(m, c, s, per_micro),
    )
    return np.stack(np.broadcast_arrays(*np.atleast_1d(*columns)), axis=-1).astype(np.float64)


def stage_excess(models: Models, splits: Splits) -> FloatArray:
    """Layers of the fullest stage over an even share, at least 1."""
    chunks = splits.pipeline * splits.virtual_stages
    return np.asarray(np.ceil(np.asarray(models.layers) / chunks) * chunks / models.layers, dtype=np.float64)


def training_covariates(models: Models, chips: Chips, splits: Splits) -> FloatArray:
    """(n, 2): logarithms of the device's peak and of the width of products on it, over the usual ones."""
    width = models.hidden / np.sqrt(splits.tensor)
    both = np.broadcast_arrays(*np.atleast_1d(np.log(chips.flops / USUAL_PEAK), np.log(width / USUAL_WIDTH)))
    return np.stack(both, axis=-1).astype(np.float64)


def tokens_per_step(models: Models, splits: Splits) -> FloatArray:
    return np.asarray(splits.micro_batch * splits.micro_batches * splits.data * models.seq_len, dtype=np.float64)


def _shards_s(m: Models, c: Chips, s: Splits) -> FloatArray:
    """ZeRO-3: weights gathered forward and backward, gradients scattered, all in every pass. ZeRO-2 keeps the gathered
    weights through the step; below, gradients are reduced once a step."""
    group = s.data * s.context
    rate = bandwidth(group, s.tensor, c.node, c.link, c.network)
    moved = np.where(s.zero >= 3, 3 * s.micro_batches, np.where(s.zero >= 2, 1 + s.micro_batches, 2.0))
    size = WEIGHT_BYTES * (m.stored - m.stored_experts) / (s.tensor * s.pipeline)
    among = np.maximum(group * s.tensor / s.expert, 1.0)  # devices that hold the same experts
    expert_size = WEIGHT_BYTES * m.stored_experts / (s.expert * s.pipeline)
    return np.asarray(moved * (all_gather_s(size, group, rate) + all_gather_s(expert_size, among, rate)))


def _tensor_s(m: Models, c: Chips, s: Splits, per_micro: Numbers, layers: Numbers) -> FloatArray:
    """Two all-reduces of a layer's activations in each direction (with sequence parallelism as many bytes, as a gather
    and a scatter each); the backward pass that computes the layer again has two more."""
    rate = bandwidth(s.tensor, 1.0, c.node, c.link, c.network)
    once = all_reduce_s(2.0 * per_micro * m.hidden, s.tensor, rate)
    return np.asarray((4 + 2 * s.full) * layers * once)


def _context_s(m: Models, c: Chips, s: Splits, per_micro: Numbers, layers: Numbers) -> FloatArray:
    """Keys and values go round forward; they and their gradients backward."""
    rate = bandwidth(s.context, s.tensor, c.node, c.link, c.network)
    size = 2.0 * per_micro * s.context * m.kv_width / s.tensor
    return np.asarray(GEMM_PASSES * layers * all_gather_s(size, s.context, rate))


def _exchange_s(m: Models, c: Chips, s: Splits, per_micro: Numbers, passes: Numbers) -> FloatArray:
    """Dispatch and combination of every token's copies, in each pass."""
    rate = np.where(s.expert * s.tensor > c.node, c.network, c.link)
    size = 2.0 * per_micro * m.experts_per_token * m.hidden / s.tensor
    return np.asarray((4 + 2 * s.full) * m.expert_layers / s.pipeline * passes * all_to_all_s(size, s.expert, rate))


def _stages_s(m: Models, c: Chips, s: Splits, per_micro: Numbers) -> FloatArray:
    rate = np.where(s.tensor * s.data * s.context * s.pipeline > c.node, c.network, c.link)
    size = 2.0 * per_micro * m.hidden / s.tensor
    return np.asarray((s.pipeline > 1) * 2 * s.micro_batches * s.virtual_stages * point_to_point_s(size, rate))
