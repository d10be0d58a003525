"""In how many bytes a served model keeps its weights and its cache, and in which arithmetic it multiplies."""

from typing import Final

from msgspec import Struct

from scheduler.errors import UsageError
from scheduler.model.accelerators import Accelerator
from scheduler.model.transformers import Transformer
from scheduler.model.weights import attention_parameters, expert_parameters, parameters

__all__ = ["Storage", "bytes_per_parameter", "storage_of"]

BYTES: Final = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5625, "int4": 0.5625, "mxfp4": 0.53}
"""Of a value, scales included: NVFP4 has one byte for 16 values, MXFP4 for 32 (vendors' and OCP's formats)."""

SPELLINGS: Final = {
    "": "bf16", "none": "bf16", "bfloat16": "bf16", "float16": "fp16", "fp8_block": "fp8", "fp8_static": "fp8",
    "nvfp4": "fp4", "w8a8": "int8", "int8_wo": "int8", "int4_wo": "int4", "w4a16": "int4", "w4a16_mxfp4": "mxfp4",
    "w4a8_mxfp4_mxfp8": "mxfp4", "fp8_ootb": "fp8", "sq": "int8", "awq": "int4", "gptq": "int4", "w4afp8": "int4",
}  # fmt: skip

ARITHMETIC: Final = {
    "bf16": "bf16", "fp16": "bf16", "fp8": "fp8", "int8": "int8", "fp4": "fp4", "mxfp4": "fp4", "int4": "bf16",
}  # fmt: skip
"""What the products of such weights are computed in."""


class Storage(Struct, frozen=True, kw_only=True):
    """Bytes of a value of attention's weights, other weights, experts and cache; arithmetic of the products."""

    attention: float = 2.0
    dense: float = 2.0
    experts: float = 2.0
    cache: float = 2.0
    products: str = "bf16"
    expert_products: str = "bf16"

    def operations_per_s(self, accelerator: Accelerator, arithmetic: str) -> float:
        """Of one device; a format that it lacks is computed in half precision. UsageError where it has no figure."""
        figure = getattr(accelerator, f"{arithmetic}_tflops", None) or accelerator.bf16_tflops
        if figure is None or figure.value <= 0:
            raise UsageError(f"{accelerator.name} has no bf16_tflops", "add the figure to the catalog")
        return float(figure.value) * 1e12

    def widens_experts(self, accelerator: Accelerator) -> bool:
        """Whether experts are kept smaller than what the device multiplies them in."""
        lacks = self.expert_products != "bf16" and getattr(accelerator, f"{self.expert_products}_tflops", None) is None
        return self.experts < BYTES["bf16"] and (lacks or self.expert_products == "bf16")


def storage_of(transformer: Transformer, weights: str, experts: str = "", cache: str = "") -> Storage:
    """Of a model served with so many bits; `experts` where theirs differ. The cache follows the weights: a byte a value
    where they have one or less, as engines are set up with such weights, else two. UsageError for an unknown format.

    Two models keep only their experts small: gpt-oss (MXFP4, the rest in BF16; its model card), and a mixture with
    compressed cache in four bits (NVIDIA's checkpoints of DeepSeek-R1 leave attention in BF16).
    """
    dense = _known(weights)
    routed = _known(experts) if experts else dense
    small = BYTES[dense] < BYTES["bf16"]
    kept_wide = transformer.latent_kv > 0 and BYTES[dense] < BYTES["fp8"]
    if transformer.name.startswith("gpt-oss"):
        dense, routed, kept_wide = "bf16", "mxfp4", False
    return Storage(
        attention=BYTES["bf16"] if kept_wide else BYTES[dense],
        dense=BYTES[dense],
        experts=BYTES[routed],
        cache=BYTES[_known(cache)] if cache else BYTES["fp8"] if small else BYTES["bf16"],
        products=ARITHMETIC[dense],
        expert_products=ARITHMETIC[routed],
    )


def bytes_per_parameter(transformer: Transformer, storage: Storage) -> float:
    """Of all weights on average; embeddings stay in half precision."""
    attention = transformer.layers * attention_parameters(transformer)
    experts = expert_parameters(transformer)
    embeddings = transformer.vocab * transformer.hidden * (1 if transformer.tied else 2)
    total = parameters(transformer)
    others = total - attention - experts - embeddings
    kept = attention * storage.attention + experts * storage.experts + others * storage.dense
    return (kept + embeddings * BYTES["bf16"]) / total


def _known(name: str) -> str:
    plain = SPELLINGS.get(name.strip().lower(), name.strip().lower())
    if plain not in BYTES:
        raise UsageError(f"unknown precision `{name}`", f"use one of {', '.join(sorted(BYTES))}")
    return plain
