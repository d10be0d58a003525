"""The one mutable aggregate: values plus columns, changed by folding events and by nothing else."""

from collections.abc import Iterable
from copy import copy as shallow
from typing import Self

import msgspec
from msgspec import Struct

from scheduler.engine.accounts import Accounts
from scheduler.engine.alarms import Alarms
from scheduler.engine.columns import CLASSES, NONE, STATES, Columns
from scheduler.engine.deadlines import next_alarm
from scheduler.engine.in_service import in_service
from scheduler.engine.learned import Learned
from scheduler.engine.moves import may_continue_on
from scheduler.engine.options import JobRows, Rows
from scheduler.engine.progress import note_progress, standing_of
from scheduler.engine.reasons import key_of
from scheduler.engine.records import Attempt, JobRecord
from scheduler.engine.rulebook import RuleBook
from scheduler.engine.used_shares import ShareImage, UsedShare
from scheduler.engine.windows import Windows
from scheduler.model.allocations import Allocation
from scheduler.model.cluster import Cluster, Foreign, NodeState
from scheduler.model.events import Configured
from scheduler.model.lifecycle import JobState
from scheduler.model.reservations import Reservation
from scheduler.model.tenants import JobClass, Tenant
from scheduler.model.units import FOREVER_US
from scheduler.placement.room import Fleet, Room
from scheduler.placement.verdict import whole_room
from scheduler.quota.entitlement import entitlements
from scheduler.quota.ledger import Ledger
from scheduler.quota.tree import TenantTree

__all__ = ["State", "StateImage"]


class StateImage(Struct, frozen=True, kw_only=True):
    """All that cannot be recomputed. Equal states have equal images."""

    config: Configured
    epoch: int
    version: int
    jobs: tuple[JobRecord, ...]
    node_states: tuple[tuple[int, NodeState], ...]
    foreign: tuple[Foreign, ...]
    unreachable: tuple[str, ...]
    prices: tuple[tuple[str, float], ...]
    rules: tuple[ShareImage, ...] = ()
    reservations: tuple[Reservation, ...] = ()


class State:
    """Jobs by number, and everything derived from them: room, ledger, rows, indexes.

    `alarms` tell when time alone makes something of a job due. `waiting` counts the jobs that wait, by user and tenant.
    """

    def __init__(self, config: Configured) -> None:
        self.epoch = 0
        self.version = 0
        self.jobs: list[JobRecord] = []
        self.by_id: dict[str, int] = {}
        self.columns = Columns()
        self.names: dict[tuple[str, str], int] = {}
        self.keys: dict[tuple[str, str, str], list[int]] = {}
        self.dependents: dict[int, list[int]] = {}
        self.array_held: dict[int, int] = {}
        self.alarms = Alarms()
        self._owners: dict[tuple[str, str], int] = {}
        self.waiting: dict[str, dict[str, int]] = {}
        self.prices: tuple[tuple[str, float], ...] = ()
        self.foreign: tuple[Foreign, ...] = config.cluster.foreign
        self.rows_of: dict[int, JobRows] = {}
        self._priced_us = 0
        self._configure(config)

    @classmethod
    def new(cls, config: Configured) -> Self:
        return cls(config)

    def _configure(
        self, config: Configured, shares: Iterable[UsedShare] = (), reservations: Iterable[Reservation] = ()
    ) -> None:
        # whole numbers where floats are meant would make equal states differ in their bytes
        self.config = config = msgspec.json.decode(msgspec.json.encode(config), type=Configured)
        self.fleet = Fleet(config.cluster, config.catalog)
        self._families = {chip.name: chip.family for chip in config.catalog}
        self.tree = TenantTree(config.tenants, config.catalog)
        self.room = Room(self.fleet)
        self.book = RuleBook(config, self.fleet, shares)
        whole = whole_room(self.fleet)
        self.room.closed = whole.closed = self.book.closed_nodes()
        self.tree.keep_promises(entitlements(self.tree, in_service(whole, self.tree)))
        self.ledger = Ledger(self.tree)
        self.learned = Learned(config.catalog, self.fleet.present, self.fleet.emulated)
        self.rows = Rows(self.fleet, self.tree, whole, self.book, self.learned, config.policy.opportunistic_charge)
        self.windows = Windows(config, self.fleet, reservations)
        self.accounts = Accounts(config, self.tree)
        self.tree.price(self.book.dearest(self._priced_us), config.policy.opportunistic_charge)

    def reconfigure(self, config: Configured) -> None:
        """Put another configuration in force: node states survive by name, what jobs hold stays held.

        Attempts on nodes that no longer exist keep running and hold nothing of the new fleet.
        """
        old_cluster = self.config.cluster
        states = {old_cluster.node_name(n): self.room.state_of(n) for n in self.changed_nodes()}
        self._configure(config, self.book.shares, self.windows.reservations)
        self.foreign = config.cluster.foreign
        for job in self.holding():
            job.attempts[-1].allocation = _carried(job.attempts[-1].allocation, old_cluster, self.fleet)
        for name, node_state in states.items():
            node = config.cluster.node_index(name)
            if node is not None:
                self.room.set_state(node, node_state)
        self.rebuild_derived()

    def changed_nodes(self) -> list[int]:
        """Nodes whose state is not what the configuration says."""
        fresh = Room(self.fleet)
        return [int(n) for n in (fresh.state != self.room.state).nonzero()[0]]

    @classmethod
    def from_image(cls, image: StateImage) -> Self:
        state = cls(image.config)
        for job in image.jobs:
            state._index(_forked(job))
        state.epoch = image.epoch
        state.version = image.version
        state.prices = image.prices
        state.foreign = image.foreign
        for node, node_state in image.node_states:
            state.room.set_state(node, node_state)
        for cell in image.unreachable:
            state.room.reachable[state.fleet.cells.index(cell)] = False
        state.book.restore(image.rules)
        state.windows = Windows(state.config, state.fleet, image.reservations)
        state.rebuild_derived()
        return state

    def fork(self) -> Self:
        """An independent copy for hypotheses: as through its image, without working everything out again.

        What follows from the configuration is shared, and so are jobs that have ended, which nothing changes any more.
        """
        copy = shallow(self)
        copy.jobs = [job if job.terminal else _forked(job) for job in self.jobs]
        copy.tree, copy.room, copy.ledger = shallow(self.tree), self.room.fork(), self.ledger.fork()
        copy.ledger.tree, copy.ledger.limits = copy.tree, self.ledger.limits.copy()
        copy.room.set_foreign(self.foreign)
        copy.book = self.book.fork()
        copy.accounts = self.accounts.fork(copy.tree)
        copy.learned = Learned(self.config.catalog, self.fleet.present, self.fleet.emulated)
        copy.rows = self.rows.fork(copy.tree, copy.book, copy.learned)
        copy.columns = self.columns.fork()
        copy.windows = Windows(self.config, self.fleet, self.windows.reservations)
        copy.alarms = Alarms()
        for name in ("by_id", "names", "array_held", "_owners", "rows_of"):
            setattr(copy, name, getattr(self, name).copy())
        copy.keys = {key: numbers.copy() for key, numbers in self.keys.items()}
        copy.dependents = {job: numbers.copy() for job, numbers in self.dependents.items()}
        copy.waiting = {user: counts.copy() for user, counts in self.waiting.items()}
        copy.learned.note_all(copy.jobs)
        for number in copy.rows_of:
            job = copy.jobs[number]
            if job.attempt is not None:
                copy.book.hold(job, job.attempt.allocation)
            copy.watch(job, 0)
        copy.watch_windows(0)
        return copy

    def rebuild_derived(self) -> None:
        """Recompute rows, room, ledger and indexes from the records and the configuration."""
        self.room.set_foreign(())
        self.rows_of.clear()
        self.columns = Columns()
        self.array_held.clear()
        self.alarms.clear()
        self.book.forget_running()
        self.accounts = Accounts(self.config, self.tree)
        self.learned = self.rows.learned = Learned(self.config.catalog, self.fleet.present, self.fleet.emulated)
        for job in self.jobs:
            for past in job.attempts:
                self._price(past)
        self.learned.note_all(self.jobs)
        for job in self.jobs:
            self._add_columns(job)
            for ended in job.attempts:
                self.accounts.remember(self.tenant_of(job), job, ended)
            if job.terminal:
                continue
            attempt = job.attempt
            if attempt is not None:
                self.hold(job, attempt)
            self.mark_moves(job)
            self.touch(job, 0)
        self.room.set_foreign(self.foreign)
        self.watch_windows(0)

    def tenant_of(self, job: JobRecord) -> int:
        """The tenant's number; a tenant that was deleted counts at its nearest ancestor that exists."""
        name = job.spec.tenant
        while name not in self.tree.index:
            name = name.rpartition("/")[0]
        return self.tree.index[name]

    def tenant_named(self, name: str) -> Tenant:
        """Raises KeyError for a name that no tenant has."""
        return self.config.tenants.tenants[self.tree.index[name] - 1]

    def waiting_jobs(self, tenant: str, user: str) -> int:
        """How many jobs wait that the user submitted to the tenant or to one below it."""
        counts = self.waiting.get(user, {})
        return sum(n for name, n in counts.items() if name == tenant or name.startswith(tenant + "/"))

    def count_waiting(self, job: JobRecord, by: int) -> None:
        """The job has begun (1) or ceased (-1) to wait."""
        counts = self.waiting.setdefault(job.actor.user, {})
        counts[job.spec.tenant] = counts.get(job.spec.tenant, 0) + by
        if not counts[job.spec.tenant]:
            del counts[job.spec.tenant]
        if not counts:
            del self.waiting[job.actor.user]

    def _price(self, attempt: Attempt) -> None:
        """What an older record does not tell: its cost, by the book as it is for the time of the grant."""
        if attempt.allocation.fen_per_hour is None:
            attempt.allocation = self.priced(attempt.allocation, attempt.allocated_us)

    def priced(self, allocation: Allocation, at_us: int) -> Allocation:
        """With its cost frozen at the prices of that time, by the nodes it holds."""
        fen = sum(self.book.fen_per_hour(allocation, at_us))
        if allocation.job_class is JobClass.OPPORTUNISTIC:
            fen = round(fen * self.config.policy.opportunistic_charge)
        return allocation if fen == allocation.fen_per_hour else msgspec.structs.replace(allocation, fen_per_hour=fen)

    def reprice(self, now_us: int) -> None:
        """Have what jobs could take cost what it costs now, where that changes."""
        self._priced_us = now_us
        if not self.tree.price(self.book.dearest(now_us), self.config.policy.opportunistic_charge):
            return
        self.rows.forget()
        for number in self.rows_of:
            job = self.jobs[number]
            self.rows_of[number] = self.rows.of_job(job.spec, self.tenant_of(job), job.actor.user)
        self._lay_anew()

    def hold(self, job: JobRecord, attempt: Attempt) -> None:
        self._price(attempt)
        self.room.take(attempt.allocation.grants)
        self.ledger.add(self.tenant_of(job), job.actor.user, attempt.allocation)
        self.book.hold(job, attempt.allocation)
        self.accounts.hold(self.tenant_of(job), job, attempt)
        self.columns.job("current")[job.number] = self._option_held(job, attempt)
        if job.array is not None:
            self.array_held[job.array.head] = self.array_held.get(job.array.head, 0) + 1

    def _option_held(self, job: JobRecord, attempt: Attempt) -> int:
        """The option that the attempt holds, or NONE where the configuration no longer offers it."""
        chosen, cell = attempt.allocation.chosen, attempt.cell
        rows = enumerate(self.rows_of[job.number].rows)
        return next((i for i, r in rows if r.option.chosen == chosen and self.fleet.cells[r.cell] == cell), NONE)

    def let_go(self, job: JobRecord, attempt: Attempt) -> None:
        self.room.give(attempt.allocation.grants)
        self.ledger.add(self.tenant_of(job), job.actor.user, attempt.allocation, sign=-1)
        self.book.hold(job, attempt.allocation, sign=-1)
        self.accounts.let_go(self.tenant_of(job), job, attempt)
        self.columns.job("current")[job.number] = NONE
        if job.array is not None:
            self.array_held[job.array.head] -= 1

    def enter(self, job: JobRecord) -> None:
        """Add a newly accepted job to every index."""
        self._index(job)
        self._add_columns(job)

    def _index(self, job: JobRecord) -> None:
        self.jobs.append(job)
        self.by_id[job.id] = job.number
        self.names[job.spec.tenant, job.spec.name] = job.array.head if job.array else job.number
        if job.key:
            self.keys.setdefault((job.actor.tenant, job.actor.user, job.key), []).append(job.number)
        for dependency in job.after:
            self.dependents.setdefault(dependency.job, []).append(job.number)
        if job.state is JobState.WAITING:
            self.count_waiting(job, 1)

    def _add_columns(self, job: JobRecord) -> None:
        spec = job.spec
        tenant = self.tenant_of(job)
        values: dict[str, object] = {
            "state": STATES.index(job.state),
            "job_class": CLASSES.index(spec.job_class),
            "priority": job.priority,
            "submitted_us": job.submitted_us,
            "not_before_us": job.not_before_us,
            "started_us": FOREVER_US,
            "owner": self._owners.setdefault((spec.tenant, job.actor.user), len(self._owners)),
            "gated": bool(job.after) or (spec.array is not None and spec.array.max_running > 0),
            "elastic": any(role.resources.elastic for role in spec.roles),
            "first": 0,
            "count": 0,
            "current": NONE,
            "reason": key_of(job.reason),
            **standing_of(job, tenant),
        }
        if not job.terminal:
            rows = self.rows.of_job(spec, tenant, job.actor.user)
            self.rows_of[job.number] = rows
            values.update(self._lay(rows))
        self.columns.enter(values)

    def _lay(self, rows: JobRows) -> dict[str, object]:
        return self.columns.lay(rows.rows, self.fleet.accelerator_index, self._families, rows.alike)

    def mark_moves(self, job: JobRecord) -> None:
        """Close the options to which the job's progress cannot be taken; kept from one attempt to the next."""
        rows = self.rows_of[job.number].rows
        first = int(self.columns.job("first")[job.number])
        allowed = [may_continue_on(job, row, self.fleet.catalog) for row in rows]
        self.columns.option("allowed")[first : first + len(rows)] = allowed

    def learn(self, job: JobRecord, attempt: Attempt) -> None:
        """Take in what the attempt has reported; where that changes what is expected of its kind, lay options anew."""
        if not self.learned.note(job, attempt):
            return
        self.rows.forget()
        for other in self.learned.kin(job, self.jobs, self.rows_of):
            rows = self.rows_of[other.number] = self.rows.of_job(other.spec, self.tenant_of(other), other.actor.user)
            self.columns.bury(other.number)
            place, present = self._lay(rows), other.attempt
            held = NONE if present is None else self._option_held(other, present)
            self.columns.put(other.number, {**place, "current": held})
            self.mark_moves(other)
        if self.columns.wasteful:
            self._lay_anew()

    def leave(self, job: JobRecord) -> None:
        """Drop a job that has ended from the indexes of live ones; its record stays."""
        del self.rows_of[job.number]
        self.columns.bury(job.number)
        self.alarms.set(job.number, FOREVER_US)
        if self.columns.wasteful:
            self._lay_anew()

    def _lay_anew(self) -> None:
        held = {job.number: int(self.columns.job("current")[job.number]) for job in self.holding()}
        jobs = self.columns.jobs
        self.columns = Columns()
        self.columns.jobs = jobs
        for number, rows in self.rows_of.items():
            place = self._lay(rows)
            self.columns.put(number, {**place, "current": held.get(number, NONE)})
            self.mark_moves(self.jobs[number])

    def watch_money(self, changes_us: int) -> None:
        """Have a cycle look when the period of a spent budget ends or prices change; FOREVER_US for never."""
        self.alarms.set(_MONEY, changes_us)

    def watch_windows(self, now_us: int) -> None:
        """Have a cycle look when the next reserved window ends."""
        self.alarms.set(_WINDOWS, self.windows.next_end_us(now_us))

    def watch_round(self, begins_us: int) -> None:
        """Have a cycle look when the policy's next round begins; FOREVER_US if nobody waits for it."""
        self.alarms.set(_ROUND, begins_us)

    def touch(self, job: JobRecord, now_us: int) -> None:
        """Bring the columns and the alarm of a changed job up to date."""
        attempt = job.attempt
        started_us = attempt.started_us if attempt is not None else None
        at, number = self.columns.jobs.at, job.number
        at["state"][number] = STATES.index(job.state)
        at["priority"][number] = job.priority
        at["not_before_us"][number] = job.not_before_us
        at["reason"][number] = key_of(job.reason)
        at["started_us"][number] = FOREVER_US if started_us is None else started_us
        note_progress(self.columns, job)
        self.watch(job, now_us)

    def watch(self, job: JobRecord, now_us: int) -> None:
        """Set the job's alarm to what is due next."""
        rows = self.rows_of.get(job.number)
        due_us = FOREVER_US if rows is None else next_alarm(job, rows, self.config.policy, now_us)
        self.alarms.set(job.number, due_us)

    def live_named(self, tenant: str, name: str) -> JobRecord | None:
        """The live job of that name in the tenant, or None."""
        number = self.names.get((tenant, name))
        if number is None:
            return None
        job = self.jobs[number]
        members = job.spec.array.last - job.spec.array.first + 1 if job.spec.array else 1
        return next((j for j in self.jobs[number : number + members] if not j.terminal), None)

    def holding(self) -> list[JobRecord]:
        """Jobs whose attempt holds devices, by number."""
        return [self.jobs[n] for n in self.columns.in_state(*_HOLDING).tolist()]

    @property
    def active(self) -> list[int]:
        """Numbers of the jobs that have not ended, ascending."""
        return list(self.rows_of)

    def image(self) -> StateImage:
        cells = self.fleet.cells
        return StateImage(
            config=self.config,
            epoch=self.epoch,
            version=self.version,
            jobs=tuple(self.jobs),
            node_states=tuple((n, self.room.state_of(n)) for n in self.changed_nodes()),
            foreign=self.foreign,
            unreachable=tuple(cells[i] for i in range(len(cells)) if not self.room.reachable[i]),
            prices=self.prices,
            rules=self.book.image(),
            reservations=self.windows.reservations,
        )


def _forked(job: JobRecord) -> JobRecord:
    return msgspec.structs.replace(job, attempts=[msgspec.structs.replace(attempt) for attempt in job.attempts])


def _carried(allocation: Allocation, old: Cluster, fleet: Fleet) -> Allocation:
    """The same devices by name, in the numbering of the new fleet."""
    grants = []
    for grant in allocation.grants:
        node = fleet.cluster.node_index(old.node_name(grant.node))
        if node is not None:
            devices = grant.devices & int(fleet.devices[node])
            grants.append(msgspec.structs.replace(grant, node=node, devices=devices))
    return msgspec.structs.replace(allocation, grants=tuple(grants))


_HOLDING = (JobState.STARTING, JobState.RUNNING, JobState.STOPPING)
_WINDOWS, _ROUND, _MONEY = -1, -2, -3
"""Stand among the alarms in the place of a job."""
