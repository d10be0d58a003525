"""Bytes that training takes on the fullest device of a layout, part by part.

Formulas: Rajbhandari et al., 2020 (states and their shards); Korthikanti et al., 2022 (activations, their recomputation
and what a pipeline keeps in flight). Attention is taken to keep no scores (FlashAttention), unless said otherwise.
Fields broadcast, so that one model meets many layouts.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.profiles.steps import Models, Splits
from scheduler.profiles.training import stage_excess

__all__ = ["Footprint", "training_footprint"]

FloatArray = NDArray[np.float64]

WEIGHT_BYTES = 2.0
GRADIENT_BYTES = 4.0
OPTIMISER_BYTES = 12.0
"""Per parameter: BF16 weights, gradients summed in FP32, FP32 master weights and both moments of Adam: 18 in all, as
published profiles of Megatron have."""

LOGIT_BYTES = 4.0
"""In BF16, and their gradient: the loss computes in FP32 but keeps nothing of it (fused cross-entropy)."""

GATHERED_LAYERS = 2.0
"""Sharded weights are gathered one layer ahead of the one that computes."""


class Footprint(Struct, frozen=True):
    """Bytes (n,): of weights, gradients and optimiser; of gathered shards; of activations with logits."""

    states: FloatArray
    gathered: FloatArray
    activations: FloatArray

    @property
    def total(self) -> FloatArray:
        return self.states + self.gathered + self.activations


def training_footprint(models: Models, splits: Splits, *, keeps_scores: bool = False) -> Footprint:
    """Of one step of Adam in mixed precision. `keeps_scores`: attention that is not fused."""
    m, s = models, splits
    stages = s.pipeline / stage_excess(m, s)  # the fullest holds more than an even share
    layers = np.asarray(m.stored - m.stored_experts - m.embeddings) / (s.tensor * stages)
    experts = np.asarray(m.stored_experts) / (s.expert * stages)
    embedding = m.vocab * m.hidden / s.tensor * np.where(s.pipeline > 1, 1.0, m.embeddings / (m.vocab * m.hidden))
    group, among = s.data * s.context, np.maximum(s.data * s.context * s.tensor / s.expert, 1.0)
    states = _states(layers + embedding, group, s) + _states(experts, among, s)
    of_layer = (layers + experts) / (m.layers / stages)
    gathered = np.where(s.zero >= 3, GATHERED_LAYERS * 2 * WEIGHT_BYTES * of_layer * (group > 1), 0.0)
    found = np.broadcast_arrays(*np.atleast_1d(states, gathered, _activations(m, s, keeps_scores)))
    return Footprint(*(part.astype(np.float64) for part in found))


def _states(parameters: FloatArray, group: FloatArray | float, s: Splits) -> FloatArray:
    return np.asarray(
        parameters
        * (
            WEIGHT_BYTES * (s.zero < 3)  # fully sharded weights are cast from the master's as they are gathered
            + GRADIENT_BYTES / np.where(s.zero >= 2, group, 1.0)
            + OPTIMISER_BYTES / np.where(s.zero >= 1, group, 1.0)
        )
    )


def _activations(m: Models, s: Splits, keeps_scores: bool) -> FloatArray:
    """The first stage holds as many micro-batches as there are stages; the last holds one, and the logits."""
    tokens = s.micro_batch * m.seq_len / s.context
    whole = np.where(s.parallel, s.tensor, 1.0)  # what lies between products
    boundary = 2.0 * m.hidden / whole
    kept = 8.0 * m.hidden / whole + m.inner_bytes / s.tensor
    scores = 5.0 * m.scores / m.layers / s.tensor * (1 - np.maximum(s.full, s.selective)) * keeps_scores
    layer = np.where(s.full > 0, boundary, kept + scores)
    working = np.where(s.full > 0, kept, 0.0)  # of the layer that is computed again
    layers = m.layers / s.pipeline * stage_excess(m, s)
    in_flight = np.minimum(s.micro_batches, s.pipeline)
    woven = np.where(s.virtual_stages > 1, 1 + (s.pipeline - 1) / (s.pipeline * s.virtual_stages), 1.0)
    first = tokens * (layers * in_flight * woven * layer + working)
    last = tokens * (layers * layer + working + LOGIT_BYTES * m.vocab / s.tensor)
    return np.asarray(np.where(s.pipeline > 1, np.maximum(first, last), last))
