"""The world that a simulated scheduler acts upon: it answers commands as executors do, in virtual time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from scheduler.model.commands import Release, Start, Stop
from scheduler.model.events import AttemptEnded, AttemptProgressed, AttemptStarted
from scheduler.model.jobs import Job
from scheduler.model.lifecycle import AttemptEnd
from scheduler.model.units import FOREVER_US, US_PER_S
from scheduler.model.workload import Truth
from scheduler.ports import AttemptKey, AttemptStatus, Report
from scheduler.simulator.event_queue import EventQueue
from scheduler.simulator.execution import Execution, Happening, Overheads, Phase, Timer, TimerKind

__all__ = ["Account", "World"]

_REPORTS_PER_TIMEOUT: Final = 4
"""A job that counts as hung without progress must be heard of several times within that span."""


class Account(Struct, kw_only=True):
    """What the attempts of one job have computed, in the job's unit, and the time of progress behind it."""

    progress_us: int = 0
    lost: float = 0.0
    lost_us: int = 0
    ideal_us: int = 0  # the whole work at the real rate of the last attempt


class _Facts(Struct, frozen=True):
    spec: Job
    truth: Truth


def _factor(command: Start, truth: Truth) -> float:
    """Real over forecast rate: that of the slowest accelerator, spread as it is."""
    nodes: dict[str, set[int]] = {}
    for task in command.tasks:
        nodes.setdefault(task.accelerator, set()).add(task.node_index)
    found = [
        truth.rate_factor.get(name, 1.0) * (spread[min(len(on), len(spread)) - 1] if spread else 1.0)
        for name, on in nodes.items()
        for spread in (truth.spread_factor.get(name, ()),)
    ]
    return min(found, default=1.0)


def _work(facts: _Facts) -> float | None:
    return facts.spec.work.amount if facts.truth.amount is None else facts.truth.amount


def _endpoints(command: Start) -> tuple[str, ...]:
    if not command.service:
        return ()
    replicas = sorted({task.replica for task in command.tasks})
    return tuple(f"{command.job_id}-{replica}.simulated:80" for replica in replicas)


class World:
    """Executions by (job, attempt). `deliver` is told each report when it arises; `rate_of` gives forecast rates.

    Progress follows the forecast rate, on emulated devices their pace, times the `Truth.rate_factor` and
    `Truth.spread_factor` of the slowest accelerator that the attempt uses. Where `Truth.amount` is given, the job needs
    that much work, whatever it declares. Where `Truth.run_us` is given, it needs that much progress wherever it runs,
    counted in seconds if it declares no work; a job without any of them runs for ever. The checkpoint storage outlives
    nodes. A stop or release of what never started leaves a mark that fences its start.
    """

    def __init__(
        self,
        queue: EventQueue[Happening],
        overheads: Overheads,
        rate_of: Callable[[Start], float],
        deliver: Callable[[Report], None],
    ) -> None:
        self.overheads = overheads
        self.executions: dict[tuple[int, int], Execution] = {}
        self.accounts: dict[int, Account] = {}
        self.stored: dict[int, float] = {}
        self.down: set[int] = set()
        self.reports_due = 0  # of the timers in the queue
        self._queue = queue
        self._rate_of = rate_of
        self._deliver = deliver
        self._facts: dict[int, _Facts] = {}
        self._fenced: set[tuple[int, int]] = set()

    def learn(self, job: int, spec: Job, truth: Truth) -> None:
        """What will become of the job once it runs."""
        self._facts[job] = _Facts(spec, truth)

    def is_endless(self, job: int) -> bool:
        """Whether the job would run for ever."""
        facts = self._facts[job]
        return _work(facts) is None and facts.truth.run_us is None

    # what executors offer

    def start(self, command: Start, now_us: int, delay_us: int = 0) -> None:
        """All ranks are up after the start overhead and `delay_us`. A repeated or fenced start does nothing."""
        key = (command.job, command.attempt)
        if key in self.executions or key in self._fenced:
            return
        execution = self._prepare(command)
        self.executions[key] = execution
        if not self.down.isdisjoint(execution.nodes):
            self._end(execution, now_us, AttemptEnd.LOST)
        else:
            self._set_timer(execution, now_us + self.overheads.start_us + delay_us, TimerKind.UP)

    def stop(self, command: Stop | Release, now_us: int) -> None:
        """Notice and kill, or reap. What has ended stays ended; a stale epoch is refused in silence."""
        key = (command.job, command.attempt)
        execution = self.executions.get(key)
        if execution is None:
            self._fenced.add(key)
        elif command.epoch < execution.epoch:
            return
        elif isinstance(command, Release):
            self._settle(execution, now_us)
            del self.executions[key]
            self._fenced.add(key)
        elif execution.phase is not Phase.ENDED:
            execution.epoch = command.epoch
            self._give_notice(execution, now_us, now_us + command.notice_us)

    def statuses(self, cells: Sequence[str]) -> Mapping[str, tuple[AttemptStatus, ...]]:
        """What each of the cells holds, running or ended, until it is released."""
        found: dict[str, list[AttemptStatus]] = {cell: [] for cell in cells}
        for execution in self.executions.values():
            command = execution.command
            if command.cell in found:
                found[command.cell].append(
                    AttemptStatus(
                        job_id=command.job_id,
                        job=command.job,
                        attempt=command.attempt,
                        epoch=command.epoch,
                        ended=execution.phase is Phase.ENDED,
                    )
                )
        return {cell: tuple(statuses) for cell, statuses in found.items()}

    def reports(self, seen: Mapping[AttemptKey, int]) -> tuple[Report, ...]:
        """Reports numbered above `seen` (missing: 0), in order per attempt."""
        found: list[Report] = []
        for execution in self.executions.values():
            above = seen.get((execution.command.job_id, execution.command.attempt), 0)
            found.extend(report for report in execution.reports if report.seq > above)
        return tuple(found)

    # what happens by itself or to it

    def on_timer(self, timer: Timer, now_us: int) -> None:
        execution = timer.execution
        if timer.kind is TimerKind.REPORT:
            self.reports_due -= 1
        if timer.generation != execution.generation or execution.phase is Phase.ENDED:
            return
        if timer.kind == TimerKind.UP:
            self._come_up(execution, now_us)
        elif timer.kind == TimerKind.REPORT:
            self._tell_progress(execution, now_us)
            self._plan_report(execution, now_us)
        elif timer.kind == TimerKind.FINISH:
            self._finish(execution, now_us)
        elif timer.kind == TimerKind.LEAVE:
            self._leave(execution, now_us)
        else:
            self._end(execution, now_us, AttemptEnd.KILLED)

    def hang(self, execution: Execution, now_us: int) -> None:
        """The ranks stand still: no progress, no report, deaf to a notice."""
        if execution.phase is Phase.RUNNING:
            execution.halted_us = now_us
            execution.hung = True
            execution.generation += 1

    def fail(self, execution: Execution, now_us: int, how: AttemptEnd) -> None:
        """The attempt ends now, for a reason that lies outside it."""
        if execution.phase is not Phase.ENDED:
            self._end(execution, now_us, how)

    def lose_node(self, node: int, now_us: int) -> None:
        """The node is gone, and with it every attempt that had ranks there. It takes no starts while it is down."""
        self.down.add(node)
        for execution in tuple(self.executions.values()):
            if node in execution.nodes:
                self.fail(execution, now_us, AttemptEnd.LOST)

    def adopt(self, command: Start, done: float, seq: int, moves_us: int, now_us: int) -> None:
        """An attempt that runs already: it had done so much at `moves_us`, and makes progress since or from then."""
        execution = self._prepare(command)
        execution.base = done
        execution.seq = seq
        execution.phase = Phase.RUNNING
        execution.moves_us = moves_us
        self.executions[command.job, command.attempt] = execution
        self._plan_progress(execution, now_us)

    def restart_us(self, command: Start) -> int:
        """From all ranks up to the first progress: unless `load_first`, a job's first attempt has nothing to load."""
        if command.attempt == 1 and not self.overheads.load_first:
            return 0
        checkpoint = self._facts[command.job].spec.checkpoint
        return self.overheads.restart_us + (checkpoint.restart_us if checkpoint else 0)

    # inside

    def _prepare(self, command: Start) -> Execution:
        facts = self._facts[command.job]
        spec, truth = facts.spec, facts.truth
        factor = _factor(command, truth)
        pace_s = command.tasks[0].pace_s if command.tasks else 0.0
        work, rate = _work(facts), factor / pace_s if pace_s > 0 else self._rate_of(command) * factor
        if truth.run_us is not None:
            run_s = truth.run_us / US_PER_S
            work, rate = (run_s, 1.0) if work is None else (work, work / run_s if run_s > 0 else rate)
        stored = self.stored.get(command.job, 0.0)
        account = self.accounts.setdefault(command.job, Account())
        account.ideal_us = int(work * US_PER_S / rate) if work is not None and rate > 0 else 0
        interval = self.overheads.report_us
        if spec.no_progress_timeout_us is not None:
            needed = max(1, spec.no_progress_timeout_us // _REPORTS_PER_TIMEOUT)
            interval = min(interval, needed) if interval else needed
        checkpoint = spec.checkpoint
        return Execution(
            command=command,
            epoch=command.epoch,
            nodes=tuple(sorted({task.node_index for task in command.tasks})),
            rate=rate,
            base=stored,
            kept=stored,
            work=work,
            stop_at=truth.fails_at * work if truth.fails_at is not None and work is not None else None,
            every_us=checkpoint.every_us if checkpoint else 0,
            save_us=checkpoint.save_us if checkpoint else None,
            report_us=interval,
        )

    def _set_timer(self, execution: Execution, time_us: int, kind: TimerKind) -> None:
        self._queue.push(time_us, Timer(execution, kind, execution.generation))

    def _come_up(self, execution: Execution, now_us: int) -> None:
        execution.phase = Phase.RUNNING
        execution.moves_us = now_us
        command = execution.command
        execution.moves_us += self.restart_us(command)
        started = AttemptStarted(
            job=command.job,
            attempt=command.attempt,
            epoch=command.epoch,
            seq=execution.seq + 1,
            endpoints=_endpoints(command),
        )
        self._tell(execution, started)
        self._plan_progress(execution, now_us)

    def _plan_progress(self, execution: Execution, now_us: int) -> None:
        target = execution.work
        if target is not None and execution.stop_at is not None:
            target = min(target, execution.stop_at)
        if target is not None and execution.rate > 0:
            self._set_timer(execution, max(now_us, execution.reaches_us(target)), TimerKind.FINISH)
        self._plan_report(execution, now_us)

    def _plan_report(self, execution: Execution, now_us: int) -> None:
        if execution.report_us > 0:
            self._set_timer(execution, now_us + execution.report_us, TimerKind.REPORT)
            self.reports_due += 1

    def _give_notice(self, execution: Execution, now_us: int, kill_us: int) -> None:
        if execution.kill_us is not None and execution.kill_us <= kill_us:
            return
        execution.kill_us = kill_us
        if execution.phase is not Phase.LEAVING:
            self._begin_leaving(execution, now_us)
        if kill_us <= now_us:
            self._end(execution, now_us, AttemptEnd.KILLED)
        else:
            self._set_timer(execution, kill_us, TimerKind.KILL)

    def _begin_leaving(self, execution: Execution, now_us: int) -> None:
        if execution.phase is Phase.STARTING:
            execution.moves_us = FOREVER_US
        execution.phase = Phase.LEAVING
        execution.generation += 1
        if execution.hung:
            return
        execution.halted_us = now_us
        saving_us = 0
        if execution.save_us is not None and execution.done(now_us) > execution.kept:
            saving_us = execution.save_us
        self._set_timer(execution, now_us + saving_us + self.overheads.stop_us, TimerKind.LEAVE)

    def _leave(self, execution: Execution, now_us: int) -> None:
        if execution.save_us is not None:
            execution.kept = execution.done(now_us)
        self._end(execution, now_us, AttemptEnd.PREEMPTED)

    def _finish(self, execution: Execution, now_us: int) -> None:
        failed = execution.stop_at is not None and (execution.work is None or execution.stop_at < execution.work)
        if not failed and execution.work is not None:
            execution.kept = execution.work
        self._end(execution, now_us, AttemptEnd.EXITED, exit_code=1 if failed else 0)

    def _end(self, execution: Execution, now_us: int, how: AttemptEnd, exit_code: int = 0) -> None:
        """The ranks are gone. Only a success and a loss leave no last word on progress."""
        self._settle(execution, now_us)
        if how is not AttemptEnd.LOST and (how is not AttemptEnd.EXITED or exit_code):
            self._tell_progress(execution, now_us)
        command = execution.command
        ended = AttemptEnded(
            job=command.job,
            attempt=command.attempt,
            epoch=command.epoch,
            seq=execution.seq + 1,
            how=how,
            exit_code=exit_code,
        )
        self._tell(execution, ended)

    def _settle(self, execution: Execution, now_us: int) -> None:
        """Book what the attempt computed, kept and lost; its end may never be told."""
        if execution.phase is Phase.ENDED:
            return
        done, kept = execution.done(now_us), execution.saved(now_us)
        if execution.phase is not Phase.STARTING:
            halted_us = now_us if execution.halted_us is None else min(now_us, execution.halted_us)
            execution.halted_us = halted_us
            account = self.accounts[execution.command.job]
            account.progress_us += max(0, halted_us - execution.moves_us)
            if done > kept and execution.rate > 0:
                account.lost += done - kept
                account.lost_us += int((done - kept) * US_PER_S / execution.rate)
        else:
            execution.moves_us = FOREVER_US
        execution.kept = kept
        execution.phase = Phase.ENDED
        execution.generation += 1
        self.stored[execution.command.job] = max(kept, self.stored.get(execution.command.job, 0.0))

    def _tell_progress(self, execution: Execution, now_us: int) -> None:
        done = execution.done(now_us)
        if done <= execution.base:
            return
        command = execution.command
        report = AttemptProgressed(
            job=command.job,
            attempt=command.attempt,
            epoch=command.epoch,
            seq=execution.seq + 1,
            done=done,
            saved=execution.saved(now_us),
            rate=execution.rate,
        )
        self._tell(execution, report)

    def _tell(self, execution: Execution, report: Report) -> None:
        execution.seq = report.seq
        execution.reports.append(report)
        self._deliver(report)
