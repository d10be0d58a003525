"""Max-min fairness to the end: level by level, whoever cannot gain keeps what it has, and the others go on.

Weights may come from a tree of tenants: each splits its own among its children that still go on, so that the weight of
whoever is through returns to its siblings (Narayanan et al., OSDI 2020, section 4.3). Jobs that come to the end of
their fastest option on the way do not make a level of their own: all of them up to the next level are found at once.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scheduler.policies.kernels import COMPILED
from scheduler.policies.shares import Shares, ShareSolution, fastest_of
from scheduler.policies.shares_level import Level, Linear, Rows, highest

__all__ = ["Filled", "Filling", "TenantTree", "water_filling"]

Int = NDArray[np.int64]
Real = NDArray[np.float64]
Flag = NDArray[np.bool_]

NONE = -1
SURE = 1e-7
"""What is asked counts as met within this part of it."""

SLACK, WORTHLESS = 1e-4, 1e-5
"""A row with so much to spare, or with so small a part of all prices, holds nobody back."""

BOLDER = 4
"""So many times more jobs are let go at their fastest each time that there was room for the last ones."""

EASIER = np.array([1.0, 10.0, 100.0])
LEVELS = 100

INNER = 10
"""Each level is solved to so small a part of the gap that was asked for: later levels get what earlier ones leave."""


@dataclass(frozen=True, slots=True)
class Filling:
    """One level: who goes on at which weight, what all keep, how far it goes, and who ends there; [n] each."""

    weight: Real
    floor: Real
    level: float
    bound: float
    through: Flag


@dataclass(frozen=True, slots=True)
class Filled(ShareSolution):
    """`level`, `bound` and `prices` are those of the first level, `gap` is the greatest of all levels."""

    levels: tuple[Filling, ...]


@dataclass(frozen=True, slots=True)
class TenantTree:
    """Tenant of each job, parent (NONE at the top) and weight of each tenant. Jobs stand beside sub-tenants."""

    tenant: Int  # [n]
    parent: Int  # [t]
    weight: Real  # [t]

    def split(self, weight: Real, active: Flag) -> Real:
        """float64[n]: the part of each active job: its weight of those of its tenant's children, up to the top."""
        there, jobs = np.zeros(len(self.parent), dtype=np.bool_), np.where(active, weight, 0.0)
        there[self.tenant[active]] = True
        layers = self._layers()
        children = np.bincount(self.tenant, weights=jobs, minlength=len(self.parent))
        for layer in layers[:0:-1]:
            inside = layer[there[layer]]
            there[self.parent[inside]] = True
            np.add.at(children, self.parent[inside], self.weight[inside])
        part = self.weight.astype(np.float64)
        for layer in layers[1:]:
            above = self.parent[layer]
            part[layer] *= np.divide(part[above], children[above], out=np.zeros(len(layer)), where=children[above] > 0)
        total = children[self.tenant]
        return jobs * np.divide(part[self.tenant], total, out=np.zeros(len(jobs)), where=total > 0)

    def _layers(self) -> list[Int]:
        depth, above = np.zeros(len(self.parent), dtype=np.int64), self.parent.copy()
        while (above != NONE).any():
            depth += above != NONE
            above = np.where(above != NONE, self.parent[above], NONE)
        return [np.flatnonzero(depth == d) for d in range(int(depth.max(initial=0)) + 1)]


def water_filling(
    problem: Shares,
    weight: Real,
    *,
    tree: TenantTree | None = None,
    gap: float = 1e-6,
    rounds: int = 400,
    compiled: bool = COMPILED,
) -> Filled:
    """Shares under which nobody can gain but at the cost of whoever has less for its weight float64[n]."""
    rows, kept = problem.rows(compiled)
    filling = _Levels(rows, weight, tree, gap, rounds)
    while filling.active.any() and len(filling.done) < LEVELS:
        filling.next_level()
    prices, found = np.zeros(len(problem.available)), tuple(filling.done)
    if not found:
        return Filled(filling.share, np.inf, np.inf, 0.0, prices, "bound", found)
    prices[kept] = filling.prices / problem.available[kept]
    worst = max((f.bound - f.level) / f.bound if 0 < f.bound < np.inf else 0.0 for f in found)
    stopped = "levels" if filling.active.any() else "bound" if worst <= 1.5 * gap else "rounds"
    return Filled(filling.share, found[0].level, found[0].bound, max(worst, 0.0), prices, stopped, found)


class _Levels:
    def __init__(self, rows: Rows, weight: Real, tree: TenantTree | None, gap: float, rounds: int) -> None:
        self._rows, self._weight, self._tree, self._gap, self._rounds = rows, weight, tree, gap, rounds
        self._fastest = fastest_of(rows)
        self.active = (self._fastest > 0) & (weight > 0)
        self.share = np.zeros(len(rows.speed))
        self.prices = np.zeros(len(rows.available))
        self.done: list[Filling] = []
        self._floor = np.zeros(len(weight))
        self._warm = np.ones((1, len(rows.available)))
        self._ease = gap / INNER  # floors that are just met would leave no room for any mix of columns

    def next_level(self) -> None:
        """Raises all active jobs as far as they go together, and leaves active those that can still gain."""
        begun, before = self.active, self._split(self.active)
        self._let_the_fast_go()
        weights = self._split(self.active)
        if not self.active.any():
            level = Linear(before, self._floor, self._fastest).reached(self._floor)
            self.done.append(Filling(before, self._floor * (1 - self._ease), level, level, begun))
            return
        found, asked = self._highest(weights)
        self._warm = found.mixed if len(found.mixed) else self._warm
        self._keep(found.share, np.maximum(weights * found.level, self._floor))
        if found.bound >= asked.most * (1 - SURE):
            through = self.active & (self._fastest <= weights * asked.most * (1 + SURE))
        else:
            held, unheld = self._held_back(found)
            through = self.active & held
            self._fastest = np.where(self.active & ~held, np.minimum(self._fastest, unheld), self._fastest)
        through = through if through.any() else self.active
        self.active = self.active & ~through
        if not self.done:
            self.prices = found.prices
        self.done.append(Filling(weights, asked.floor, found.level, found.bound, begun & ~self.active))

    def _highest(self, weights: Real) -> tuple[Level, Linear]:
        """Where the floors take all there is but for what they are eased, a mix may need a little more of that."""
        reached = self._rows.throughput(self.share)
        for ease in self._ease * EASIER:
            asked = Linear(weights, self._floor * (1 - ease), self._fastest)
            start = asked.reached(reached), self.share
            found = highest(self._rows, asked, start, self._warm, self._gap / INNER, self._rounds)
            if found.bound - found.level <= self._gap * found.bound:
                break
        return found, asked

    def _split(self, active: Flag) -> Real:
        return np.where(active, self._weight, 0.0) if self._tree is None else self._tree.split(self._weight, active)

    def _keep(self, share: Real, floor: Real) -> None:
        self.share = share
        self._floor = np.minimum(floor, self._rows.throughput(share))

    def _held_back(self, found: Level) -> tuple[Flag, Real]:
        """Jobs that pay for each bit more, once what is not scarce is free, and how fast each is on what is free: all
        that is scarce goes to those who pay, so the others never get more than that."""
        rows = self._rows
        scarce = (rows.load(found.share) >= 1 - SLACK) & (found.prices >= WORTHLESS)
        cost = rows.cost(np.where(scarce, found.prices, 0.0))
        beyond = np.minimum(self._floor * (1 + 10 * self._gap), self._fastest)
        _, _, slope, _ = rows.spend(cost, beyond, np.zeros(len(beyond)))
        return slope > 0, fastest_of(replace(rows, speed=np.where(cost > 0, 0.0, rows.speed)))

    def _let_the_fast_go(self) -> None:
        """Ends at their fastest all jobs that reach it before rows hold the others back: more and more of them at once
        while there is room, then fewer and fewer."""
        active, floor, ends, more = self.active, self._floor, 1, True
        while ends and active.any():
            later, asked = self._after(active, floor, ends)
            met = self._meets(asked)
            if met is not None:
                active, floor = later, asked
                self._keep(met.share, asked)
            more &= met is not None
            ends = ends * BOLDER if more else ends // 2
        self.active = active

    def _after(self, active: Flag, floor: Real, ends: int) -> tuple[Flag, Real]:
        """Who still goes on after the next `ends` ends, and what all have then. Within a tree each end gives its weight
        to others, so one follows from the other."""
        while ends > 0 and active.any():
            weights = self._split(active)
            reach = self._fastest[active] / weights[active]
            at = min(ends, len(reach)) - 1 if self._tree is None else 0
            level = float(np.partition(reach, at)[at])
            through = active & (weights * level >= self._fastest * (1 - 1e-12))
            floor = np.where(active, np.minimum(np.maximum(weights * level, floor), self._fastest), floor)
            active = active & ~through
            ends -= int(np.count_nonzero(through))
        return active, floor

    def _meets(self, asked: Real) -> Level | None:
        asked = asked * (1 - self._ease)
        target = Linear(asked, np.zeros(len(asked)), self._fastest)
        target.most = min(target.most, 1.0)
        found = highest(self._rows, target, None, self._warm, self._gap / INNER, self._rounds, enough=1 - SURE)
        if len(found.mixed):
            self._warm = found.mixed
        return found if found.level >= 1 - self._gap else None
