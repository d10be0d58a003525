"""How one training job lies on its devices: the axes it is split along, and what it saves of memory."""

from enum import StrEnum

from msgspec import Struct

from scheduler.errors import UsageError
from scheduler.model.transformers import Transformer

__all__ = ["Layout", "Precision", "Recompute", "check_layout"]


class Recompute(StrEnum):
    """What the backward pass computes again instead of keeping it."""

    NONE = "none"
    SELECTIVE = "selective"  # the inside of attention
    FULL = "full"  # every layer from its input


class Precision(StrEnum):
    """In which the large products are computed; weights are kept in BF16 beside it."""

    BF16 = "bf16"
    FP8 = "fp8"


class Layout(Struct, frozen=True, kw_only=True, gc=False):
    """Splits by axis; their product without `expert` is the number of devices, since experts lie on the axes of data
    and context. `zero` 0 to 3: what is sharded over the data axis (1: optimiser, 2: gradients too, 3: weights too).
    `micro_batch`: sequences that one pass takes. `sequence_parallel`: the parts between tensor-parallel products
    are split over the tensor axis too. `virtual_stages`: chunks of layers that a stage holds, interleaved.
    """

    data: int = 1
    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    context: int = 1
    zero: int = 0
    recompute: Recompute = Recompute.NONE
    micro_batch: int = 1
    virtual_stages: int = 1
    sequence_parallel: bool = True

    @property
    def devices(self) -> int:
        return self.data * self.tensor * self.pipeline * self.context

    def micro_batches(self, global_batch: int) -> int:
        """Passes that one step takes."""
        return global_batch // (self.data * self.micro_batch)


def check_layout(layout: Layout, transformer: Transformer, *, devices: int, global_batch: int, seq_len: int) -> None:
    """UsageError where the layout does not divide the devices, the model, the batch or the sequence."""
    axes = (layout.data, layout.tensor, layout.pipeline, layout.expert, layout.context)
    if min(*axes, layout.micro_batch, layout.virtual_stages) < 1 or layout.zero not in range(4):
        raise UsageError(f"a split below 1, or a ZeRO stage other than 0 to 3, in {layout}")
    if layout.devices != devices:
        named = f"data {layout.data} x tensor {layout.tensor} x pipeline {layout.pipeline} x context {layout.context}"
        raise UsageError(f"{named} is {layout.devices} devices, not {devices}", "make the product of the axes equal")
    checks = (
        (transformer.heads % layout.tensor, f"tensor {layout.tensor} does not divide {transformer.heads} heads"),
        (layout.pipeline > transformer.layers, f"pipeline {layout.pipeline} exceeds {transformer.layers} layers"),
        (
            layout.pipeline * layout.virtual_stages > transformer.layers,
            f"{layout.pipeline} stages of {layout.virtual_stages} chunks exceed {transformer.layers} layers",
        ),
        (layout.expert > 1 and not transformer.experts, f"expert {layout.expert}, but the model has no experts"),
        (
            transformer.experts % layout.expert,
            f"expert {layout.expert} does not divide {transformer.experts} experts",
        ),
        (
            layout.data * layout.context * layout.tensor % layout.expert,
            f"expert {layout.expert} does not divide the devices of a stage",
        ),
        (seq_len % layout.context, f"context {layout.context} does not divide {seq_len} tokens"),
        (
            global_batch % (layout.data * layout.micro_batch),
            f"data {layout.data} x micro-batch {layout.micro_batch} does not divide a batch of {global_batch}",
        ),
    )
    for wrong, problem in checks:
        if wrong:
            raise UsageError(problem, "choose a split that divides it")
