"""Options of jobs as rows: one per choice and cell, with what each takes from the rows of capacity and quota."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy as shallow
from typing import Self

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.engine.learned import Learned
from scheduler.engine.rulebook import RuleBook
from scheduler.model.allocations import Allocation, Chosen
from scheduler.model.jobs import Job
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.tenants import COMPUTE_UNITS, MONEY, JobClass
from scheduler.model.units import WHOLE_DEVICE
from scheduler.placement.feasibility import Demand
from scheduler.placement.room import Fleet, Room
from scheduler.placement.verdict import why_never
from scheduler.policies import Certificate
from scheduler.profiles.observed import Correction
from scheduler.profiles.options import JobOption, OptionSet, expand
from scheduler.quota.budgets import BudgetUse
from scheduler.quota.tree import TIERS, TenantTree, tier_of

__all__ = ["JobRows", "OptionRow", "Rows", "demands_of"]

STANDARD = tier_of(JobClass.STANDARD)

CACHED_SPECS = 8192
"""Distinct shapes of jobs whose options are kept; arrays and traces repeat a few shapes thousands of times."""


class OptionRow(Struct, frozen=True, gc=False):
    """One option in one cell. `uses` are (row, amount) pairs, rows ascending."""

    cell: int
    option: JobOption
    demands: tuple[Demand, ...]
    uses: tuple[tuple[int, int], ...]


class JobRows(Struct, frozen=True, gc=False):
    """All that one job could take, and each exclusion with its reason (for ever, as the fleet is).

    `opens_us` are the waits after which an option opens, each once, ascending. Jobs whose rows have the same number
    `alike` have the same options, under limits of their own.
    """

    rows: tuple[OptionRow, ...]
    excluded: tuple[tuple[Chosen, Reason], ...]
    opens_us: tuple[int, ...] = ()
    alike: int = 0


class _Shape(Struct, frozen=True, gc=False):
    """What jobs that ask for the same have in common: `placed` are (cell, option, demands, devices by row)."""

    options: OptionSet
    placed: tuple[tuple[int, JobOption, tuple[Demand, ...], tuple[tuple[int, int], ...]], ...]
    nowhere: tuple[JobOption, ...]  # options that no cell could ever hold
    opens_us: tuple[int, ...]
    number: int  # from 1; given once


def demands_of(job: Job, option: JobOption, barred: tuple[int, ...] = ()) -> tuple[Demand, ...]:
    """What placement is asked for: one demand per role. `barred` are the groups of nodes closed to the job."""
    return tuple(
        Demand(
            role=index,
            accelerator=chosen.accelerator,
            count=chosen.count,
            thousandths=chosen.thousandths,
            granule=option.granule,
            per_device=role.resources.per_device,
            require=role.resources.topology.require,
            prefer=role.resources.topology.prefer,
            barred=barred,
        )
        for index, (role, chosen) in enumerate(zip(job.roles, option.chosen, strict=True))
    )


class Rows:
    """Numbers the rows: devices per cell and accelerator, every limited (class, tenant, resource), then users.

    Rows of limits count devices in thousandths.
    """

    def __init__(
        self, fleet: Fleet, tree: TenantTree, whole: Room, book: RuleBook, learned: Learned, idle_charge: float = 1.0
    ) -> None:
        self.learned = learned
        self.idle_charge = idle_charge  # the part of its charge that an opportunistic job pays
        self.fleet = fleet
        self.book = book
        self.tree = tree
        self.whole = whole
        self.capacity_rows = fleet.shelf_count
        self._limited = np.nonzero(tree.limited)  # tiers, tenants, resources
        places = zip(*(part.tolist() for part in self._limited), strict=True)
        self._quota_row = {place: self.capacity_rows + i for i, place in enumerate(places)}
        self._refusing = tree.refuses[self._limited[1:]] & (self._limited[0] == 0)  # rows of a tenant's own jobs alone
        self.limit: list[int] = np.where(self._refusing, 0, tree.limits[self._limited]).tolist()
        self.names: list[str] = [_name_of(tree, *place) for place in self._quota_row]
        self._rows_at: dict[int, list[tuple[int, int, int]]] = {}  # by tenant: (class, resource, row)
        for (tier, tenant, resource), row in self._quota_row.items():
            self._rows_at.setdefault(tenant, []).append((tier, resource, row))
        money = [tree.resource_index[COMPUTE_UNITS], tree.resource_index[MONEY]]
        self.frozen = np.flatnonzero(np.isin(self._limited[2], money))  # limits on what is frozen by each grant
        self._user_row: dict[tuple[int, str], int] = {}
        self._limiting_rows: dict[tuple[int, int], dict[int, list[int]]] = {}
        self._shapes: dict[bytes, _Shape] = {}
        self._fitting: dict[tuple[int, tuple[Demand, ...]], bool] = {}
        self._numbers: dict[str, int] = {}
        self.proof: tuple[tuple[float, int], Certificate] | None = None  # last read, see engine.between
        self._numbered = 0
        self._last: tuple[Job, int, str, JobRows] | None = None
        self._encoder = msgspec.json.Encoder()

    def fork(self, tree: TenantTree, book: RuleBook, learned: Learned) -> Self:
        """The same rows for an independent copy of the state, to which later ones are added apart."""
        copy = shallow(self)
        copy.tree, copy.book, copy.learned = tree, book, learned
        copy.limit, copy.names, copy._user_row = self.limit.copy(), self.names.copy(), self._user_row.copy()
        copy._shapes, copy._numbers = self._shapes.copy(), self._numbers.copy()
        return copy

    def name(self, row: int) -> str:
        """`cell/accelerator` for a row of devices, `tenant:resource` for a limit, with `:production` or `:ceiling`."""
        if row < self.capacity_rows:
            cell, accelerator = divmod(row, len(self.fleet.accelerators))
            return f"{self.fleet.cells[cell]}/{self.fleet.accelerators[accelerator]}"
        return self.names[row - self.capacity_rows]

    def numbers(self) -> Mapping[str, int]:
        """The number of each row by its name."""
        first = len(self._numbers)
        for row in range(first, self.capacity_rows + len(self.limit)):
            self._numbers[self.name(row)] = row
        return self._numbers

    def forget(self) -> None:
        """Something was learnt: the rows of the job that was looked at last may have changed."""
        self._last = None

    def of_job(self, job: Job, tenant: int, user: str) -> JobRows:
        """Rows of every option that the whole fleet and the whole quota could ever give."""
        last = self._last  # a job is looked at when it asks to enter and when it does; members of an array share one
        if last is not None and last[0] is job and last[1:3] == (tenant, user):
            return last[3]
        barred = tuple(sorted(self.book.barred(job)))
        shape = self._shape(job, barred)
        excluded = list(shape.options.excluded)
        for option in shape.nowhere:
            demands = demands_of(job, option, barred)
            cells = self._cells(option.chosen)
            reason = self.book.why_closed(job, option.chosen, cells, None)
            reason = reason or (why_never(self.whole, cells, demands) if cells else None)
            if reason is None:
                reason = Reason(code=ReasonCode.EXCEEDS_CELL, accelerator=option.chosen[0].accelerator)
            excluded.append((option.chosen[0], reason))
        found = JobRows(tuple(self._rows(shape, job, tenant, user)), tuple(excluded), shape.opens_us, shape.number)
        self._last = job, tenant, user, found
        return found

    def _rows(self, shape: _Shape, job: Job, tenant: int, user: str) -> Iterator[OptionRow]:
        """An option takes the same from the limits in whatever cell."""
        tier = tier_of(job.job_class)
        option: JobOption | None = None
        limits: tuple[tuple[int, int], ...] = ()
        for cell, wanted, demands, devices in shape.placed:
            if wanted is not option:
                option = wanted
                fen = self.tree.fen_per_hour(wanted.chosen, job.job_class)
                used = self._limits_used(wanted.chosen, wanted.charge, fen, tenant, user, tier)
                limits = tuple(sorted(used.items()))
            yield OptionRow(cell, wanted, demands, devices + limits)

    def _shape(self, job: Job, barred: tuple[int, ...]) -> _Shape:
        work = job.work
        speed = (work.work_class, work.unit, work.model, work.global_batch, work.measured)  # the amount tells no rate
        software = (work.numerics, work.engine, job.roles[0].image if self.fleet.catalog.rates else "")
        who = (job.type, job.job_class, job.service, job.deadline_us is not None)
        learned, crowded = self.learned.of(job), self.learned.crowded(job)
        key = self._encoder.encode((who, [r.resources for r in job.roles], speed, software, barred, learned, crowded))
        found = self._shapes.get(key)
        if found is None:
            if len(self._shapes) >= CACHED_SPECS:
                self._shapes.clear()
            found = self._shapes[key] = self._new_shape(job, barred, learned, crowded)
        return found

    def _new_shape(
        self, job: Job, barred: tuple[int, ...], learned: Mapping[str, Correction], crowded: Mapping[str, int]
    ) -> _Shape:
        options = expand(job, self.fleet.catalog, self.fleet.present, learned, crowded)
        if job.job_class is JobClass.OPPORTUNISTIC:
            options = _charged_less(options, self.idle_charge)
        placed, nowhere = [], []
        for option in options.options:
            demands = demands_of(job, option, barred)
            cells = [cell for cell in self._cells(option.chosen) if self._fits(cell, demands)]
            placed += [(cell, option, demands, self._devices(cell, option)) for cell in cells]
            nowhere += [] if cells else [option]
        elsewhere = {option.chosen for _, option, _, _ in placed}
        opens_us = sorted({option.after_wait_us for _, option, _, _ in placed})
        self._numbered += 1
        lost = tuple(o for o in nowhere if o.chosen not in elsewhere)
        return _Shape(options, tuple(placed), lost, tuple(opens_us), self._numbered)

    def _fits(self, cell: int, demands: tuple[Demand, ...]) -> bool:
        """Whether the cell could hold them, were it empty; asked of few demands for many jobs."""
        found = self._fitting.get((cell, demands))
        if found is None:
            if len(self._fitting) >= CACHED_SPECS:
                self._fitting.clear()
            found = self._fitting[cell, demands] = why_never(self.whole, [cell], demands) is None
        return found

    def _cells(self, chosen: Sequence[Chosen]) -> list[int]:
        fleet = self.fleet
        return [
            cell
            for cell in range(len(fleet.cells))
            if all(len(fleet.nodes_on(fleet.shelf_of(cell, part.accelerator))) for part in chosen)
        ]

    def _devices(self, cell: int, option: JobOption) -> tuple[tuple[int, int], ...]:
        """(row, devices), rows ascending: what the option takes from the shelves of the cell."""
        uses: dict[int, int] = {}
        for part in option.chosen:
            row = self.fleet.shelf_of(cell, part.accelerator)
            uses[row] = uses.get(row, 0) + part.count
        return tuple(sorted(uses.items()))

    def admits_alone(self, row: OptionRow) -> bool:
        """Whether all limits that the option counts against are at least as large as what it takes."""
        first = self.capacity_rows
        return all(amount <= self.limit[use - first] for use, amount in row.uses if use >= first)

    def limits_used(self, allocation: Allocation, tenant: int, user: str) -> tuple[tuple[int, int], ...]:
        """What an allocation takes from the limits above it: (row, amount)."""
        tier, fen = tier_of(allocation.job_class), allocation.fen_per_hour or 0
        return tuple(self._limits_used(allocation.chosen, allocation.charge, fen, tenant, user, tier).items())

    def _limits_used(
        self, chosen: tuple[Chosen, ...], charge: int, fen: int, tenant: int, user: str, tier: int
    ) -> dict[int, int]:
        uses: dict[int, int] = {}
        limiting = self._limiting(tenant, tier)
        for column, amount in self.tree.uses(chosen, charge, fen):
            for row in limiting.get(column, ()):
                uses[row] = amount
        for level in self.tree.user_levels[tenant]:
            uses[self._row_of_user(level, user)] = sum(part.amount for part in chosen)
        return uses

    def _limiting(self, tenant: int, tier: int) -> dict[int, list[int]]:
        """Rows of limits by column: those that count the tier, at the tenant and above it."""
        found = self._limiting_rows.get((tenant, tier))
        if found is None:
            found = self._limiting_rows[tenant, tier] = {}
            for level in self.tree.paths[tenant]:
                for counted, column, row in self._rows_at.get(level, ()):
                    if counted >= tier and (level == tenant or not self._refusing[row - self.capacity_rows]):
                        found.setdefault(column, []).append(row)
        return found

    @property
    def first_user_row(self) -> int:
        """Rows from here on limit a user, those before it devices and tenants."""
        return self.capacity_rows + len(self._quota_row)

    def _row_of_user(self, tenant: int, user: str) -> int:
        row = self._user_row.get((tenant, user))
        if row is None:
            row = self._user_row[tenant, user] = self.capacity_rows + len(self.limit)
            self.limit.append(self.tree.user_limit[tenant])
            self.names.append(f"{self.tree.names[tenant]}:user:{user}")
        return row

    def limits(self, at_present: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """int64[rows - capacity_rows]; `at_present` are the ledger's limits, else what the tree promises."""
        found = np.array(self.limit, dtype=np.int64)
        if at_present is not None:
            found[: len(self._quota_row)] = np.where(self._refusing, 0, at_present[self._limited])
        return found

    def held(self, held: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[limits of tenants]: what the ledger's `held` says at each."""
        found: NDArray[np.int64] = held[self._limited]
        return found

    def unit(self, row: int) -> int:
        """How many of the row's amounts make one device, or one of its resource's own unit."""
        place = row - self.capacity_rows
        if place < 0:
            return 1
        return int(self.tree.unit[self._limited[2][place]]) if place < len(self._quota_row) else WHOLE_DEVICE

    def promised(self, row: int) -> int:
        """What a row of limits holds when everything promised is in service and no budget is spent."""
        return self.limit[row - self.capacity_rows]

    def present(self, row: int, limits: NDArray[np.int64]) -> int:
        """What a row of limits holds at present, where the ledger's are `limits`."""
        place = row - self.capacity_rows
        if place >= len(self._quota_row) or self._refusing[place]:
            return self.limit[place]
        return int(limits[tuple(part[place] for part in self._limited)])

    def resource(self, row: int) -> str:
        """What a row of limits counts: `h200`, `family:h20`, `compute_units`; `devices` of a user."""
        place = row - self.capacity_rows
        return self.tree.resources[self._limited[2][place]] if place < len(self._quota_row) else "devices"

    def spent_budget(self, row: int, spent: Mapping[tuple[int, int], BudgetUse]) -> BudgetUse | None:
        """The budget that makes the row short, by (tenant, column); None for no such budget."""
        place = row - self.capacity_rows
        if not spent or place >= len(self._quota_row) or self._limited[0][place] != len(TIERS) - 1:
            return None
        return spent.get((int(self._limited[1][place]), int(self._limited[2][place])))

    def nominal(self, quota: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """int64[rows]: `quota`, [tenants, resources] in devices, at rows of nominal quota and in their unit, -1 at all
        others; bool[rows]: devices of accelerators on which somebody has a nominal quota."""
        tree, rows = self.tree, self.capacity_rows + len(self.limit)
        found = np.full(rows, -1, dtype=np.int64)
        nominal = self._limited[0] == STANDARD
        places = self._limited[1][nominal], self._limited[2][nominal]
        found[self.capacity_rows : self.capacity_rows + len(nominal)][nominal] = (quota * tree.unit)[places]
        governed = np.zeros(rows, dtype=np.bool_)
        families = np.array(tree.family_of, dtype=np.int64)
        kinds = tree.governed[: len(families)] | tree.governed[families]
        governed[: self.capacity_rows] = np.tile(kinds, len(self.fleet.cells))
        return found, governed


def _charged_less(options: OptionSet, factor: float) -> OptionSet:
    charged = tuple(msgspec.structs.replace(o, charge=round(o.charge * factor)) for o in options.options)
    return OptionSet(charged, options.excluded)


def _name_of(tree: TenantTree, tier: int, tenant: int, resource: int) -> str:
    """`tenant:resource` for what standard jobs may hold; `:production` or `:ceiling` behind it for the other tiers."""
    return f"{tree.names[tenant]}:{tree.resources[resource]}{(':production', '', ':ceiling')[tier]}"
