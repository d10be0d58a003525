"""In which formats a model is computed and kept, and the software that runs it."""

from typing import Final

from msgspec import Struct

__all__ = ["PRECISIONS", "SERVED_IN", "TRAINED_IN", "Engine", "Numerics"]

PRECISIONS: Final = (
    "fp32", "tf32", "fp16", "bf16", "fp8", "fp8_block", "fp4", "nvfp4", "mxfp4", "w4afp8", "int8", "w8a8", "w8a16",
    "int4", "w4a16", "awq", "gptq",
)  # fmt: skip
"""Arithmetic or storage that names of precisions stand for."""

TRAINED_IN: Final = ("bf16", "fp16", "fp8", "fp8_block")
"""Of the products in training; half precision of either kind runs alike."""

SERVED_IN: Final = tuple(name for name in PRECISIONS if name not in ("fp32", "tf32", "w8a16"))
"""Of weights, experts and cache in serving, as far as their bytes are known."""


class Numerics(Struct, frozen=True, kw_only=True, gc=False):
    """Formats of a model; empty: not stated. `precision`: of the products in training, of the weights in serving, where
    `experts` may be kept otherwise and `cache` as well."""

    precision: str = ""
    experts: str = ""
    cache: str = ""


class Engine(Struct, frozen=True, kw_only=True, gc=False):
    """The framework that runs a model, such as vllm 0.12.0, and its CUDA or CANN with version; empty: not stated."""

    name: str = ""
    version: str = ""
    runtime: str = ""

    def __str__(self) -> str:
        """As measurements name a framework."""
        return f"{self.name} {self.version}".strip()
