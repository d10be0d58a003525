"""A transformer over bytes, as small as one can be and still learn: causal, without dropout."""

from typing import Any

import torch
from torch import nn

__all__ = ["Block", "ByteTransformer", "shape_of"]

BYTES = 256


class ByteTransformer(nn.Module):  # type: ignore[misc]  # torch is not followed by the type checker
    """Logits (batch, length, 256) for bytes (batch, length)."""

    def __init__(self, width: int = 48, layers: int = 2, heads: int = 4, length: int = 32) -> None:
        super().__init__()
        self.length = length
        self.token = nn.Embedding(BYTES, width)
        self.place = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, BYTES, bias=False)

    def forward(self, tokens: Any) -> Any:
        hidden = self.token(tokens) + self.place[: tokens.shape[1]]
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(self.norm(hidden))


class Block(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.second = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, hidden: Any) -> Any:
        batch, length, width = hidden.shape
        parts = self.qkv(self.first(hidden)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        return hidden + self.mlp(self.second(hidden))


def shape_of(model: nn.Module) -> str:
    """`74,416 parameters`."""
    return f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters"
