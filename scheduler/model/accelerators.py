"""What a chip is: the catalog of accelerators, where each figure says where it comes from and how sure it is."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from scheduler.model.figures import Confidence, Figure, Provenance
from scheduler.model.rates import CellRate
from scheduler.model.transformers import Transformer

__all__ = ["Accelerator", "Catalog", "Confidence", "Figure", "Provenance", "Rings", "Track", "WorkClass"]


class Track(StrEnum):
    """A policy label that the operator may override per pool, not a law of nature."""

    IMPORTED = "imported"
    DOMESTIC = "domestic"


class WorkClass(StrEnum):
    """What bounds a job's speed; the class table in `profiles` has one ratio per class and accelerator."""

    DENSE_TRAINING = "dense_training"
    VISION_TRAINING = "vision_training"
    PREFILL = "prefill"
    DECODE = "decode"  # small batches: reading weights and caches
    BATCH_DECODE = "batch_decode"  # large batches or mixtures of experts
    EMBEDDING = "embedding"
    COMMUNICATION = "communication"


class Rings(Struct, frozen=True):
    """A node of more than `devices` has rings of so many: a grant lies within one, or half in each of two."""

    devices: int
    grants: tuple[int, ...]  # counts that the vendor's tools can grant on such a node


class Accelerator(Struct, frozen=True, kw_only=True):
    """A model of chip, per schedulable device (a 910C package is one device of two dies).

    Dense arithmetic (no sparsity), bandwidth of device memory, scale-up link bidirectional per device, network
    between nodes one way per device. A figure that
    nobody published is absent. `rates` are relative to one h20-96 of the same work class. `compute_units` are
    thousandths of the operator-set weight in which ceilings are counted (h20-96 = 1000).
    """

    name: str
    family: str
    vendor: str
    adapter: str
    track: Track
    compute_units: int
    dies: int = 1
    devices_per_node: int = 8
    grants: tuple[int, ...] = ()  # counts per node that the vendor's tools can grant; empty means any
    ring: Rings | None = None  # for nodes of several rings, whose counts differ from `grants`
    hbm_gib: Figure
    bandwidth_tb_per_s: Figure | None = None
    bf16_tflops: Figure | None = None
    fp8_tflops: Figure | None = None
    fp4_tflops: Figure | None = None
    int8_tflops: Figure | None = None
    link_gb_per_s: Figure | None = None
    network_gb_per_s: Figure | None = None
    tdp_w: Figure | None = None
    price_cny: Figure | None = None
    rates: Mapping[WorkClass, Figure] = field(default_factory=dict)
    notes: str = ""


class Catalog(Struct, frozen=True):
    """Accelerators by name; the order of names is the order of every array that has a row per accelerator.

    With them go what rates are made of: architectures by name, figures of cells, and the fits of models of speed as
    plain values by their section, which `profiles` reads.
    """

    accelerators: tuple[Accelerator, ...]
    models: tuple[Transformer, ...] = ()
    rates: tuple[CellRate, ...] = ()
    fits: Mapping[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Accelerator]:
        return iter(self.accelerators)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(a.name for a in self.accelerators)

    @property
    def families(self) -> tuple[str, ...]:
        """Families in the order of first appearance."""
        return tuple(dict.fromkeys(a.family for a in self.accelerators))

    def get(self, name: str) -> Accelerator | None:
        return next((a for a in self.accelerators if a.name == name), None)
