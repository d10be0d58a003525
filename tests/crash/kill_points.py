"""Kills a scheduler at any step of its life, and looks at what it leaves behind.

    python -m tests.crash.kill_points [--all | --between | --points N] [--finish-every N] [--seed N] [--seeds A:B]

A step is a commit about to begin, a commit about to be made final, a commit that has returned, or a command that was
sent. The scheduler is a fork of this warm process and ends by SIGKILL, so nothing of it is flushed, closed or undone.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from sqlalchemy import event

from scheduler.engine.engine import Engine
from scheduler.engine.image import decode, encode
from scheduler.engine.invariants import check
from scheduler.journal.replay import replay
from scheduler.journal.store import open_journal
from tests.crash.shell import Shell, answered, digest, jobs_of, states


class Found(Struct, frozen=True):
    """What was left: `seq` records, and what became of it afterwards."""

    seq: int
    jobs: int
    acknowledged: int
    batches: int


class Steps:
    """Counts steps; at the `kill_at`-th (from 1) the process is gone."""

    def __init__(self, kill_at: int = 0) -> None:
        self.count = 0
        self.stages: list[str] = []
        self._kill_at = kill_at

    def __call__(self, stage: str) -> None:
        self.count += 1
        self.stages.append(stage)
        if self.count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def live(folder: Path, seed: int, steps: Steps) -> None:
    """One life of a scheduler on what is in the folder, to its end or to the step that kills it."""
    shell = Shell(folder, seed, steps)
    event.listen(shell.journal._engine, "commit", lambda _: steps("inside"))
    try:
        shell.run()
    finally:
        shell.close()


def count_steps(seed: int) -> list[str]:
    """The stages of a life that nothing disturbs."""
    folder = Path(tempfile.mkdtemp(prefix="dualtrack-crash-"))
    try:
        steps = Steps()
        live(folder, seed, steps)
        return steps.stages
    finally:
        shutil.rmtree(folder)


def live_and_die(folder: Path, seed: int, kill_at: int) -> bool:
    """True if the life in a process of its own was ended by the kill, False if it came to its end before."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            live(folder, seed, Steps(kill_at))
            status = 0
        except BaseException:  # the child must not return into its parent's code, whatever happened
            (folder / "failure").write_text(traceback.format_exc())
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert status == 0, (folder / "failure").read_text()
    return False


def look(folder: Path) -> Found:
    """Replay what a dead scheduler left, and hold it against what it had said while it lived."""
    journal = open_journal(folder / "journal.db")
    try:
        records = list(journal.read())
        found = replay(journal)
    finally:
        journal.close()
    told, before = answered(folder), states(folder)
    if found.engine is None:
        assert not records
        assert not told
        return Found(0, 0, 0, 0)
    state = found.engine.state
    check(state)
    assert digest(state) == before[found.seq], f"the replay of {found.seq} records is not the state that lived"
    whole = [seq for seq in before if seq <= found.seq]
    assert len(before) - len(whole) <= 1, "more than one batch was not yet durable"
    submitted = {event.id: event.key for event in jobs_of(records)}
    for number, answer in told.items():
        if answer != "done" and not answer.startswith(("refused", "nothing")):
            assert submitted[answer] == f"key-{number}", "an acknowledged job is not there"
    again = Engine(decode(encode(state)))
    now_us = found.time_us + 1
    assert again.decide(now_us) == found.engine.decide(now_us), "a checkpoint decides otherwise than all records"
    return Found(found.seq, len(state.jobs), len(told), len(whole))


def finish(folder: Path, seed: int) -> Found:
    """A last life, undisturbed: every job ends and none is there twice. (The world refuses two attempts at once.)"""
    shell = Shell(folder, seed)
    try:
        shell.run()
        jobs = shell.engine.state.jobs
        assert all(job.terminal for job in jobs)
        single = [job.key for job in jobs if job.array is None]
        assert len(single) == len(set(single)), "a repeated submission became two jobs"
        numbers = [record.seq for record in shell.journal.read()]
        assert numbers == list(range(1, shell.seq + 1))
    finally:
        shell.close()
    return look(folder)


def examine(seed: int, kill_at: Sequence[int], to_the_end: bool = True) -> Found:
    """Lives that end by a kill at these steps, one after the other on the same journal, and one that finishes."""
    folder = Path(tempfile.mkdtemp(prefix="dualtrack-crash-"))
    try:
        found = Found(0, 0, 0, 0)
        for step in kill_at:
            live_and_die(folder, seed, step)
            found = look(folder)
        return finish(folder, seed) if to_the_end else found
    finally:
        shutil.rmtree(folder)


def _chosen(args: argparse.Namespace, stages: Sequence[str]) -> list[int]:
    points = range(1, len(stages) + 1)
    if args.all:
        return list(points)
    if args.between:
        return [point for point in points if stages[point - 1] == "after"]
    return sorted(random.Random(args.seed).sample(points, min(args.points, len(points))))


def _kill_all(args: argparse.Namespace, seed: int) -> int:
    stages = count_steps(seed)
    chosen = _chosen(args, stages)
    commits = stages.count("after")
    sys.stdout.write(f"scenario {seed}: {len(stages)} steps, {commits} commits, killed at {len(chosen)} steps\n")
    for done, point in enumerate(chosen, 1):
        try:
            examine(seed, [point], done % args.finish_every == 0)
        except AssertionError:
            sys.stdout.write(f"scenario {seed}, step {point} ({stages[point - 1]}) failed\n")
            raise
        if done % 50 == 0:
            sys.stdout.write(f"  {done} of {len(chosen)}\n")
            sys.stdout.flush()
    return len(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill a scheduler between any two commits.")
    parser.add_argument("--all", action="store_true", help="every step")
    parser.add_argument("--between", action="store_true", help="every step between two commits")
    parser.add_argument("--points", type=int, default=40, help="steps per seed, drawn at random")
    parser.add_argument("--finish-every", type=int, default=1, help="let every N-th be finished by a further life")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--seeds", default="1:2", help="of the scenarios, the last excluded")
    args = parser.parse_args()
    began = time.perf_counter()
    total = sum(_kill_all(args, seed) for seed in range(*map(int, args.seeds.split(":"))))
    took = time.perf_counter() - began
    sys.stdout.write(f"{total} kills, scenarios {args.seeds}, draw {args.seed}: each replay exact; {took:.0f} s\n")


if __name__ == "__main__":
    main()
