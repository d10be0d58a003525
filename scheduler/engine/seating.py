"""Choice meets nodes: where each chosen job goes, who has to leave for it, and what must wait until they have left."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.asking import recent_demands
from scheduler.engine.carried import CARRY, named
from scheduler.engine.leaving import Leaving
from scheduler.engine.options import OptionRow
from scheduler.engine.problem import Candidates
from scheduler.engine.records import JobRecord
from scheduler.engine.snapshot import Snapshot
from scheduler.engine.sparing import elsewhere
from scheduler.engine.statement import Statement
from scheduler.engine.transitions import notice_us
from scheduler.model.allocations import Allocation
from scheduler.model.lifecycle import JobState, StopCause
from scheduler.model.plan import PlannedStart, PlannedStop
from scheduler.placement.registry import strategy_named
from scheduler.policies import NONE, Choice, Problem

__all__ = ["FIRST", "Seating"]

FIRST: Final = "first:"
"""Begins the names under which those for whom others move are carried, with the position of their option."""

MOST_EXCHANGED: Final = 256
"""So often in one cycle is a promised place sought elsewhere, so that another may start on what is idle of it."""


class Seating:
    """Two hypotheses side by side: `now` as it is, and `soon`, when all that is told to stop has left. They are one and
    the same until something is told to stop.

    A job whose place is free in both starts. One whose place is free only soon is `pending`: its place is kept for it,
    unless somebody could start at once on what is idle of it, and it finds another as good.
    """

    def __init__(self, snapshot: Snapshot, who: Candidates, leaving: set[int], now_us: int) -> None:
        self.snapshot = snapshot
        self.now_us = now_us
        shut = partial(snapshot.windows.shut, now_us=now_us)
        self.now = self.soon = Statement(snapshot.room, snapshot.ledger, shut)
        self.starts: list[PlannedStart] = []
        self.pending: dict[int, Allocation] = {}
        self.moving: set[int] = set()
        self._promised: dict[int, tuple[OptionRow, Allocation]] = {}  # of all who have to wait for their place
        self.deferred: set[int] = set()  # might have had a place, but too many leave already in this cycle
        self.victims: dict[int, int] = {}  # number of the victim -> number of the job that needs its devices
        placement, seed = snapshot.config.policy.placement, snapshot.version
        self.strategy = strategy_named(placement, snapshot.fleet, seed, lambda: recent_demands(snapshot))
        self._exchanges = MOST_EXCHANGED
        self._budget = snapshot.config.policy.max_preemptions_per_cycle
        self.firsts: dict[int, int] = {}  # for whom others move: number -> position of the option
        for number in {*who.stopping.tolist(), *leaving}:
            self._release(number)
        self._seat_firsts()

    def _seat_firsts(self) -> None:
        """Those for whom others move take their place before anybody else could, or give up the claim to it."""
        for name, place in named(CARRY + FIRST, self.snapshot.prices):
            number, position = int(name.removeprefix(CARRY + FIRST)), int(place)
            job, rows = self.snapshot.jobs[number], self.snapshot.rows_of.get(number)
            if job.state is not JobState.WAITING or rows is None or position >= len(rows.rows):
                continue
            allocation = self._fit_soon(job, rows.rows[position])
            if allocation is not None:
                self.firsts[number] = position
                self._settle(job, rows.rows[position], allocation, [])

    def seat(self, problem: Problem, choice: Choice) -> set[tuple[int, int]]:
        """Place every waiting job that was given an option; returns the (number, option position) that found no room.

        Jobs that the policy displaced leave only if a place needs what they hold; those that it moves, only for a place
        that will be there.
        """
        for number in problem.number[self._changing(problem, choice)].tolist():
            self._release(number)
        leaving = Leaving(self.snapshot, problem, choice, self.now_us)
        homeless: set[tuple[int, int]] = set()
        changes = (choice.option != NONE) & (choice.option != problem.current)
        for index in choice.order[changes[choice.order]].tolist():
            number = int(problem.number[index])
            if number in self.firsts:
                continue
            position = int(choice.option[index] - problem.ptr[index])
            others = elsewhere(self.snapshot, problem, int(index), position)
            found = self._place(number, position, leaving.before(int(problem.right[index])), others)
            if problem.current[index] == NONE:
                homeless |= set() if found or number in self.deferred else {(number, position)}
            elif not found and not self._spare(number):  # it would have stayed, but its place is taken already
                self.moving.add(number)
        return homeless

    def seat_greedily(self, problem: Problem, numbers: set[int]) -> None:
        """Give each of `numbers` the best of its open options that fits without anybody leaving."""
        for index in np.flatnonzero(np.isin(problem.number, sorted(numbers))).tolist():
            span = np.arange(problem.ptr[index], problem.ptr[index + 1])
            for option in span[np.argsort(problem.rank[span], kind="stable")].tolist():
                position = int(option - problem.ptr[index])
                if problem.open[option] and self._place(int(problem.number[index]), position, []):
                    break

    def is_seated(self, number: int) -> bool:
        return number in self.pending or any(start.job == number for start in self.starts)

    def is_leaving(self, number: int) -> bool:
        """Whether the job is told to stop in this cycle, or leaves already."""
        return number in self.victims or number in self.moving

    def is_scattered(self, row: OptionRow) -> bool:
        """Whether the option's devices will be idle, by number, and it found no place all the same."""
        return self._is_room_for(row)

    def shift(self, number: int, position: int, movers: Sequence[int]) -> bool:
        """Move running jobs within their cell so that the waiting job finds a place, or leave all as it is."""
        if len(self.victims) + len(self.moving) + len(movers) > self._budget:
            return False
        moment = self.soon.checkpoint()
        rows, current = self.snapshot.rows_of, self.snapshot.columns.job("current")
        row = rows[number].rows[position]
        for mover in movers:
            self._release(mover)
        seats: dict[int, Allocation] = {}
        for who, wanted in ((number, row), *((m, rows[m].rows[int(current[m])]) for m in movers)):
            job = self.snapshot.jobs[who]
            allocation = self._fit_soon(job, wanted)
            if allocation is None:
                self.soon.rollback(moment)
                return False
            self.soon.take(*self._payer(job), allocation)
            seats[who] = allocation
        self.pending[number] = seats[number]
        self.firsts[number] = position
        self.moving.update(movers)
        return True

    def stops(self) -> tuple[PlannedStop, ...]:
        """Who is told to leave: victims for others, and jobs that change their devices or their size."""
        found = {v: self._stop(v, StopCause.PREEMPT, for_job) for v, for_job in self.victims.items()}
        for number in self.moving:
            found.setdefault(number, self._stop(number, StopCause.RESIZE, -1))
        return tuple(found[number] for number in sorted(found))

    def _stop(self, number: int, cause: StopCause, for_job: int) -> PlannedStop:
        job = self.snapshot.jobs[number]
        return PlannedStop(number, cause, self.now_us + notice_us(job, self.snapshot.config.policy), for_job)

    @staticmethod
    def _changing(problem: Problem, choice: Choice) -> NDArray[np.bool_]:
        """bool[n]: jobs that hold an option and were given another."""
        found: NDArray[np.bool_] = problem.current != NONE
        found &= (choice.option != NONE) & (choice.option != problem.current)
        return found

    def _place(self, number: int, position: int, leaving: Iterable[int], others: Iterable[int] = ()) -> bool:
        """Where the option at `position` fits, else where one of `others` does, else once some `leaving` are gone."""
        job, rows = self.snapshot.jobs[number], self.snapshot.rows_of[number].rows
        row = rows[position]
        moment = self.soon.checkpoint()
        allocation = self._fit_soon(job, row)
        for other in others if allocation is None and job.attempt is None else ():
            allocation = self._fit_soon(job, rows[other]) if self._is_room_for(rows[other]) else None
            if allocation is not None:
                row = rows[other]
                break
        needed: list[int] = []
        for victim in self._in_the_way(row, leaving) if allocation is None else ():
            if self.victims and len(self.victims) + len(self.moving) + len(needed) >= self._budget:
                self.deferred.add(number)
                break
            self._release(victim)
            needed.append(victim)
            allocation = self._fit_soon(job, row) if self._is_room_for(row) else None
            if allocation is not None:
                break
        if allocation is None:
            self.soon.rollback(moment)
            return False
        self._settle(job, row, allocation, needed)
        return True

    def _settle(self, job: JobRecord, row: OptionRow, allocation: Allocation, needed: list[int]) -> None:
        """Take the place, or one on which the job can start at once, and spare the victims that turn out not to be
        needed."""
        self.soon.take(*self._payer(job), allocation)
        if not self._starts(job, allocation):
            others = self._at_once(job, row, allocation)
            if others is None:
                self._promise(job, row, allocation)
            else:
                needed = [*needed, *(v for v, for_job in self.victims.items() if for_job in others)]
        for victim in needed:
            if not self._spare(victim):
                self.victims.setdefault(victim, job.number)
            else:
                self.victims.pop(victim, None)

    def _starts(self, job: JobRecord, allocation: Allocation) -> bool:
        """Start the job on the place that it has taken, unless it has to stop first or others have."""
        if job.attempt is not None or not (self.now is self.soon or self._is_free_now(job, allocation)):
            return False
        if self.now is not self.soon:
            self.now.take(*self._payer(job), allocation)
        self.starts.append(PlannedStart(job.number, allocation))
        return True

    def _promise(self, job: JobRecord, row: OptionRow, allocation: Allocation) -> None:
        """Keep the place until it is free, and until the job has left the one that it has."""
        self._promised[job.number] = row, allocation
        if job.attempt is None:
            self.pending[job.number] = allocation
        elif job.state is not JobState.STOPPING:
            self.moving.add(job.number)

    def _at_once(self, job: JobRecord, row: OptionRow, allocation: Allocation) -> set[int] | None:
        """Start the job on idle devices instead of what it was given, if all to whom these were promised find their
        options elsewhere; those, or None where the job has to wait."""
        if job.attempt is not None or job.number in self.firsts or self._exchanges <= 0:
            return None
        place = self.now.fit(job, self._payer(job)[0], row, self.strategy)
        if place is None:
            return None
        self._exchanges -= 1
        mine = {grant.node: grant.devices for grant in place.grants}
        others = {
            number
            for number, (_, theirs) in self._promised.items()
            if any(grant.devices & mine.get(grant.node, 0) for grant in theirs.grants)
        }
        moment = self.soon.checkpoint()
        self.soon.release(*self._payer(job), allocation)
        seats = self._seats_beside(job, place, others) if not others & self.firsts.keys() else None
        if seats is None:
            self.soon.rollback(moment)
            return None
        self._starts(job, place)
        for number, (wanted, seat) in seats.items():
            self.pending.pop(number, None)
            if self._starts(self.snapshot.jobs[number], seat):
                del self._promised[number]
            else:
                self._promise(self.snapshot.jobs[number], wanted, seat)
        return others

    def _seats_beside(
        self, job: JobRecord, place: Allocation, others: set[int]
    ) -> dict[int, tuple[OptionRow, Allocation]] | None:
        """What `others`, who give up what they were promised, have instead once the job has `place`; None if one of
        them would have nothing."""
        jobs = self.snapshot.jobs
        for number in sorted(others):
            self.soon.release(*self._payer(jobs[number]), self._promised[number][1])
        if not all(self.soon.room.has(grant) for grant in place.grants):
            return None
        self.soon.take(*self._payer(job), place)
        seats: dict[int, tuple[OptionRow, Allocation]] = {}
        for number in sorted(others):
            row = self._promised[number][0]
            seat = self._fit_soon(jobs[number], row)
            if seat is None:
                return None
            self.soon.take(*self._payer(jobs[number]), seat)
            seats[number] = row, seat
        return seats

    def _spare(self, victim: int) -> bool:
        """Put the victim back where it is, if its devices and its quota are still free soon."""
        job = self.snapshot.jobs[victim]
        attempt = job.attempt
        if attempt is None:
            return True
        tenant, user = self._payer(job)
        held = attempt.allocation
        taken = any(not self.soon.room.has_devices(grant) for grant in held.grants)
        limited = (held.chosen, held.charge, held.job_class, held.fen_per_hour)
        if taken or self.soon.ledger.shortages(tenant, user, *limited):
            return False
        self.soon.take(tenant, user, held)
        return True

    def _is_free_now(self, job: JobRecord, allocation: Allocation) -> bool:
        tenant, user = self._payer(job)
        if self.now.ledger.shortages(tenant, user, allocation.chosen, allocation.charge, allocation.job_class):
            return False
        return all(self.now.room.has(grant) for grant in allocation.grants)

    def _is_room_for(self, row: OptionRow) -> bool:
        """False where the devices that will be idle are too few by number alone, so that no search is worth it."""
        room, fleet = self.soon.room, self.snapshot.fleet
        whole = (demand for demand in row.demands if demand.whole and not demand.also)
        return all(room.index(fleet.shelf_of(row.cell, d.accelerator)).total >= d.count for d in whole)

    def _fit_soon(self, job: JobRecord, row: OptionRow) -> Allocation | None:
        tenant, _ = self._payer(job)
        return self.soon.fit(job, tenant, row, self.strategy)

    def _in_the_way(self, row: OptionRow, leaving: Iterable[int]) -> Iterator[int]:
        """Those to leave that hold anything of what the option takes: devices of its cell, or quota above it."""
        wanted = {use for use, _ in row.uses}
        current, rows_of = self.snapshot.columns.job("current"), self.snapshot.rows_of
        for number in leaving:
            if number in self.victims:
                continue
            if any(use in wanted for use, _ in rows_of[number].rows[int(current[number])].uses):
                yield number

    def _release(self, number: int) -> None:
        job = self.snapshot.jobs[number]
        if job.attempt is not None:
            if self.now is self.soon:
                self.now = self.soon.fork()
            tenant, user = self._payer(job)
            self.soon.release(tenant, user, job.attempt.allocation)

    def _payer(self, job: JobRecord) -> tuple[int, str]:
        return self.snapshot.tenant_of(job), job.actor.user
