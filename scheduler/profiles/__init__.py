"""How fast, and does it fit: rates per job and device with bands, and a floor on memory."""

from scheduler.profiles.options import JobOption, OptionSet, expand
from scheduler.profiles.table import Rate, rate_of

__all__ = ["JobOption", "OptionSet", "Rate", "expand", "rate_of"]
