"""Rules on lots, shares, eligibility and money: what docs/rules.md explains. Each says how far it acts."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct, field

from scheduler.model.cluster import NodeGroup

__all__ = [
    "DATA_CLASS",
    "JURISDICTION",
    "DomesticMatch",
    "DomesticShare",
    "Eligibility",
    "Licence",
    "Lot",
    "Measure",
    "Mode",
    "Price",
    "Rules",
    "ShareBasis",
    "Tranche",
    "TrancheState",
    "Use",
    "Window",
    "within",
]

DATA_CLASS: Final = "data-class"
"""The label of a job that names the class of its data."""

JURISDICTION: Final = "jurisdiction"
"""The label of a node that names whose law holds there."""


def within(tenant: str, above: str) -> bool:
    """Whether `tenant` is `above` or lies below it; everybody lies below the root."""
    return not above or tenant == above or tenant.startswith(above + "/")


class Mode(StrEnum):
    OBSERVE = "observe"  # measured and reported
    PRICE = "price"  # adds its shadow price to what it counts against
    HOLD = "hold"  # refuses a start, never preempts


class TrancheState(StrEnum):
    ORDERED = "ordered"
    SHIPPED = "shipped"
    CLEARED = "cleared"
    IN_SERVICE = "in_service"


class Use(StrEnum):
    ALLOWED = "allowed"
    DRAIN = "drain"
    FORBIDDEN = "forbidden"


class ShareBasis(StrEnum):
    INSTALLED = "installed"
    USED = "used"


class Measure(StrEnum):
    DEVICES = "devices"
    PURCHASE_CNY = "purchase_cny"
    PEAK_TFLOPS = "peak_tflops"
    DEVICE_HOURS = "device_hours"
    COMPUTE_UNIT_HOURS = "compute_unit_hours"


class Window(StrEnum):
    ROLLING = "rolling"  # the last `window_us`
    QUARTER = "quarter"  # since the quarter began, in China's time


class Licence(Struct, frozen=True, kw_only=True):
    """Chips under it serve at its `sites` (empty: anywhere) until it ends, and never a job with an excluded label."""

    ref: str
    valid_until_us: int | None = None
    sites: tuple[str, ...] = ()
    excluded_labels: Mapping[str, str] = field(default_factory=dict)


class Tranche(Struct, frozen=True, kw_only=True):
    """A part of a delivery; half of the time it comes by `expected_us`, nine times in ten by `p90_us`."""

    count: int
    expected_us: int
    p90_us: int | None = None
    state: TrancheState = TrancheState.ORDERED


class DomesticMatch(Struct, frozen=True, kw_only=True):
    """Domestic chips to be installed by `due_us`: `ratio` times what the lot has brought into service, by `measure`."""

    measure: Measure
    ratio: float
    due_us: int


class Lot(Struct, frozen=True, kw_only=True):
    """A licensed batch of chips. Lots never create capacity: nodes name their lot."""

    id: str
    accelerator: str
    entity: str = ""
    licence: Licence | None = None
    tranches: tuple[Tranche, ...] = ()
    unit_cost_fen: int = 0
    surcharge: float = 0.0
    domestic_match: DomesticMatch | None = None
    procurement: str = "open"  # open or closed
    use: Use = Use.ALLOWED


class DomesticShare(Struct, frozen=True, kw_only=True):
    """At least `target` of what is installed, or used within the window, is domestic.

    `scope` and `exempt` are tenants with all below them. `min_volume` in device- or compute-unit-hours: a window with
    less is measured and not judged. `window_us` is the length; of a calendar quarter, the longest one.
    """

    id: str
    basis: ShareBasis
    measure: Measure
    target: float
    window_us: int
    window: Window = Window.ROLLING
    scope: str = ""
    warn_below: float | None = None
    min_volume: float = 0.0
    exempt: tuple[str, ...] = ()
    mode: Mode = Mode.OBSERVE


class Eligibility(Struct, frozen=True, kw_only=True):
    """The jobs that it is about may use only nodes that carry `nodes` labels, in `sites`, of `entities`, ...

    It is about jobs that carry all `jobs` labels, one of the `data_classes` as their label `data-class`, and belong to
    one of `tenants`; what is empty asks for nothing. A node's jurisdiction is its label `jurisdiction`.
    """

    id: str
    jobs: Mapping[str, str] = field(default_factory=dict)
    data_classes: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()
    nodes: Mapping[str, str] = field(default_factory=dict)
    sites: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    mode: Mode = Mode.OBSERVE

    def is_about(self, labels: Mapping[str, str], tenant: str) -> bool:
        """Whether the rule speaks of a job with these labels of this tenant."""
        if self.data_classes and labels.get(DATA_CLASS) not in self.data_classes:
            return False
        if self.tenants and not any(within(tenant, above) for above in self.tenants):
            return False
        return self.jobs.items() <= labels.items()

    def accepts(self, group: NodeGroup) -> bool:
        """Whether the jobs that it is about may use the nodes."""
        if self.sites and group.site not in self.sites:
            return False
        if self.entities and group.entity not in self.entities:
            return False
        if self.jurisdictions and group.labels.get(JURISDICTION) not in self.jurisdictions:
            return False
        return self.nodes.items() <= group.labels.items()


class Price(Struct, frozen=True, kw_only=True):
    """Money per device-hour of an accelerator or a lot, from a date on."""

    of: str
    fen_per_device_hour: int
    from_us: int = 0


class Rules(Struct, frozen=True, kw_only=True):
    lots: tuple[Lot, ...] = ()
    domestic_shares: tuple[DomesticShare, ...] = ()
    eligibility: tuple[Eligibility, ...] = ()
    prices: tuple[Price, ...] = ()
