"""Options of jobs as rows: one per choice and cell, with what each takes from the rows of capacity and quota."""

from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.engine.rulebook import RuleBook
from scheduler.model.allocations import Allocation, Chosen
from scheduler.model.jobs import Job
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.placement.feasibility import Demand
from scheduler.placement.room import Fleet, Room
from scheduler.placement.verdict import why_never
from scheduler.profiles.options import JobOption, OptionSet, expand
from scheduler.quota.tree import UNLIMITED, TenantTree

__all__ = ["JobRows", "OptionRow", "Rows", "demands_of"]

CACHED_SPECS = 4096
"""Distinct shapes of jobs whose options are kept; arrays and traces repeat a few shapes thousands of times."""


class OptionRow(Struct, frozen=True):
    """One option in one cell. `uses` are (row, amount) pairs, rows ascending."""

    cell: int
    option: JobOption
    demands: tuple[Demand, ...]
    uses: tuple[tuple[int, int], ...]


class JobRows(Struct, frozen=True):
    """All that one job could take, and each exclusion with its reason (for ever, as the fleet is)."""

    rows: tuple[OptionRow, ...]
    excluded: tuple[tuple[Chosen, Reason], ...]


def demands_of(job: Job, option: JobOption, barred: tuple[int, ...] = ()) -> tuple[Demand, ...]:
    """What placement is asked for: one demand per role. `barred` are the groups of nodes closed to the job."""
    return tuple(
        Demand(
            role=index,
            accelerator=chosen.accelerator,
            count=chosen.count,
            granule=option.granule,
            per_device=role.resources.per_device,
            require=role.resources.topology.require,
            prefer=role.resources.topology.prefer,
            barred=barred,
        )
        for index, (role, chosen) in enumerate(zip(job.roles, option.chosen, strict=True))
    )


class Rows:
    """Numbers the rows: devices per cell and accelerator first, then every limited (tenant, resource), then users."""

    def __init__(self, fleet: Fleet, tree: TenantTree, whole: Room, book: RuleBook) -> None:
        self.fleet = fleet
        self.book = book
        self.tree = tree
        self.whole = whole
        self.capacity_rows = fleet.shelf_count
        limited = np.argwhere(tree.limit < UNLIMITED)
        self._quota_row = {(int(t), int(r)): self.capacity_rows + i for i, (t, r) in enumerate(limited)}
        self.limit: list[int] = [int(tree.limit[t, r]) for t, r in limited]
        self.names: list[str] = [f"{tree.names[t]}:{tree.resources[r]}" for t, r in limited]
        self._user_row: dict[tuple[int, str], int] = {}
        self._shapes: dict[bytes, tuple[OptionSet, tuple[tuple[int, JobOption, tuple[Demand, ...]], ...]]] = {}
        self._encoder = msgspec.json.Encoder()

    def name(self, row: int) -> str:
        """`cell/accelerator` for a row of devices, `tenant:resource` for a limit."""
        if row < self.capacity_rows:
            cell, accelerator = divmod(row, len(self.fleet.accelerators))
            return f"{self.fleet.cells[cell]}/{self.fleet.accelerators[accelerator]}"
        return self.names[row - self.capacity_rows]

    def of_job(self, job: Job, tenant: int, user: str) -> JobRows:
        """Rows of every option that the whole fleet and the whole quota could ever give."""
        barred = tuple(sorted(self.book.barred(job)))
        options, placed = self._shape(job, barred)
        excluded = list(options.excluded)
        rows = [OptionRow(c, o, d, self._uses(c, o, tenant, user)) for c, o, d in placed]
        seen = {option.chosen for _, option, _ in placed}
        for option in options.options:
            if option.chosen not in seen:
                demands = demands_of(job, option, barred)
                cells = self._cells(option.chosen)
                reason = self.book.why_closed(job, option.chosen, cells, None)
                reason = reason or (why_never(self.whole, cells, demands) if cells else None)
                if reason is None:
                    reason = Reason(code=ReasonCode.EXCEEDS_CELL, accelerator=option.chosen[0].accelerator)
                excluded.append((option.chosen[0], reason))
        return JobRows(tuple(rows), tuple(excluded))

    def _shape(
        self, job: Job, barred: tuple[int, ...]
    ) -> tuple[OptionSet, tuple[tuple[int, JobOption, tuple[Demand, ...]], ...]]:
        work = job.work
        speed = (work.work_class, work.unit, work.model, work.global_batch, work.measured)  # the amount tells no rate
        key = self._encoder.encode((job.type, [r.resources for r in job.roles], speed, job.service, barred))
        found = self._shapes.get(key)
        if found is None:
            options = expand(job, self.fleet.catalog, self.fleet.present)
            placed = tuple(
                (cell, option, demands_of(job, option, barred))
                for option in options.options
                for cell in self._cells(option.chosen)
                if why_never(self.whole, [cell], demands_of(job, option, barred)) is None
            )
            if len(self._shapes) >= CACHED_SPECS:
                self._shapes.clear()
            found = self._shapes[key] = (options, placed)
        return found

    def _cells(self, chosen: Sequence[Chosen]) -> list[int]:
        fleet = self.fleet
        return [
            cell
            for cell in range(len(fleet.cells))
            if all(len(fleet.nodes_on(fleet.shelf_of(cell, part.accelerator))) for part in chosen)
        ]

    def _uses(self, cell: int, option: JobOption, tenant: int, user: str) -> tuple[tuple[int, int], ...]:
        uses = self._limits_used(option.chosen, option.charge, tenant, user)
        for part in option.chosen:
            row = self.fleet.shelf_of(cell, part.accelerator)
            uses[row] = uses.get(row, 0) + part.count
        return tuple(sorted(uses.items()))

    def limits_used(self, allocation: Allocation, tenant: int, user: str) -> tuple[tuple[int, int], ...]:
        """What an allocation takes from the limits above it: (row, amount)."""
        return tuple(self._limits_used(allocation.chosen, allocation.charge, tenant, user).items())

    def _limits_used(self, chosen: tuple[Chosen, ...], charge: int, tenant: int, user: str) -> dict[int, int]:
        uses: dict[int, int] = {}
        for column, amount in self.tree.uses(chosen, charge):
            for level in self.tree.paths[tenant]:
                row = self._quota_row.get((level, column))
                if row is not None:
                    uses[row] = amount
        if self.tree.user_limit[tenant] < UNLIMITED:
            uses[self._row_of_user(tenant, user)] = sum(part.count for part in chosen)
        return uses

    def _row_of_user(self, tenant: int, user: str) -> int:
        row = self._user_row.get((tenant, user))
        if row is None:
            row = self._user_row[tenant, user] = self.capacity_rows + len(self.limit)
            self.limit.append(self.tree.user_limit[tenant])
            self.names.append(f"{self.tree.names[tenant]}:user:{user}")
        return row

    def limits(self) -> NDArray[np.int64]:
        """int64[rows - capacity_rows]"""
        return np.array(self.limit, dtype=np.int64)
