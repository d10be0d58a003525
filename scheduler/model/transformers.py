"""What a transformer is: the figures that its arithmetic, its weights and its cache follow from."""

from collections.abc import Iterable
from functools import lru_cache

from msgspec import Struct

__all__ = ["Transformer", "find_transformer", "kept_in"]


class Transformer(Struct, frozen=True, kw_only=True, gc=False):
    """One decoder as its public configuration file states it; a count of 0 means that it has no such part.

    `ffn` is the inner width of a dense MLP; in a mixture of experts only the first `dense_layers` have one. `gated`
    MLPs have three matrices, others two. `latent_kv` and the widths after it describe attention over a compressed
    cache (multi-head latent attention): values cached per token and layer, rank of the queries, and width per head of
    the rotated, the plain and the value part. `windowed_layers` attend to the last `window` tokens only. `kept` is the
    format that its published weights have where that is not half precision.
    """

    name: str
    family: str = ""
    aliases: tuple[str, ...] = ()  # as measurements name it
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int = 0
    gated: bool = True
    vocab: int
    tied: bool = False
    experts: int = 0
    experts_per_token: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0  # total inner width of the experts that every token passes
    dense_layers: int = 0
    latent_kv: int = 0
    latent_q: int = 0
    rope_dim: int = 0
    nope_dim: int = 0
    value_dim: int = 0
    window: int = 0
    windowed_layers: int = 0
    kept: str = ""

    @property
    def expert_layers(self) -> int:
        return self.layers - self.dense_layers if self.experts else 0


KEPT = ("fp8", "fp4", "nvfp4", "bf16", "int8", "awq", "gptq")
ENDINGS = ("instruct", "chat", "base", "hf", *KEPT, "it", "0528", "2507")
"""Parts of a published name that say how the model was tuned or stored, not how it is built."""


def _parts(name: str) -> list[str]:
    plain = name.split("(", 1)[0].strip().lower().rsplit("/", 1)[-1]
    return [part for part in plain.replace("_", "-").replace(" ", "-").split("-") if part]


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    parts = _parts(name)
    while len(parts) > 1 and parts[-1] in ENDINGS:
        parts.pop()
    return "".join(parts).replace(".", "")


def find_transformer(transformers: Iterable[Transformer], name: str) -> Transformer | None:
    """The one that `name` means, or None: owner, case, punctuation, tuning and storage format do not count."""
    wanted = _plain(name)
    return next((t for t in transformers if wanted in {_plain(known) for known in (t.name, *t.aliases)}), None)


def kept_in(transformers: Iterable[Transformer], name: str) -> str:
    """The format of the weights that go by this name: what its ending says, else as they are published; empty: half
    precision, or nobody knows."""
    said = next((part for part in _parts(name) if part in KEPT), "")
    known = None if said else find_transformer(transformers, name)
    return said or (known.kept if known else "")
