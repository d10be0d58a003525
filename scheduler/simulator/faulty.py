"""A driver whose nodes, messages, clock, users and scheduler misbehave, and that can be healed."""

from collections.abc import Callable, Sequence
from random import Random

from msgspec import structs

from scheduler.engine.image import decode, encode
from scheduler.engine.intake import action, node_state
from scheduler.engine.reconcile import reconcile
from scheduler.engine.state import State
from scheduler.errors import ConflictError, InvariantError
from scheduler.model.cluster import NodeState
from scheduler.model.commands import Command, Start
from scheduler.model.events import Actor, CellReachability, Configured, EpochStarted, Event, JobAction, NodeStateChanged
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.reasons import FOR_EVER, ReasonCode
from scheduler.model.units import US_PER_S
from scheduler.ports import Report
from scheduler.simulator.driver import Driver, seen
from scheduler.simulator.execution import Overheads
from scheduler.simulator.faults import Faults

__all__ = ["FaultyDriver"]

US_PER_H = 3_600 * US_PER_S
OPERATOR = Actor("operator", "", authenticated=True)

_FAILURES = (AttemptEnd.EXITED, AttemptEnd.OUT_OF_MEMORY, AttemptEnd.LOST, AttemptEnd.KILLED)
_ORDERS = (NodeState.CORDONED, NodeState.DRAINING, NodeState.READY, NodeState.READY)
_ACTIONS = (*JobAction, JobAction.RESUME, JobAction.REQUEUE)  # most of what is suspended should go on
_LARGEST_LEAP_US = US_PER_H
_LARGEST_LAPSE_US = 60 * US_PER_S


class FaultyDriver(Driver):
    """Misbehaves at the rates of `faults`, by a generator of its own, until `heal`."""

    def __init__(
        self,
        state: State,
        overheads: Overheads,
        faults: Faults,
        seed: int,
        observe: Callable[[Event, int], None] | None = None,
        *,
        start_us: int = 0,
    ) -> None:
        super().__init__(state, overheads, observe, start_us=start_us)
        self.faults = faults
        self.restarts = 0
        self.history: list[tuple[int, Event]] = []
        self._origin: Configured = state.config
        self._random = Random(f"run {seed}")  # noqa: S311 - repeats by design
        self._healed = False
        self.cut_off: set[str] = set()
        self._begin()

    # messages

    def feed(self, event: Event) -> None:
        self.history.append((self.clock_us(), event))
        super().feed(event)

    def deliver(self, report: Report) -> None:
        execution = self.world.executions.get((report.job, report.attempt))
        if execution is not None and execution.command.cell in self.cut_off:
            return
        if self._strikes(self.faults.lost):
            return
        if self._strikes(self.faults.delayed):
            self._later(self.faults.delay_us, lambda _: self.inbox.append(report))
        else:
            self.inbox.append(report)
        if self._strikes(self.faults.repeated):
            self._later(self.faults.delay_us, lambda _: self.inbox.append(report))

    def send(self, command: Command) -> None:
        if command.cell in self.cut_off:
            return  # the cell's return reconciles
        if not self._strikes(self.faults.unknown):
            self._carry_out(command)
            return
        outcome = self._random.randrange(3)
        if outcome == 0:
            self._carry_out(command)
        elif outcome == 1:
            self._later(self.faults.delay_us, lambda _: self._carry_out(command))
        self._later(2 * self.faults.delay_us, lambda _: self.reconcile())

    def _carry_out(self, command: Command) -> None:
        if not isinstance(command, Start):
            self.world.stop(command, self.now_us)
            return
        slow = self._random.randrange(self.faults.delay_us * 10) if self._strikes(self.faults.slow_starts) else 0
        self.world.start(command, self.now_us, slow)
        execution = self.world.executions.get((command.job, command.attempt))
        if execution is None:
            return
        if self._strikes(self.faults.failed_starts):
            self.world.fail(execution, self.now_us, AttemptEnd.START_FAILED)
        if self._strikes(self.faults.hangs):
            self._later(US_PER_H, lambda now_us: self.world.hang(execution, now_us))
        if self._strikes(self.faults.failures):
            how = self._random.choice(_FAILURES)
            self._later(US_PER_H, lambda now_us: self.world.fail(execution, now_us, how))

    # what the service does about it

    def poll(self) -> None:
        """Read every report that the state does not know."""
        held = self.world.executions.values()
        for report in self.world.reports(seen(self.state, [execution.command for execution in held])):
            execution = self.world.executions[report.job, report.attempt]
            if execution.command.cell not in self.cut_off:
                self.inbox.append(report)

    def reconcile(self) -> None:
        """Compare what the cells hold with what the state believes."""
        cells = [cell.name for cell in self.state.config.cluster.cells if cell.name not in self.cut_off]
        self._reconcile(cells)

    def _reconcile(self, cells: Sequence[str]) -> None:
        """What must go is gone when this returns: a service counts a cell as reachable only then."""
        events, commands = reconcile(self.state, self.world.statuses(cells), self.clock_us())
        for event in events:
            self.feed(event)
        for command in commands:
            if isinstance(command, Start):
                self.outbox.append(command)
            else:
                self.world.stop(command, self.now_us)

    def heal(self) -> None:
        """No more faults: nodes and cells are back, what was suspended goes on, every report is read."""
        self._healed = True
        self.faults = Faults(poll_us=self.faults.poll_us)
        self.cut_off.clear()
        self.world.down.clear()
        self.reconcile()
        for cell in self.state.config.cluster.cells:
            self.feed(CellReachability(cell.name, True))
        for index in range(self.state.config.cluster.node_count()):
            self._tell_node(index, NodeState.READY)
        for job in self.state.jobs:
            if job.state is JobState.SUSPENDED:
                self.feed(action(self.state, job, JobAction.RESUME, OPERATOR))
        self.poll()
        self.settle()

    def is_over(self) -> bool:
        """Nothing is live but what never ends or can never run."""
        return all(self.is_blocked(number) or self._is_serving(number) for number in self.state.active)

    def is_blocked(self, number: int) -> bool:
        """The job waits for what never comes: by its own reason, or by that of a job whose turn is before its own."""
        job = self.state.jobs[number]
        if job.state is not JobState.WAITING or job.reason is None:
            return False
        if job.reason.code is ReasonCode.DEPENDENCY:
            return any(self.is_blocked(dependency.job) for dependency in job.after)
        return job.reason.code in FOR_EVER

    def _is_serving(self, number: int) -> bool:
        return self.state.jobs[number].state is JobState.RUNNING and self.world.is_endless(number)

    # misfortunes

    def _begin(self) -> None:
        rates = self.faults
        self._every(rates.node_losses_per_h, self._lose_node)
        self._every(rates.flickers_per_h, self._flicker)
        self._every(rates.cell_outages_per_h, self._cut_cell)
        self._every(rates.node_orders_per_h, self._order_node)
        self._every(rates.actions_per_h, self._act)
        self._every(rates.restarts_per_h, self._restart)
        self._every(rates.clock_jumps_per_h, self._leap)
        self._every(rates.quota_changes_per_h, self._shrink_quota)
        self.queue.push(self.now_us + self.faults.poll_us, self._poll_again)

    def _every(self, rate_per_h: float, misfortune: Callable[[], None]) -> None:
        if rate_per_h <= 0:
            return

        def strike(_: int) -> None:
            if not self._healed:
                misfortune()
                self._every(rate_per_h, misfortune)

        wait_us = int(self._random.expovariate(rate_per_h) * US_PER_H)
        self.queue.push(self.now_us + wait_us, strike)

    def _strikes(self, share: float) -> bool:
        return share > 0 and self._random.random() < share

    def _later(self, longest_us: int, then: Callable[[int], None]) -> None:
        self.queue.push(self.now_us + self._random.randrange(longest_us), then)

    def _poll_again(self, _: int) -> None:
        self.poll()
        self.queue.push(self.now_us + self.faults.poll_us, self._poll_again)

    def _any_node(self) -> int:
        return self._random.randrange(self.state.config.cluster.node_count())

    def _tell_node(self, index: int, state: NodeState) -> None:
        self.feed(NodeStateChanged(index, state, why="simulated"))

    def _lose_node(self) -> None:
        index = self._any_node()
        if index in self.world.down:
            return
        self.world.lose_node(index, self.now_us)
        news_us = self._random.randrange(self.faults.delay_us)
        self.queue.push(self.now_us + news_us, lambda _: self._if_sick(lambda: self._tell_node(index, NodeState.DOWN)))
        self._later_than(news_us, lambda: self._return_node(index))

    def _return_node(self, index: int) -> None:
        self.world.down.discard(index)
        self._tell_node(index, NodeState.READY)

    def _flicker(self) -> None:
        index = self._any_node()
        if index in self.world.down:
            return
        self._tell_node(index, NodeState.SUSPECT)
        self._later_than(0, lambda: self._settle_flicker(index))

    def _settle_flicker(self, index: int) -> None:
        if index not in self.world.down:
            self._tell_node(index, NodeState.READY)

    def _cut_cell(self) -> None:
        cell = self._random.choice(self.state.config.cluster.cells).name
        if cell in self.cut_off:
            return
        self.cut_off.add(cell)
        self.feed(CellReachability(cell, False))
        self._later_than(0, lambda: self._rejoin_cell(cell))

    def _rejoin_cell(self, cell: str) -> None:
        self.cut_off.discard(cell)
        self._reconcile([cell])
        self.feed(CellReachability(cell, True))
        self.poll()

    def _later_than(self, news_us: int, then: Callable[[], None]) -> None:
        away_us = news_us + self._random.randrange(self.faults.outage_us)
        self.queue.push(self.now_us + away_us, lambda _: self._if_sick(then))

    def _if_sick(self, then: Callable[[], None]) -> None:
        if not self._healed:
            then()

    def _order_node(self) -> None:
        index, order = self._any_node(), self._random.choice(_ORDERS)
        if index not in self.world.down:
            name = self.state.config.cluster.node_name(index)
            self.feed(node_state(self.state, name, order, OPERATOR))

    def _act(self) -> None:
        if not self.state.jobs:
            return
        job, wish = self._random.choice(self.state.jobs), self._random.choice(_ACTIONS)
        try:
            self.feed(action(self.state, job, wish, job.actor))
        except ConflictError:
            return  # a person would be told that it cannot apply

    def _leap(self) -> None:
        self.offset_us += self._random.randrange(-_LARGEST_LAPSE_US, _LARGEST_LEAP_US)

    def _shrink_quota(self) -> None:
        config = self.state.config
        if not config.tenants.tenants:
            return
        tenant = self._random.choice(config.tenants.tenants)
        share = self._random.random()
        quotas = tuple(structs.replace(quota, nominal=int(quota.nominal * share)) for quota in tenant.quotas)
        changed = tuple(
            structs.replace(known, quotas=quotas) if known is tenant else known for known in config.tenants.tenants
        )
        self.feed(structs.replace(config, tenants=structs.replace(config.tenants, tenants=changed)))

    def _restart(self) -> None:
        """The scheduler dies, and a new one comes up from an image or from the whole journal."""
        rebuilt = decode(encode(self.state)) if self._random.random() < 0.85 else self.replayed()
        self._compare(rebuilt)
        self.restart(rebuilt)
        self.restarts += 1
        self.feed(EpochStarted(self.state.epoch + 1))
        if self._random.random() < 0.5:
            self.poll()
            self.settle()
        self.reconcile()

    def _compare(self, rebuilt: State) -> None:
        if encode(rebuilt) != encode(self.state):
            raise InvariantError("I20", "the state that was rebuilt differs from the one that was lost")

    def replayed(self) -> State:
        """The state that the journal alone gives. Raises InvariantError where it is not the live one."""
        state = State.new(self._origin)
        engine = type(self.engine)(state)
        for time_us, event in self.history:
            engine.fold(event, time_us)
        self._compare(engine.state)
        return engine.state
