"""Run schedules with faults: `python -m tests.simulation.swarm --seeds 0:500 --events 1000`.

Each seed is a fleet, jobs and rates of faults. The safety phase goes on for so many events; then faults stop, and
every job that can run must come to its end within a bound. Invariants are checked after every event.
"""

import argparse
import sys
import time
import traceback
from collections import Counter

from msgspec import Struct

from scheduler.engine.invariants import check
from scheduler.engine.state import State
from scheduler.model.events import EpochStarted, Event
from scheduler.model.units import US_PER_S
from scheduler.simulator.execution import Phase
from scheduler.simulator.faulty import FaultyDriver
from scheduler.simulator.simulate import Digest
from tests.simulation.schedules import schedule

HEALING_BOUND_US = 60 * 86_400 * US_PER_S
HEALING_BOUND_EVENTS = 60_000


class Outcome(Struct, frozen=True, kw_only=True):
    seed: int
    events: int
    safety_events: int
    jobs: int
    restarts: int
    digest: str
    states: dict[str, int]


class Broken(AssertionError):
    """What a schedule broke, with its seed first."""


def run_schedule(seed: int, events: int = 1000, checked: bool = True) -> Outcome:
    """Run one schedule to its end. Raises Broken with the seed first, whatever it was that went wrong."""
    try:
        return _run(seed, events, checked)
    except Exception as error:
        raise Broken(f"seed {seed}: {error}") from error


def _run(seed: int, events: int, checked: bool) -> Outcome:
    plan = schedule(seed)
    driver = FaultyDriver(State.new(plan.configured), plan.overheads, plan.faults, seed)
    digest = Digest()

    def observe(event: Event, time_us: int) -> None:
        digest(event, time_us)
        if checked:
            check(driver.state)

    driver.observe = observe
    driver.feed(EpochStarted(1))
    driver.expect(plan.arrivals)

    def enough() -> bool:
        check_world(driver)
        return driver.tally.events >= events

    driver.run(stop=enough)
    safety_events = driver.tally.events
    driver.heal()
    driver.run(
        driver.now_us + HEALING_BOUND_US,
        stop=lambda: driver.is_over() or driver.tally.events > safety_events + HEALING_BOUND_EVENTS,
    )
    check_world(driver)
    check_all_ended(driver)
    driver.replayed()
    jobs = driver.state.jobs
    return Outcome(
        seed=seed,
        events=driver.tally.events,
        safety_events=safety_events,
        jobs=len(jobs),
        restarts=driver.restarts,
        digest=digest.hexdigest(),
        states=dict(Counter(job.state.value for job in jobs)),
    )


def check_world(driver: FaultyDriver) -> None:
    """What the state cannot know: no device runs more than its shares allow, and no job two attempts at once."""
    holders: dict[tuple[int, int], dict[tuple[int, int, int], int]] = {}
    hbm_gib = {kind.name: kind.hbm_gib.value for kind in driver.state.config.catalog}
    running: dict[int, int] = {}
    for (job, attempt), execution in driver.world.executions.items():
        if execution.phase is Phase.ENDED or execution.command.cell in driver.cut_off:
            continue  # out of reach: whatever it does is refused, and it is reaped before its cell counts as back
        if job in running:
            raise Broken(f"job {job} runs attempts {running[job]} and {attempt} at once at {driver.now_us} us")
        running[job] = attempt
        for task in execution.command.tasks:
            share = round(1000 * task.hbm_gib / hbm_gib[task.accelerator])
            for device in task.devices:
                sharers = holders.setdefault((task.node_index, device), {})
                sharers[job, attempt, task.replica] = share
                if sum(sharers.values()) > 1000:
                    raise Broken(f"device {device} of {task.node} runs {sharers} at {driver.now_us} us")


def check_all_ended(driver: FaultyDriver) -> None:
    """I22: once the faults are over, what can run has ended, and what cannot says why."""
    for number in driver.state.active:
        job = driver.state.jobs[number]
        if not driver.is_blocked(number):
            raise Broken(f"job {number} is {job.state} with reason {job.reason} when all is well: {job.attempts[-1:]}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:500")
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--keep-going", action="store_true")
    parser.add_argument("--digest", action="store_true")
    chosen = parser.parse_args(arguments)
    first, last = (int(part) for part in chosen.seeds.split(":"))
    began, total, broken = time.perf_counter(), 0, []
    for seed in range(first, last):
        try:
            outcome = run_schedule(seed, chosen.events)
        except Exception:
            broken.append(seed)
            print(f"seed {seed} broke; again with --seeds {seed}:{seed + 1} --events {chosen.events}", flush=True)
            traceback.print_exc(file=sys.stdout)
            if not chosen.keep_going:
                break
            continue
        total += outcome.events
        if chosen.digest:
            print(outcome.seed, outcome.digest)
    spent_s = time.perf_counter() - began
    verdict = f"broken: {broken}" if broken else "no invariant broken"
    print(f"{last - first} schedules, seeds {first}:{last}, {total} events in {spent_s:.1f} s: {verdict}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
