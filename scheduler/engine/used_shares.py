"""Rules on what is used, fed by events: productive time, what runs, and what a rule withholds."""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.engine.records import Attempt, JobRecord
from scheduler.model.allocations import Allocation
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.rules import DomesticShare, Measure
from scheduler.model.units import FOREVER_US
from scheduler.quota.domestic_share import HORIZON, ShareAccount, ShareStanding, counts

__all__ = ["HeldStart", "ShareImage", "UsedShare", "held_start", "productive_millionths", "span_of_progress"]

MILLION = 1_000_000

SLOWEST = 0.1
"""An attempt that computes less than this part of its forecast idles: its time counts in proportion."""


class HeldStart(Struct, frozen=True):
    """A start that the rule holds: since when, and what it would use, in thousandths."""

    since_us: int
    compute_units: int
    h20_equivalents: int


class ShareImage(Struct, frozen=True, kw_only=True):
    """What of a rule cannot be recomputed. Withheld in thousandths x ms; `held` by number of the job."""

    id: str
    buckets: tuple[tuple[int, int, int], ...]
    withheld_units: int
    withheld_h20: int
    held: tuple[tuple[int, HeldStart], ...]


def productive_millionths(work: float, elapsed_us: int, forecast_per_s: float) -> int:
    """How much of a span counts as used, in millionths, for `work` done in it.

    Nothing where nothing was done: a job that only sleeps fills no window. A forecast of 0 means that none is known in
    the job's unit; then any progress counts whole.
    """
    if work <= 0 or elapsed_us <= 0:
        return 0
    least = SLOWEST * forecast_per_s * elapsed_us / 1e6
    return MILLION if work >= least else round(MILLION * work / least)


class _Running:
    """What attempts hold and until when they are expected to, in columns whose places are used again."""

    def __init__(self) -> None:
        self.place: dict[int, int] = {}
        self.idle: list[int] = []
        self.columns: NDArray[np.int64] = np.zeros((4, 64), dtype=np.int64)  # imported, domestic, since, until

    def put(self, number: int, amounts: tuple[int, int], since_us: int, until_us: int) -> None:
        if not self.idle:
            size = self.columns.shape[1]
            used = len(self.place)
            if used == size:
                self.columns = np.concatenate((self.columns, np.zeros_like(self.columns)), axis=1)
            self.idle.append(used)
        place = self.place[number] = self.idle.pop()
        self.columns[:, place] = (*amounts, since_us, until_us)

    def heard(self, number: int, until_us: int) -> None:
        """The job, whose end nobody knows, has shown that it works: it is expected to until then."""
        place = self.place.get(number)
        if place is not None and self.columns[2, place] == self.columns[3, place]:
            self.columns[2:, place] = until_us

    def drop(self, number: int) -> None:
        place = self.place.pop(number)
        self.columns[:, place] = 0
        self.idle.append(place)

    def ahead(self, now_us: int, horizon_us: int) -> tuple[float, float]:
        """(imported, domestic) in thousandths x seconds that is used by the horizon.

        An attempt that has outlived its expectation is given as long again; one without any (since is until) nothing.
        """
        imported, domestic, since_us, until_us = self.columns
        left_us = np.where(until_us > now_us, until_us - now_us, until_us - since_us)
        # whole hundredths of a second sum exactly, whatever the places; 300,000 H200 for a quarter fit into an int64
        hundredths = np.minimum(left_us, horizon_us) // 10_000
        return int(imported @ hundredths) / 100, int(domestic @ hundredths) / 100


class UsedShare:
    """One rule with its account. `running` are the (imported, domestic) thousandths that attempts hold now."""

    def __init__(self, rule: DomesticShare) -> None:
        self.rule = rule
        self.account = ShareAccount(rule)
        self.running = [0, 0]
        self._running = _Running()
        self.held: dict[int, HeldStart] = {}
        self.withheld_units = 0
        self.withheld_h20 = 0
        self._counted: dict[str, bool] = {}

    def counts(self, tenant: str) -> bool:
        found = self._counted.get(tenant)
        if found is None:
            found = self._counted[tenant] = counts(self.rule, tenant)
        return found

    def amounts(self, allocation: Allocation, imported: int, domestic: int) -> tuple[int, int]:
        """Thousandths of an allocation with so many thousandths of imported and domestic devices, in the rule's
        measure."""
        if self.rule.measure is Measure.DEVICE_HOURS:
            return imported, domestic
        whole = max(1, imported + domestic)
        foreign = allocation.charge * imported // whole
        return foreign, allocation.charge - foreign if domestic else 0

    def take(self, number: int, amounts: tuple[int, int], since_us: int, until_us: int) -> None:
        """The job holds these amounts since then, and is expected to until then; FOREVER_US: nobody knows.

        Who cannot tell an end is counted on for as long as it works: until a silence of a quarter of the window, so
        that jobs that only hold devices do not brighten the forecast.
        """
        if until_us >= FOREVER_US:
            since_us = until_us = since_us + self.patience_us
        self.running = [self.running[0] + amounts[0], self.running[1] + amounts[1]]
        self._running.put(number, amounts, since_us, until_us)

    def give(self, number: int, amounts: tuple[int, int]) -> None:
        self.running = [self.running[0] - amounts[0], self.running[1] - amounts[1]]
        self._running.drop(number)

    @property
    def patience_us(self) -> int:
        return self.rule.window_us // HORIZON

    def forget_running(self) -> None:
        """Before everything that is held is booked anew."""
        self.running = [0, 0]
        self._running = _Running()

    def credit(self, number: int, since_us: int, until_us: int, amounts: tuple[int, int], millionths: int) -> None:
        """Book a span of the job's attempt of which so many millionths were productive."""
        self._running.heard(number, until_us + self.patience_us)
        imported, domestic = (amount * millionths // MILLION for amount in amounts)
        self.account.add(since_us, until_us, imported, domestic)

    def note(self, number: int, start: HeldStart | None, time_us: int) -> None:
        """The job's start is held from now on, or (None) no longer: what was withheld until now is booked."""
        before = self.held.pop(number, None)
        if before is not None:
            ms = time_us // 1000 - before.since_us // 1000
            self.withheld_units += before.compute_units * ms
            self.withheld_h20 += before.h20_equivalents * ms
        if start is not None:
            self.held[number] = start

    def withheld(self, now_us: int) -> tuple[float, float]:
        """Compute-unit-hours and H20-equivalent-hours withheld so far, what is held now included."""
        units, h20 = self.withheld_units, self.withheld_h20
        for start in self.held.values():
            ms = max(0, now_us // 1000 - start.since_us // 1000)
            units += start.compute_units * ms
            h20 += start.h20_equivalents * ms
        return units / 3.6e9, h20 / 3.6e9

    def standing(self, now_us: int) -> ShareStanding:
        ahead = self._running.ahead(now_us, self.account.horizon_us(now_us))
        return self.account.standing(now_us, (self.running[0], self.running[1]), ahead)

    def image(self) -> ShareImage:
        return ShareImage(
            id=self.rule.id,
            buckets=self.account.image(),
            withheld_units=self.withheld_units,
            withheld_h20=self.withheld_h20,
            held=tuple(sorted(self.held.items())),
        )

    def restore(self, image: ShareImage) -> None:
        self.account.restore(image.buckets)
        self.withheld_units = image.withheld_units
        self.withheld_h20 = image.withheld_h20
        self.held = dict(image.held)

    def continues(self, other: DomesticShare) -> bool:
        """Whether the account of this rule is that of `other` too: only its target, bounds and mode may differ."""
        mine = self.rule
        return (mine.id, mine.measure, mine.scope, mine.exempt, mine.window, mine.window_us) == (
            other.id, other.measure, other.scope, other.exempt, other.window, other.window_us
        )  # fmt: skip


def span_of_progress(job: JobRecord, attempt: Attempt, time_us: int, done: float) -> tuple[int, int, float] | None:
    """Since when, until when and how much the attempt has computed by its reports, or None without progress."""
    if attempt.started_us is None or done <= attempt.done:
        return None
    return max(attempt.last_progress_us, attempt.started_us), time_us, done - attempt.done


def held_start(
    reason: Reason | None, time_us: int, units: Mapping[str, int], h20_equivalents: float
) -> tuple[str, HeldStart] | None:
    """The rule that holds a start and what it withholds, or None for any other reason."""
    if reason is None or reason.code is not ReasonCode.DOMESTIC_SHARE_HOLD:
        return None
    charge = units.get(reason.accelerator, 0) * reason.need
    return reason.who, HeldStart(time_us, charge, round(1000 * h20_equivalents))
