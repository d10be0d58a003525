"""Does it fit: a floor on device memory by size alone, and the verdict on a layout, where what was seen goes first."""

import math
from collections.abc import Iterable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.model.accelerators import Accelerator
from scheduler.model.jobs import JobType, ModelShape
from scheduler.model.transformers import Transformer
from scheduler.profiles.footprint import Footprint, training_footprint
from scheduler.profiles.layouts import Layout
from scheduler.profiles.steps import models_of, splits_of

__all__ = ["OutOfMemory", "devices_needed", "fits", "out_of_memory"]

TRAINING_BYTES_PER_PARAMETER = 16
"""BF16 weights and gradients, FP32 master weights and both Adam moments (Rajbhandari et al., 2020: 16 to 18)."""

SERVING_BYTES_PER_PARAMETER = 2.0
"""BF16 weights without any cache."""

USABLE_SHARE = 0.9
"""Of a device's memory: runtime, communication buffers and fragmentation take the rest."""

MARGIN = 1.1
"""Over a predicted footprint, for fragmentation and what formulas forget: published models err by up to 11 %."""

RESERVE_BYTES = 2e9
"""The runtime's context, libraries' workspaces and communication buffers (aiconfigurator: 0.4 GB for those alone)."""


class OutOfMemory(Struct, frozen=True, kw_only=True):
    """A configuration that was seen to run out of memory: a fact that no prediction overrules. `memory`: bytes that its
    devices have; the rest as in `Footprint`, predicted."""

    model: str
    memory: float
    states: float
    gathered: float
    activations: float


def devices_needed(
    model: ModelShape, job_type: JobType, accelerator: Accelerator, *, served_bytes: float = SERVING_BYTES_PER_PARAMETER
) -> int:
    """The smallest count of devices that can hold the model's state when it is split evenly; at least 1.

    `served_bytes` of a parameter, where the model is served.
    """
    serving = job_type is JobType.INFERENCE
    total = model.params * (served_bytes if serving else TRAINING_BYTES_PER_PARAMETER)
    usable = accelerator.hbm_gib.value * 2**30 * USABLE_SHARE
    return max(1, math.ceil(total / usable))


def out_of_memory(
    transformer: Transformer, accelerator: Accelerator, layout: Layout, *, seq_len: int, global_batch: int
) -> OutOfMemory:
    """The fact that this configuration ran out of memory."""
    footprint = training_footprint(models_of(transformer, seq_len), splits_of(layout, global_batch))
    return OutOfMemory(
        model=transformer.name,
        memory=accelerator.hbm_gib.value * 2**30,
        states=float(footprint.states[0]),
        gathered=float(footprint.gathered[0]),
        activations=float(footprint.activations[0]),
    )


def fits(
    footprint: Footprint, memory: NDArray[np.float64] | float, *, model: str = "", seen: Iterable[OutOfMemory] = ()
) -> NDArray[np.bool_]:
    """Whether each configuration (n,) of `model` runs on devices with `memory` bytes, with a margin.

    One that asks for at least as much in every part as one of `seen`, of the same model on a device with no less
    memory, does not, whatever the formulas say.
    """
    found = np.asarray(MARGIN * footprint.total + RESERVE_BYTES <= memory)
    for fact in seen:
        if fact.model != model:
            continue
        asks_more = (footprint.states >= fact.states) & (footprint.gathered >= fact.gathered)
        found &= ~(asks_more & (footprint.activations >= fact.activations) & (np.asarray(memory) <= fact.memory))
    return found
