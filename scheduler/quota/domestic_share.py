"""The domestic share of what is used over a window: its account, its forecast, and the price that keeps it.

Amounts are thousandths of devices or of compute units; the account holds them times milliseconds. What counts as used
is productive time only: the engine books the time between two reports of progress. All is integer arithmetic on events,
so that a replay finds the same account to the byte.
"""

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.model.rules import DomesticShare, Window, within
from scheduler.model.units import US_PER_S

__all__ = ["ShareAccount", "ShareStanding", "barrier_price", "counts", "least_price", "share_coefficients"]

BUCKETS_PER_WINDOW: Final = 720
"""A rolling window of 30 days is kept by the hour; what a bucket holds leaves the window with the bucket's end."""

HOUR_US: Final = 3_600 * US_PER_S
CHINA_US: Final = 8 * HOUR_US
MS_PER_HOUR: Final = 3_600_000

HORIZON: Final = 4
"""A rolling window is forecast a quarter of its length ahead, when its oldest quarter has left."""

DEFAULT_BAND: Final = 0.05
"""Where a rule names no `warn_below`, its price begins this far above the target."""

Real = NDArray[np.float64]
Int = NDArray[np.int64]


class ShareStanding(Struct, frozen=True, kw_only=True):
    """How a rule stands at one moment. Hours are device- or compute-unit-hours of productive time in the window.

    The forecast is of the window at the horizon: what of the past it will still hold, and what runs now until its
    expected end. `running_*` in devices or compute units. `slack` is what new starts may use up, counted by
    `share_coefficients` in thousandths x seconds, so that the forecast still meets the target; negative: it is missed
    already. `judged` is False while that window holds less than the rule's `min_volume`: then it does not act.
    """

    imported_hours: float
    domestic_hours: float
    running_imported: float
    running_domestic: float
    share: float | None
    forecast: float | None
    forecast_hours: float
    margin: float | None  # forecast minus target
    slack: float
    judged: bool


def counts(rule: DomesticShare, tenant: str) -> bool:
    """Whether use by the tenant counts: within the scope, and not exempt."""
    return within(tenant, rule.scope) and not any(within(tenant, above) for above in rule.exempt)


def share_coefficients(imported: Int | Real, domestic: Int | Real, target: float) -> Real:
    """What options use up of a rule's slack: r * imported - (1 - r) * domestic; imported ones use it, domestic ones
    give. The sum over all that starts, times the seconds that each runs before the horizon, may not exceed
    `ShareStanding.slack`.
    """
    found: Real = target * np.asarray(imported, dtype=np.float64) - (1 - target) * np.asarray(domestic, np.float64)
    return found


class ShareAccount:
    """Productive time of one rule in buckets: number of the bucket -> [imported, domestic], in thousandths x ms."""

    def __init__(self, rule: DomesticShare) -> None:
        self.rule = rule
        self.width_us = HOUR_US
        if rule.window is Window.ROLLING:
            self.width_us = min(HOUR_US, max(US_PER_S, rule.window_us // BUCKETS_PER_WINDOW))
        self.buckets: dict[int, list[int]] = {}
        self._newest = -1

    def add(self, since_us: int, until_us: int, imported: int, domestic: int) -> None:
        """Book an amount for a span of time; what left the window by its end is forgotten."""
        if until_us <= since_us or (not imported and not domestic):
            return
        since_us = max(since_us, self.first_us(until_us))
        last = (until_us - 1) // self.width_us
        for number in range(since_us // self.width_us, last + 1):
            begin, end = number * self.width_us, (number + 1) * self.width_us
            ms = min(end, until_us) // 1000 - max(begin, since_us) // 1000
            held = self.buckets.setdefault(number, [0, 0])
            held[0] += imported * ms
            held[1] += domestic * ms
        if last > self._newest:
            self._newest = last
            first = self.first_us(until_us) // self.width_us
            self.buckets = {number: held for number, held in self.buckets.items() if number >= first}

    def first_us(self, now_us: int) -> int:
        """When the window that ends now begins, at the edge of a bucket."""
        if self.rule.window is Window.QUARTER:
            return _quarter(now_us)[0]
        return max(0, (now_us - self.rule.window_us) // self.width_us * self.width_us)

    def within(self, first_us: int) -> tuple[int, int]:
        """(imported, domestic) in thousandths x ms since `first_us`."""
        first = first_us // self.width_us
        kept = [held for number, held in self.buckets.items() if number >= first]
        return sum(held[0] for held in kept), sum(held[1] for held in kept)

    def horizon_us(self, now_us: int) -> int:
        """How far ahead the rule looks: to the end of the quarter, or a quarter of a rolling window."""
        if self.rule.window is Window.QUARTER:
            return max(HOUR_US, _quarter(now_us)[1] - now_us)
        return max(1, self.rule.window_us // HORIZON)

    def standing(self, now_us: int, running: tuple[int, int], ahead: tuple[float, float]) -> ShareStanding:
        """`running` are the (imported, domestic) thousandths that are held now, `ahead` what they will use by the
        horizon, in thousandths x seconds."""
        target = self.rule.target
        past = self.within(self.first_us(now_us))
        moved_us = now_us if self.rule.window is Window.QUARTER else now_us + self.horizon_us(now_us)
        kept = self.within(self.first_us(moved_us))
        imported = kept[0] / 1000 + ahead[0]
        domestic = kept[1] / 1000 + ahead[1]
        total = imported + domestic
        forecast = domestic / total if total > 0 else None
        hours = total / 1000 / 3600
        return ShareStanding(
            imported_hours=past[0] / 1000 / MS_PER_HOUR,
            domestic_hours=past[1] / 1000 / MS_PER_HOUR,
            running_imported=running[0] / 1000,
            running_domestic=running[1] / 1000,
            share=past[1] / sum(past) if sum(past) > 0 else None,
            forecast=forecast,
            forecast_hours=hours,
            margin=None if forecast is None else forecast - target,
            slack=(1 - target) * domestic - target * imported,
            judged=hours >= self.rule.min_volume,
        )

    def image(self) -> tuple[tuple[int, int, int], ...]:
        return tuple((number, held[0], held[1]) for number, held in sorted(self.buckets.items()))

    def restore(self, image: tuple[tuple[int, int, int], ...]) -> None:
        self.buckets = {number: [imported, domestic] for number, imported, domestic in image}
        self._newest = max(self.buckets, default=-1)


def _quarter(now_us: int) -> tuple[int, int]:
    """Begin and end of the calendar quarter in China's time, which has no summer time."""
    month = int(np.datetime64(now_us + CHINA_US, "us").astype("datetime64[M]").astype(np.int64)) // 3 * 3
    begin, end = (np.datetime64(first, "M").astype("datetime64[us]").astype(np.int64) for first in (month, month + 3))
    return int(begin) - CHINA_US, int(end) - CHINA_US


def barrier_price(rule: DomesticShare, forecast: float | None) -> float:
    """The multiplier that a forecast asks for: nothing above `warn_below`, without bound as it nears the target.

    A barrier: the price rises while the margin shrinks, so that a steady stream of jobs settles at one price, and the
    jobs that lose least by moving are those that move. In units of a job's own best speed; at most `highest_price`.
    """
    if rule.target <= 0 or forecast is None:
        return 0.0
    top = rule.warn_below if rule.warn_below is not None and rule.warn_below > rule.target else None
    top = min(1.0, rule.target + DEFAULT_BAND) if top is None else top
    if forecast >= top:
        return 0.0
    if forecast <= rule.target:
        return _highest_price(rule.target)
    return min(_highest_price(rule.target), 0.5 * (top - forecast) / (forecast - rule.target))


def _highest_price(target: float) -> float:
    """At this multiplier an imported option costs all of a job's speed: every job that can leaves it."""
    return 1.0001 / target


def least_price(rule: DomesticShare, slack: float, ptr: Int, cost: Real, used: Real, speed: Real) -> tuple[float, Real]:
    """The least multiplier at which the jobs' best options together use at most `slack`, as if all of them ran.

    Options of job i are ptr[i]:ptr[i + 1], all of them open: `cost` is what a multiplier of one adds to an option's
    cost, `speed` the option's speed, both as parts of the job's best; `used` is what it uses of the slack. It is the
    one-dimensional dual of: lose as little speed as possible and keep the target. Found by bisection, for a job that
    turns to a cheaper option turns from using slack to giving some.

    Also float64[n], what each job pays. Jobs that turn at the same price, as equal ones do, would all turn at once; the
    first of them pay a little less, as many as the slack bears.
    """
    price, pays = 0.0, np.zeros(len(ptr) - 1)
    length = np.diff(ptr)
    who = np.flatnonzero(length > 0)
    length = length[who]
    if rule.target <= 0 or not len(length):
        return price, pays
    low, high = 0.0, _highest_price(rule.target)
    at_low = _choices(low, length, cost, used, speed)
    if at_low[1].sum() <= slack:
        return price, pays
    at_high = _choices(high, length, cost, used, speed)
    if at_high[1].sum() > slack:
        return high, np.full(len(pays), high)
    settled = 0.0
    for _ in range(24):
        # the best option is a line of an upper envelope: the same at both ends is the same in between
        moves = at_low[0] != at_high[0]
        settled += float(at_high[1][~moves].sum())
        options = np.repeat(moves, length)
        who, length, cost, used, speed = who[moves], length[moves], cost[options], used[options], speed[options]
        at_low, at_high = (at_low[0][moves], at_low[1][moves]), (at_high[0][moves], at_high[1][moves])
        if not len(length):
            break
        middle = (low + high) / 2
        found = _choices(middle, length, cost, used, speed)
        if settled + found[1].sum() <= slack:
            high, at_high = middle, found
        else:
            low, at_low = middle, found
    price = high * (1 + 1e-6)  # past the tie at which it was found
    pays[:] = price
    bears = np.cumsum(at_low[1] - at_high[1]) <= slack - settled - at_high[1].sum()
    pays[who[bears]] = low * (1 - 1e-6)
    return price, pays


def _choices(price: float, length: Int, cost: Real, used: Real, speed: Real) -> tuple[Real, Real]:
    """Cost and use of each job's best option at a price; of equal ones, the cheapest for the rule."""
    starts = np.cumsum(length) - length
    value = np.round(speed - price * cost, 9)
    best = value == np.repeat(np.maximum.reduceat(value, starts), length)
    cheapest = np.minimum.reduceat(np.where(best, cost, np.inf), starts)
    best &= cost == np.repeat(cheapest, length)
    return cheapest, np.minimum.reduceat(np.where(best, used, np.inf), starts)
