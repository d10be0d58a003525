"""Does it fit: a floor on device memory. What is below the floor never runs; what is above it may still not."""

import math

from scheduler.model.accelerators import Accelerator
from scheduler.model.jobs import JobType, ModelShape

__all__ = ["devices_needed"]

TRAINING_BYTES_PER_PARAMETER = 16
"""BF16 weights and gradients, FP32 master weights and both Adam moments (Rajbhandari et al., 2020: 16 to 18)."""

SERVING_BYTES_PER_PARAMETER = 2
"""BF16 weights without any cache."""

USABLE_SHARE = 0.9
"""Of a device's memory: runtime, communication buffers and fragmentation take the rest."""


def devices_needed(model: ModelShape, job_type: JobType, accelerator: Accelerator) -> int:
    """The smallest count of devices that can hold the model's state when it is split evenly; at least 1."""
    serving = job_type is JobType.INFERENCE
    total = model.params * (SERVING_BYTES_PER_PARAMETER if serving else TRAINING_BYTES_PER_PARAMETER)
    usable = accelerator.hbm_gib.value * 2**30 * USABLE_SHARE
    return max(1, math.ceil(total / usable))
