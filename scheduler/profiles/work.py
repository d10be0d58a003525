"""What a transformer costs before any device is named: arithmetic and bytes of cache; and one made up of few figures.

Formulas: Narayanan et al., 2021 (arithmetic of a layer); Kaplan et al., 2020 (two operations per weight and token);
DeepSeek-AI, 2024 (latent attention). A multiplication and an addition are two operations.
"""

import math

from msgspec import structs

from scheduler.model.jobs import ModelShape
from scheduler.model.transformers import Transformer
from scheduler.model.weights import (
    active_parameters,
    attention_parameters,
    expert_parameters,
    mlp_parameters,
    parameters,
)

__all__ = [
    "active_parameters",
    "attention_flops_per_token",
    "attention_parameters",
    "expert_parameters",
    "forward_flops_per_token",
    "kv_values_per_token",
    "mlp_parameters",
    "parameters",
    "transformer_of",
]

USUAL_VOCABULARY = 128_000
USUAL_HEAD = 128
USUAL_GROUP = 8
"""Heads come in multiples of it, and so many hold keys and values in current models."""

USUAL_MLP = 3.5
"""Inner over outer width of a gated MLP in current models (Llama 3: 3.5)."""

MOST_IN_EMBEDDINGS = 0.3
"""Of a small model's weights: it takes a smaller vocabulary."""

USUAL_ASPECT = 128
"""Width over depth of current models: 128 (Llama 2 and 3 of 7 to 70 billion parameters: 102 to 128)."""


def attention_flops_per_token(t: Transformer, context: float) -> float:
    """Of one token that attends to `context` earlier ones in all layers: scores and weighted values."""
    width = t.heads * (t.nope_dim + t.rope_dim + t.value_dim if t.latent_kv else 2 * t.head_dim)
    within = min(context, t.window) if t.window else context
    return 2.0 * width * ((t.layers - t.windowed_layers) * context + t.windowed_layers * within)


def forward_flops_per_token(t: Transformer, context: float) -> float:
    """Operations of one token's forward pass that attends to `context` tokens."""
    return 2.0 * active_parameters(t) + attention_flops_per_token(t, context)


def kv_values_per_token(t: Transformer) -> int:
    """Values that the cache keeps of one token in all layers; times bytes per value."""
    return t.layers * (t.latent_kv or 2 * t.kv_heads * t.head_dim)


def transformer_of(shape: ModelShape) -> Transformer:
    """What a job's file tells, completed by usual proportions so that the weights add up to its `params`.

    Depth and width follow from each other where one is missing, and from the size alone where both are.
    """
    active = shape.active_params or shape.params
    layers, hidden = _depth_and_width(shape, active)
    heads = max(1, round(hidden / USUAL_HEAD))
    if heads >= USUAL_GROUP:
        heads = round(heads / USUAL_GROUP) * USUAL_GROUP  # so that tensor parallelism divides them
    vocab = round(min(USUAL_VOCABULARY, MOST_IN_EMBEDDINGS * active / (2 * hidden)))
    bare = Transformer(
        name="",
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=USUAL_GROUP if heads > 2 * USUAL_GROUP else heads,
        head_dim=max(1, round(hidden / heads)),
        vocab=max(1, vocab),
    )
    per_width = layers * mlp_parameters(bare, 1)
    if shape.active_params and shape.params > 1.2 * shape.active_params:
        return _mixture(bare, shape, per_width)
    return structs.replace(bare, ffn=max(1, round((active - parameters(bare)) / per_width)))


def _depth_and_width(shape: ModelShape, active: float) -> tuple[int, int]:
    """A layer with a gated MLP of the usual width and grouped queries has about 13 weights per squared width."""
    per_square = 3 * USUAL_MLP + 2.5
    if shape.layers and shape.hidden:
        return shape.layers, shape.hidden
    if shape.layers:
        return shape.layers, _whole(math.sqrt(active / (per_square * shape.layers)))
    if shape.hidden:
        return max(1, round(active / (per_square * shape.hidden**2))), shape.hidden
    hidden = _whole((active * USUAL_ASPECT / per_square) ** (1 / 3))
    return max(1, round(hidden / USUAL_ASPECT)), hidden


def _whole(width: float) -> int:
    return max(1, round(width / USUAL_HEAD)) * USUAL_HEAD


MIXTURE_PER_TOKEN = 8


def _mixture(bare: Transformer, shape: ModelShape, per_width: int) -> Transformer:
    """Eight experts a token, as many in all as the weights that are not active make up."""
    width = max(1, round((shape.active_params - active_parameters(bare)) / (per_width * MIXTURE_PER_TOKEN)))
    experts = max(MIXTURE_PER_TOKEN, round((shape.params - parameters(bare)) / (per_width * width)))
    return structs.replace(bare, experts=experts, experts_per_token=MIXTURE_PER_TOKEN, expert_ffn=width)
