"""What a job holds: devices of nodes, granted to the roles of one attempt, at a charge frozen when granted."""

from msgspec import Struct

from scheduler.model.tenants import JobClass
from scheduler.model.units import WHOLE_DEVICE

__all__ = ["Allocation", "Chosen", "Grant"]


class Grant(Struct, frozen=True, gc=False):
    """Devices of one node for one role, as bits of `devices` (bit i is the node's device i)."""

    node: int
    role: int
    devices: int
    cpu_milli: int
    memory_mib: int
    replica: int = 0  # of a service; each replica has grants of its own
    thousandths: int = WHOLE_DEVICE

    @property
    def count(self) -> int:
        return self.devices.bit_count()


class Chosen(Struct, frozen=True, gc=False):
    """What one role takes: an accelerator and a count of devices, or of equal shares of devices."""

    accelerator: str
    count: int
    thousandths: int = WHOLE_DEVICE

    @property
    def amount(self) -> int:
        """In thousandths of a device."""
        return self.count * self.thousandths


class Allocation(Struct, frozen=True, kw_only=True, gc=False):
    """`rate` in work units per second as forecast; `charge` in thousandths of compute units. `modelled`: the rate
    without what running jobs have shown, or 0 where only the ratio between options is known. `layout`: how the first
    role is best split over its devices, where a model of speed tells. `fen_per_hour`: what its devices cost by the
    price book and the lots of its nodes; None in records older than that.

    `job_class` says which limits it counts against; like charge and cost it is frozen when granted.
    """

    chosen: tuple[Chosen, ...]  # one per role
    grants: tuple[Grant, ...]
    rate: float
    charge: int
    job_class: JobClass = JobClass.STANDARD
    modelled: float = 0.0
    layout: str = ""
    fen_per_hour: int | None = None
