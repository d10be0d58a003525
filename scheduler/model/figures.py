"""A number with its band, and where it comes from."""

from enum import StrEnum

from msgspec import Struct

__all__ = ["Confidence", "Figure", "Provenance"]


class Provenance(StrEnum):
    """How a figure came about."""

    MEASURED = "measured"  # by us, on the device
    PUBLISHED = "published"  # by the vendor or a third party, with a source
    DERIVED = "derived"  # by arithmetic on published figures
    MODELLED = "modelled"  # by judgement or a model; never quoted as a measurement


class Confidence(StrEnum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Figure(Struct, frozen=True):
    """One number with its band [low, high] (both inclusive) and its provenance."""

    value: float
    low: float
    high: float
    provenance: Provenance = Provenance.MODELLED
    confidence: Confidence = Confidence.LOW
    source: str = ""
