"""A scheduler that is killed at any step comes back as it was, and brings every job to its end."""

import random

import pytest

from tests.crash.kill_points import Steps, count_steps, examine, live, live_and_die, look
from tests.crash.script import JOBS
from tests.crash.shell import Shell

SEED = 1
KILLS_IN_A_ROW = 14


@pytest.fixture(scope="module")
def stages():
    """The steps of an undisturbed life."""
    return count_steps(SEED)


def test_an_undisturbed_life_commits_hundreds_of_times_and_ends_every_job(stages):
    assert stages.count("after") > 300
    assert set(stages) == {"before", "inside", "after", "acted"}


@pytest.mark.parametrize("stage", ["before", "inside", "after", "acted"])
def test_one_kill_at_any_kind_of_step_leaves_exactly_the_state_that_lived(stages, stage, capsys):
    chance = random.Random(stage)
    point = chance.choice([n for n, found in enumerate(stages, 1) if found == stage])
    found = examine(SEED, [point])
    assert found.jobs == JOBS
    with capsys.disabled():
        print(f" [step {point} of {len(stages)}, scenario {SEED}]", end="")


def test_killed_again_and_again_it_still_brings_every_job_to_its_end_once(stages, capsys):
    chance = random.Random(SEED)
    points = [chance.randint(2, len(stages) // 10) for _ in range(KILLS_IN_A_ROW)]
    found = examine(SEED + 1, points)
    assert found.jobs == JOBS
    with capsys.disabled():
        print(f" [{len(points)} kills, scenario {SEED + 1}, draw {SEED}]", end="")


def test_a_kill_before_the_first_commit_leaves_an_empty_journal_that_can_begin_again(tmp_path):
    assert live_and_die(tmp_path, SEED, 1)
    assert look(tmp_path).seq == 0
    shell = Shell(tmp_path, SEED)
    assert shell.epoch == 2
    shell.close()


def test_the_checkpoint_and_the_whole_history_give_the_same_state(tmp_path, monkeypatch):
    from scheduler.engine.image import encode
    from scheduler.journal.replay import replay
    from scheduler.journal.store import open_journal

    live(tmp_path, SEED, Steps())
    journal = open_journal(tmp_path / "journal.db")
    short = replay(journal)
    monkeypatch.setattr(journal, "load_checkpoint", lambda below_seq=None: None)
    whole = replay(journal)
    journal.close()
    assert short.checkpoint_seq > 0
    assert short.records < whole.records == whole.seq == short.seq
    assert encode(short.engine.state) == encode(whole.engine.state)
