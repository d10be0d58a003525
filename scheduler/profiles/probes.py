"""Probes that pay: which short measurement would change a decision most, and whether it is worth its cost.

The gain of a probe is what the better choice after it is expected to be worth more than the best choice now (expected
value of sample information; Raiffa and Schlaifer, 1961). With log-normal rates it has a closed form, that of an option
to switch (Black and Scholes, 1973).
"""

import math
from collections.abc import Sequence

from msgspec import Struct

from scheduler.profiles.calibration import Belief

__all__ = ["Choice", "Probe", "best_probe", "expected_gain"]


class Choice(Struct, frozen=True, kw_only=True):
    """One option of a decision. It is worth `weight` times its rate, less `price`; a probe of it costs `cost`, in the
    same unit, and shows the rate's logarithm with `probe_sd`."""

    belief: Belief
    weight: float = 1.0
    price: float = 0.0
    cost: float = 0.0
    probe_sd: float = 0.1

    @property
    def worth(self) -> float:
        return self.weight * math.exp(self.belief.mean + self.belief.sd**2 / 2) - self.price


class Probe(Struct, frozen=True):
    """Measure choice `place`: `gain` is what that is expected to be worth, its cost taken off."""

    place: int
    gain: float


def expected_gain(choices: Sequence[Choice], place: int) -> float:
    """What a probe of one choice is expected to add to the best choice's worth, its cost not taken off; at least 0.

    After the probe the choice's expected rate is log-normal about what it is now; the others stay as they are.
    """
    probed = choices[place]
    others = max((choice.worth for at, choice in enumerate(choices) if at != place), default=-math.inf)
    variance = probed.belief.sd**2
    if variance <= 0 or math.isinf(others):
        return 0.0
    told = math.sqrt(variance**2 / (variance + probed.probe_sd**2))  # of the mean after the probe, before it
    now = probed.weight * math.exp(probed.belief.mean + variance / 2)
    needed = others + probed.price  # what weight times rate must exceed for the choice to be the best
    if needed <= 0 or now <= 0:
        return max(0.0, max(others, now - probed.price) - max(others, probed.worth))
    reach = (math.log(now / needed) + told**2 / 2) / told
    switching = now * _normal(reach) - needed * _normal(reach - told)
    return max(0.0, others + switching - max(others, probed.worth))


def best_probe(choices: Sequence[Choice]) -> Probe | None:
    """The probe with the largest gain above its cost, the first of equals; None where none pays."""
    gains = [expected_gain(choices, place) - choice.cost for place, choice in enumerate(choices)]
    place = max(range(len(gains)), key=gains.__getitem__, default=None)
    return Probe(place, gains[place]) if place is not None and gains[place] > 0 else None


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))
