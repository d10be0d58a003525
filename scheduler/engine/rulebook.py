"""The rules in force over one fleet: which nodes they close, to everybody or to one job, and the accounts they keep."""

from collections.abc import Iterable, Sequence
from copy import copy as shallow
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.records import Attempt, JobRecord
from scheduler.engine.used_shares import ShareImage, UsedShare, held_start, productive_millionths, span_of_progress
from scheduler.model.accelerators import Track
from scheduler.model.allocations import Allocation, Chosen
from scheduler.model.cluster import NodeGroup
from scheduler.model.events import Configured
from scheduler.model.jobs import Job
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.rules import ShareBasis
from scheduler.model.units import FOREVER_US, US_PER_S, WHOLE_DEVICE
from scheduler.placement.room import Fleet
from scheduler.profiles.table import rate_of
from scheduler.quota.eligibility import ineligible
from scheduler.quota.lots import closed_groups, excluded_groups
from scheduler.quota.prices import PriceBook

__all__ = ["RULED_OUT", "RuleBook"]

RULED_OUT = frozenset({ReasonCode.ELIGIBILITY, ReasonCode.LABELS_EXCLUDE, ReasonCode.LICENCE, ReasonCode.LOT_FORBIDDEN})
"""Codes with which a rule, and not the size of the fleet, excludes an option."""

REMEMBERED = 4096
"""Distinct (labels, tenant) whose closures are kept; most jobs share a few."""

REFERENCE = "h20-96"


class RuleBook:
    """Compiled when a configuration comes into force. `shares` are the rules on use, with their accounts."""

    def __init__(self, config: Configured, fleet: Fleet, before: Iterable[UsedShare] = ()) -> None:
        self.rules = config.rules
        self.fleet = fleet
        self.groups: tuple[NodeGroup, ...] = config.cluster.groups()
        self.prices = PriceBook(self.rules.prices, self.rules.lots)
        self.catalog = config.catalog
        self._tracks = {a.name: a.track for a in config.catalog}
        self._units = {a.name: a.compute_units for a in config.catalog}
        pools = [pool.track or self._tracks[pool.accelerator] for pool in fleet.pools]
        self.imported = np.array([track is Track.IMPORTED for track in pools], dtype=np.bool_)[fleet.pool]
        self._shelves = self._by_shelf()
        ends = {lot.licence.valid_until_us for lot in self.rules.lots if lot.licence is not None}
        self._ends = sorted(end for end in ends if end is not None)
        self._work_left: NDArray[np.float64] = np.zeros(0)
        self._closed: dict[int, NDArray[np.bool_]] = {}
        self._barred: dict[tuple[object, str], dict[int, Reason]] = {}
        self.shares = [UsedShare(r) for r in self.rules.domestic_shares if r.basis is ShareBasis.USED]
        old = {share.rule.id: share for share in before}
        for share in self.shares:
            known = old.get(share.rule.id)
            if known is not None and known.continues(share.rule):
                share.restore(known.image())

    def fork(self) -> Self:
        """An independent copy in which nothing runs yet; what follows from the configuration is shared."""
        copy = shallow(self)
        copy._work_left = self._work_left.copy()
        copy.shares = [UsedShare(share.rule) for share in self.shares]
        for own, share in zip(copy.shares, self.shares, strict=True):
            own.restore(share.image())
        return copy

    # which nodes are closed

    def closures(self, now_us: int | None = None) -> dict[int, Reason]:
        """Groups closed to everybody; without a time, only what no date changes."""
        return closed_groups(self.rules.lots, self.groups, now_us)

    def closed_nodes(self, now_us: int | None = None) -> NDArray[np.bool_]:
        """bool[nodes]. The array is shared: nobody may change it."""
        ended = 0 if now_us is None else sum(end <= now_us for end in self._ends)
        found = self._closed.get(ended)
        if found is None:
            groups = sorted(self.closures(now_us if ended else None))
            found = self._closed[ended] = np.isin(self.fleet.group, groups)
        return found

    def barred(self, spec: Job) -> dict[int, Reason]:
        """Groups closed to the job by licences that exclude its labels, and by eligibility."""
        if not self.rules.lots and not self.rules.eligibility:
            return {}
        key = (tuple(sorted(spec.labels.items())), spec.tenant)
        found = self._barred.get(key)
        if found is None:
            if len(self._barred) >= REMEMBERED:
                self._barred.clear()
            found = excluded_groups(self.rules.lots, self.groups, spec.labels)
            found |= ineligible(self.rules.eligibility, self.groups, spec.labels, spec.tenant)
            self._barred[key] = found
        return found

    def why_closed(
        self, spec: Job, chosen: Sequence[Chosen], cells: Sequence[int], now_us: int | None
    ) -> Reason | None:
        """The rule by which too few devices for the choice are left in every cell that has enough, or None.

        `need` and `have` in devices of the accelerator in the cell that has most.
        """
        closed = {**self.barred(spec), **self.closures(now_us)}
        if not closed:
            return None
        for part in chosen:
            found = [self._left(part, self.fleet.cells[cell], closed) for cell in cells]
            large = [(have, reason) for total, have, reason in found if total >= part.count]
            if large and all(have < part.count for have, _ in large):
                have, reason = max(have for _, have, _ in found), large[0][1]
                return Reason(
                    code=reason.code, accelerator=part.accelerator, need=part.count, have=have, who=reason.who
                )
        return None

    def any_ended(self, now_us: int) -> bool:
        """Whether the licence of any lot is over."""
        return any(end <= now_us for end in self._ends)

    def why_ended(self, spec: Job, takes: Sequence[tuple[Sequence[Chosen], int]], now_us: int) -> Reason | None:
        """The licence whose end has closed all of these choices (with their cells), or None."""
        if not takes or not self.any_ended(now_us):
            return None
        reasons = [self.why_closed(spec, chosen, [cell], now_us) for chosen, cell in takes]
        return None if None in reasons else reasons[0]

    def _left(self, part: Chosen, cell: str, closed: dict[int, Reason]) -> tuple[int, int, Reason]:
        """Devices of the accelerator in the cell, those of them not closed, and the first reason that closes some."""
        here = [g for g in self.groups if g.cell == cell and g.pool.accelerator == part.accelerator]
        total = sum(g.nodes * g.pool.devices_per_node for g in here)
        have = sum(g.nodes * g.pool.devices_per_node for g in here if g.number not in closed)
        nothing = Reason(code=ReasonCode.NOT_EVALUATED)
        return total, have, next((closed[g.number] for g in here if g.number in closed), nothing)

    # what is paid

    def dearest(self, now_us: int) -> dict[str, int]:
        """Fen per device-hour by accelerator: the most that a node of the fleet could cost, for a choice has no nodes
        yet, and no limit may be exceeded because they turn out to be dear."""
        found: dict[str, int] = {}
        for pool in self.fleet.pools if self.prices else ():
            fen = self.prices.fen_per_device_hour(pool.accelerator, now_us, pool.lot)
            found[pool.accelerator] = max(fen, found.get(pool.accelerator, 0))
        return found

    def fen_per_hour(self, allocation: Allocation, at_us: int) -> tuple[int, ...]:
        """Fen per hour of each role at the full prices of `at_us`, by the lots of its nodes where these are still what
        they were."""
        roles = enumerate(allocation.chosen) if self.prices else ()
        return tuple(self._fen_of_role(allocation, role, chosen, at_us) for role, chosen in roles)

    def _fen_of_role(self, allocation: Allocation, role: int, chosen: Chosen, at_us: int) -> int:
        known = total = 0  # in thousandths
        for grant in allocation.grants:
            if grant.role != role or grant.node >= len(self.fleet.pool):
                continue
            pool = self.fleet.pools[int(self.fleet.pool[grant.node])]
            if pool.accelerator == chosen.accelerator:
                held = grant.count * grant.thousandths
                known += held
                total += held * self.prices.fen_per_device_hour(chosen.accelerator, at_us, pool.lot)
        rest = max(0, chosen.amount - known)
        return (total + rest * self.prices.fen_per_device_hour(chosen.accelerator, at_us)) // WHOLE_DEVICE

    # what is used

    def shelves(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """bool[shelves]: whether any node on it is imported; int64[shelves]: compute units of its accelerator. Shared:
        nobody may change them."""
        return self._shelves

    def _by_shelf(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        foreign = np.zeros(self.fleet.shelf_count, dtype=np.bool_)
        foreign[self.fleet.shelf[self.imported]] = True
        units = np.array([self._units[name] for name in self.fleet.accelerators], dtype=np.int64)
        return foreign, np.tile(units, len(self.fleet.cells))

    def amounts(self, allocation: Allocation) -> tuple[int, int]:
        """Thousandths of devices held on each track: imported, domestic."""
        foreign = sum(grant.count * grant.thousandths for grant in allocation.grants if self.imported[grant.node])
        return foreign, sum(grant.count * grant.thousandths for grant in allocation.grants) - foreign

    def hold(self, job: JobRecord, allocation: Allocation, sign: int = 1) -> None:
        """The job's newest attempt takes its allocation, or (`sign` -1) gives it back: then less may be left to do."""
        shares, attempt = self._about(job), job.attempts[-1]
        until_us = self._expected_end_us(job, attempt) if shares and sign > 0 else 0
        for share in shares:
            amounts = share.amounts(allocation, *self.amounts(allocation))
            if sign > 0:
                seen_us = attempt.last_progress_us if attempt.done > attempt.done_at_start else attempt.allocated_us
                share.take(job.number, amounts, seen_us if until_us >= FOREVER_US else attempt.allocated_us, until_us)
            else:
                share.give(job.number, amounts)
        if job.number < len(self._work_left):
            self._work_left[job.number] = np.nan

    def _expected_end_us(self, job: JobRecord, attempt: Attempt) -> int:
        """By the declared work where the rate is in its unit, else by the time limit, else never."""
        amount, allocation = job.spec.work.amount, attempt.allocation
        chosen = allocation.chosen[0]
        chip = self.catalog.get(chosen.accelerator)
        rate = rate_of(job.spec.work, chip, chosen.count, self.catalog) if chip and amount is not None else None
        seconds = np.inf
        if rate is not None and rate.absolute and amount is not None and allocation.rate > 0:
            seconds = max(0.0, amount - attempt.done_at_start) / allocation.rate
        if job.time_limit_us is not None:
            seconds = min(seconds, max(0, job.time_limit_us - job.ran_us) / US_PER_S)
        return FOREVER_US if seconds * US_PER_S >= FOREVER_US else attempt.allocated_us + round(seconds * US_PER_S)

    def work_left(self, jobs: Sequence[JobRecord], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64[len(numbers)]: work that waiting jobs have still to do, in their own unit; infinite if not declared.

        Where a job's rates are only ratios its work tells no time, and counts as not declared.
        """
        if len(self._work_left) < len(jobs):
            grown = np.full(max(2 * len(self._work_left), len(jobs)), np.nan)
            grown[: len(self._work_left)] = self._work_left
            self._work_left = grown
        for number in numbers[np.isnan(self._work_left[numbers])].tolist():
            work = jobs[number].spec.work
            told = work.amount is not None and (work.measured or work.model is not None)
            self._work_left[number] = max(0.0, (work.amount or 0.0) - jobs[number].done) if told else np.inf
        return self._work_left[numbers]

    def progress(self, job: JobRecord, attempt: Attempt, time_us: int, done: float, *, absolute: bool) -> None:
        """Book the time behind a report of progress; to be called before the attempt is changed.

        `absolute`: the forecast rate is in the job's own unit, so that progress can be measured by it.
        """
        span = span_of_progress(job, attempt, time_us, done) if self.shares else None
        if span is None:
            return
        since_us, until_us, work = span
        part = productive_millionths(work, until_us - since_us, attempt.allocation.rate if absolute else 0.0)
        for share in self._about(job):
            amounts = share.amounts(attempt.allocation, *self.amounts(attempt.allocation))
            share.credit(job.number, since_us, until_us, amounts, part)

    def note_reason(self, job: JobRecord, reason: Reason | None, time_us: int) -> None:
        """The job waits for this reason from now on; None: it waits no longer."""
        if not self.shares:
            return
        found = held_start(reason, time_us, self._units, self._h20_equivalents(job, reason))
        for share in self.shares:
            start = found[1] if found is not None and found[0] == share.rule.id else None
            if start is not None or job.number in share.held:
                share.note(job.number, start, time_us)

    def _h20_equivalents(self, job: JobRecord, reason: Reason | None) -> float:
        if reason is None or reason.code is not ReasonCode.DOMESTIC_SHARE_HOLD:
            return 0.0
        chip, unit = self.catalog.get(reason.accelerator), self.catalog.get(REFERENCE)
        here = rate_of(job.spec.work, chip, reason.need, self.catalog) if chip else None
        single = rate_of(job.spec.work, unit, 1, self.catalog) if unit else None
        return here.value / single.value if here and single and single.value > 0 else 0.0

    def _about(self, job: JobRecord) -> list[UsedShare]:
        return [share for share in self.shares if share.counts(job.spec.tenant)]

    def forget_running(self) -> None:
        """Before everything that is held is booked anew."""
        for share in self.shares:
            share.forget_running()

    def image(self) -> tuple[ShareImage, ...]:
        return tuple(share.image() for share in self.shares)

    def restore(self, images: Iterable[ShareImage]) -> None:
        by_id = {image.id: image for image in images}
        for share in self.shares:
            if share.rule.id in by_id:
                share.restore(by_id[share.rule.id])
