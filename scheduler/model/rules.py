"""Rules on lots, shares, eligibility and money. They are parsed and kept with the fleet; each says how it acts."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field

__all__ = [
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
]


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


class Licence(Struct, frozen=True, kw_only=True):
    ref: str
    valid_until_us: int | None = None
    sites: tuple[str, ...] = ()
    excluded_labels: Mapping[str, str] = field(default_factory=dict)


class Tranche(Struct, frozen=True, kw_only=True):
    count: int
    expected_us: int
    p90_us: int | None = None
    state: TrancheState = TrancheState.ORDERED


class DomesticMatch(Struct, frozen=True, kw_only=True):
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
    id: str
    basis: ShareBasis
    measure: Measure
    target: float
    window_us: int
    scope: str = ""
    warn_below: float | None = None
    min_volume: float = 0.0
    exempt: tuple[str, ...] = ()
    mode: Mode = Mode.OBSERVE


class Eligibility(Struct, frozen=True, kw_only=True):
    """Jobs that carry `jobs` labels may use only nodes that carry `nodes` labels, in `sites`, of `entities`."""

    id: str
    jobs: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)
    sites: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    mode: Mode = Mode.OBSERVE


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
