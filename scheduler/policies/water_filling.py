"""Max-min fairness to the end: level by level, whoever cannot gain keeps what it has, and the others go on.

Weights may come from a tree of tenants: each splits its own among its children that still go on, so that the weight of
whoever is through returns to its siblings (Narayanan et al., OSDI 2020, section 4.3). Jobs that come to the end of
their fastest option on the way do not make a level of their own: all of them up to the next level are found at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.policies.kernels import COMPILED
from scheduler.policies.shares import Shares, ShareSolution, fastest_of
from scheduler.policies.shares_level import Level, Linear, Rows, highest

__all__ = ["TenantTree", "water_filling"]

Int = NDArray[np.int64]
Real = NDArray[np.float64]
Flag = NDArray[np.bool_]

NONE = -1
SURE = 1e-7
"""What is asked counts as met within this part of it."""

SLACK, WORTHLESS = 1e-4, 1e-5
"""A row with so much to spare, or with so small a part of all prices, holds nobody back."""

LEVELS = 100

INNER = 10
"""Each level is solved to so small a part of the gap that was asked for: later levels get what earlier ones leave."""


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
) -> ShareSolution:
    """Shares under which nobody can gain but at the cost of whoever has less for its weight float64[n].

    `level`, `bound` and `prices` are those of the first level, `gap` is the greatest of all levels.
    """
    rows, kept = problem.rows(compiled)
    filling = _Filling(rows, weight, tree, gap, rounds)
    found: list[Level] = []
    while filling.active.any() and len(found) < LEVELS:
        found.append(filling.next_level())
    prices = np.zeros(len(problem.available))
    if not found:
        return ShareSolution(filling.share, np.inf, np.inf, 0.0, prices, "bound")
    prices[kept] = found[0].prices / problem.available[kept]
    worst = max((f.bound - f.level) / f.bound if 0 < f.bound < np.inf else 0.0 for f in found)
    stopped = "levels" if filling.active.any() else "bound" if worst <= 1.5 * gap else "rounds"
    return ShareSolution(filling.share, found[0].level, found[0].bound, max(worst, 0.0), prices, stopped)


class _Filling:
    def __init__(self, rows: Rows, weight: Real, tree: TenantTree | None, gap: float, rounds: int) -> None:
        self._rows, self._weight, self._tree, self._gap, self._rounds = rows, weight, tree, gap, rounds
        self._fastest = fastest_of(rows)
        self.active = (self._fastest > 0) & (weight > 0)
        self.share = np.zeros(len(rows.speed))
        self._floor = np.zeros(len(weight))
        self._warm = np.ones((1, len(rows.available)))
        self._ease = gap / INNER  # floors that are just met would leave no room for any mix of columns

    def next_level(self) -> Level:
        """Raises all active jobs as far as they go together, and leaves active those that can still gain."""
        before = self._split(self.active)
        self._let_the_fast_go()
        weights = self._split(self.active)
        asked = Linear(weights, self._floor * (1 - self._ease), self._fastest)
        if not self.active.any():
            level = Linear(before, self._floor, self._fastest).reached(self._floor)
            return Level(level, level, self.share, np.zeros(len(self._rows.available)), self._warm)
        start = asked.reached(self._rows.throughput(self.share)), self.share
        found = highest(self._rows, asked, start, self._warm, self._gap / INNER, self._rounds)
        self._warm = found.mixed if len(found.mixed) else self._warm
        self._keep(found.share, np.maximum(weights * found.level, self._floor))
        if found.bound >= asked.most * (1 - SURE):
            through = self.active & (self._fastest <= weights * asked.most * (1 + SURE))
        else:
            through = self.active & self._held_back(found)
        self.active &= ~(through if through.any() else self.active)
        return found

    def _split(self, active: Flag) -> Real:
        return np.where(active, self._weight, 0.0) if self._tree is None else self._tree.split(self._weight, active)

    def _keep(self, share: Real, floor: Real) -> None:
        self.share = share
        self._floor = np.minimum(floor, self._rows.throughput(share))

    def _held_back(self, found: Level) -> Flag:
        """Jobs that pay for each bit more, once what is not scarce is free."""
        rows = self._rows
        scarce = (rows.load(found.share) >= 1 - SLACK) & (found.prices >= WORTHLESS)
        cost = rows.cost(np.where(scarce, found.prices, 0.0))
        beyond = np.minimum(self._floor * (1 + 10 * self._gap), self._fastest)
        _, _, slope, _ = rows.spend(cost, beyond, np.zeros(len(beyond)))
        return slope > 0

    def _let_the_fast_go(self) -> None:
        """Ends at their fastest all jobs that reach it before rows hold the others back."""
        held, low = self.active, 0.0
        high = np.inf
        while held.any():
            weights = self._split(held)
            moves = np.flatnonzero(held)
            ends = np.unique(self._fastest[moves] / weights[moves])
            ends = ends[(ends > low) & (ends < high)]
            if not len(ends):
                break
            level = float(ends[(len(ends) - 1) // 2])
            later, asked = self._at(level)
            met = self._meets(asked)
            if met is None:
                high = level
                continue
            low, held = level, later
            self._keep(met.share, asked)
        self.active = held

    def _at(self, level: float) -> tuple[Flag, Real]:
        """Who still goes on at a level, and what it asks of all."""
        active = self.active
        while True:
            weights = self._split(active)
            through = active & (weights * level >= self._fastest * (1 - 1e-12))
            if not through.any():
                break
            active = active & ~through
        ended = self.active & ~active
        return active, np.where(ended, self._fastest, np.maximum(weights * level, self._floor))

    def _meets(self, asked: Real) -> Level | None:
        asked = asked * (1 - self._ease)
        target = Linear(asked, np.zeros(len(asked)), self._fastest)
        target.most = min(target.most, 1.0)
        found = highest(self._rows, target, None, self._warm, self._gap / INNER, self._rounds, enough=1 - SURE)
        if len(found.mixed):
            self._warm = found.mixed
        return found if found.level >= 1 - self._gap else None
