"""When a rate is no longer what it was, or was never what it is declared to be.

Small lasting shifts show in cumulative sums (Page, 1954) long before a single run stands out.
"""

import math
from enum import StrEnum

from msgspec import Struct

from scheduler.profiles.calibration import REACH, Belief
from scheduler.profiles.table import Rate

__all__ = ["Drift", "RatioAlarm", "Shift", "ratio_alarm"]

ALLOWANCE = 0.5
"""Standard deviations a run may lie off without adding up: shifts of twice that are found soonest."""

THRESHOLD = 5.0
"""With the allowance: one false alarm in about 465 runs that do not drift, and a shift of one sigma found after ten."""

FAR = 3.0
"""A single run counts no more than this, so that it takes two to raise an alarm."""

WORTH_TELLING = 0.1
"""Log units by which a declared ratio must be off before anyone needs to know."""


FAR_OFF = 0.3
"""Log units by which a ratio is off that everybody needs to know, whatever its band says: 6 that is 4 is off by 0.4."""


class Shift(StrEnum):
    NONE = "none"
    FASTER = "faster"
    SLOWER = "slower"


class Drift(Struct, frozen=True, gc=False):
    """Sums of what runs were off, in standard deviations of the next run, in each direction."""

    up: float = 0.0
    down: float = 0.0

    def after(self, off: float) -> "Drift":
        """`off`: standard deviations that a run was faster than believed."""
        cut = min(max(off, -FAR), FAR)
        return Drift(max(0.0, self.up + cut - ALLOWANCE), max(0.0, self.down - cut - ALLOWANCE))

    @property
    def shift(self) -> Shift:
        if max(self.up, self.down) < THRESHOLD:
            return Shift.NONE
        return Shift.FASTER if self.up > self.down else Shift.SLOWER


class RatioAlarm(Struct, frozen=True):
    """A ratio between two chips that was declared as one figure and measured as another; `measured` has a 90 % band."""

    declared: float
    measured: float
    low: float
    high: float


def ratio_alarm(declared: Rate, here: Belief, there: Belief) -> RatioAlarm | None:
    """Whether `here` over `there` contradicts the declared ratio: 6x that is measured at 4x.

    None while either is unmeasured, where the difference is too small to matter, and while the measured band reaches
    into the declared one, unless it is certainly a good part off the very figure that decisions go by.
    """
    if not (here.runs and there.runs):
        return None
    ratio, reach = here.mean - there.mean, REACH * math.hypot(here.sd, there.sd)
    apart = ratio - reach > math.log(declared.high) or ratio + reach < math.log(declared.low)
    far = abs(ratio - math.log(declared.value)) - reach > FAR_OFF
    if not (apart or far) or abs(ratio - math.log(declared.value)) < WORTH_TELLING:
        return None
    return RatioAlarm(declared.value, math.exp(ratio), math.exp(ratio - reach), math.exp(ratio + reach))
