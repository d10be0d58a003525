"""The class table: how many h20-96 of the same work class one device is worth, with a band.

The figures stand in the catalog (`cluster_configs/accelerators`), each with its provenance.
"""

import math

from msgspec import Struct

from scheduler.model.accelerators import Accelerator, Catalog, Provenance, WorkClass
from scheduler.model.jobs import Measured, Work, WorkUnit

__all__ = ["Rate", "rate_of", "relative_rate", "scaling"]

REFERENCE_TFLOPS = 148.0
"""Dense BF16 arithmetic of one h20-96 in TFLOP/s (published)."""

TRAINING_UTILISATION = 0.6
"""Share of an h20-96's arithmetic that dense training reaches; modelled, band 0.45 to 0.7."""

SCALING_EXPONENT = 0.95
"""n devices of one job are worth n ** 0.95 single ones; modelled, band 0.9 to 1."""

FLOPS_PER_PARAMETER_AND_TOKEN = 6.0
"""Forward and backward pass of a dense transformer, attention left out (Kaplan et al., 2020)."""


class Rate(Struct, frozen=True, gc=False):
    """Work units per second with a band; `absolute` is False where only the ratio between options is known.

    `learned` is the part of the value that running jobs have shown: value / learned is the rate without it.
    """

    value: float
    low: float
    high: float
    provenance: Provenance
    absolute: bool = True
    learned: float = 1.0

    def times(self, factor: float, low: float, high: float, provenance: Provenance) -> "Rate":
        return Rate(self.value * factor, self.low * low, self.high * high, provenance, self.absolute, self.learned)


def scaling(count: int) -> float:
    """How many single devices `count` devices of one job are worth."""
    return math.pow(count, SCALING_EXPONENT)


def relative_rate(accelerator: Accelerator, work_class: WorkClass) -> Rate | None:
    """Rate of one device over one h20-96, or None where the table has no figure."""
    figure = accelerator.rates.get(work_class)
    if figure is None or figure.value <= 0:
        return None
    return Rate(figure.value, figure.low, figure.high, figure.provenance, absolute=False)


def rate_of(work: Work, accelerator: Accelerator, count: int, catalog: Catalog) -> Rate | None:
    """Rate of the whole job on `count` devices.

    The user's own measurements go first, then arithmetic on the model's size; without either the rate is in
    H20-equivalents, which ranks options but tells no duration. None where the table has no figure.
    """
    relative = relative_rate(accelerator, work.work_class)
    exact = next((m for m in work.measured if (m.accelerator, m.count) == (accelerator.name, count)), None)
    if exact is not None:
        return Rate(exact.rate, exact.rate * 0.95, exact.rate * 1.05, Provenance.MEASURED)
    near = min(work.measured, key=lambda m: (m.accelerator != accelerator.name, abs(m.count - count)), default=None)
    if near is not None:
        return _from_measured(near, accelerator, count, work.work_class, catalog)
    if relative is None:
        return None
    single = _modelled_h20_rate(work) or Rate(1.0, 1.0, 1.0, Provenance.MODELLED, absolute=False)
    per_device = single.times(relative.value, relative.low, relative.high, Provenance.MODELLED)
    return per_device.times(scaling(count), count**0.9, float(count), Provenance.MODELLED)


def _from_measured(
    near: Measured, accelerator: Accelerator, count: int, work_class: WorkClass, catalog: Catalog
) -> Rate | None:
    base = Rate(near.rate, near.rate * 0.95, near.rate * 1.05, Provenance.MEASURED)
    grown = scaling(count) / scaling(near.count)
    scaled = base.times(grown, min(grown, (count / near.count) ** 0.9), max(grown, count / near.count), base.provenance)
    if near.accelerator == accelerator.name:
        return scaled
    known = catalog.get(near.accelerator)
    there = relative_rate(known, work_class) if known else None
    here = relative_rate(accelerator, work_class)
    if there is None or here is None:
        return None
    return scaled.times(here.value / there.value, here.low / there.high, here.high / there.low, Provenance.DERIVED)


def _modelled_h20_rate(work: Work) -> Rate | None:
    """Rate of one h20-96 from the model's size, or None where the file does not tell enough."""
    model = work.model
    if model is None or model.params <= 0:
        return None
    tokens_per_unit = {
        WorkUnit.TOKENS: 1.0,
        WorkUnit.SAMPLES: float(model.seq_len),
        WorkUnit.STEPS: float(model.seq_len) * work.global_batch,
    }[work.unit]
    if tokens_per_unit <= 0:
        return None
    flops = FLOPS_PER_PARAMETER_AND_TOKEN * (model.active_params or model.params) * tokens_per_unit
    value = TRAINING_UTILISATION * REFERENCE_TFLOPS * 1e12 / flops
    return Rate(value, value * 0.75, value * 1.17, Provenance.MODELLED)
