"""The session, each time in a process of its own: it takes over signals and counts on a fresh interpreter."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import backends
from backends.runtime.rank_reports import RankPipe

ROOT = str(Path(backends.__file__).resolve().parent.parent)


def run(code, **env):
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, **{k: str(v) for k, v in env.items()}}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=120, check=False)


def said(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def pipe(tmp_path):
    pipe = RankPipe(tmp_path / "rank-0.report")
    yield pipe
    pipe.close()


ALONE = """
import json, sys
from backends.runtime import session
run = session.join()
steps = list(run.steps(total=5))
print(json.dumps([run.rank, run.world_size, steps, run.done, "torch" in sys.modules, "ray" in sys.modules]))
"""


def test_a_script_runs_alone_and_without_torch():
    assert said(run(ALONE)) == [0, 1, [0, 1, 2, 3, 4], 5.0, False, False]


def test_declared_work_is_counted_in_its_own_unit_and_told_to_the_supervisor(pipe):
    code = (
        "from backends.runtime import session\nfor s in (r := session.join()).steps(work=100.0): r.loss = 1 / (s + 1)"
    )
    done = run(code, DUALTRACK_WORK="400.0", DUALTRACK_REPORT_PATH=pipe.path, DUALTRACK_JOB_ID="j")
    assert done.returncode == 0, done.stderr
    lines = pipe.read()
    assert [line.done for line in lines if line.done is not None][-1] == 400.0
    assert lines[-2].loss == 0.25
    assert lines[-1].finished


def test_without_declared_work_the_number_of_steps_must_be_given():
    done = run("from backends.runtime import session\nfor _ in session.join().steps(): pass")
    assert done.returncode == 1
    assert "the job declares no work; call steps(total=...)" in done.stderr


def test_emulated_steps_take_as_long_as_the_device_would_and_overruns_are_counted(pipe):
    code = """
import json, time
from backends.runtime import session
run = session.join()
began = time.monotonic()
for step in run.steps(total=10):
    if step == 4:
        time.sleep(0.1)
print(json.dumps([time.monotonic() - began, run.overruns]))
"""
    took_s, overruns = said(run(code, DUALTRACK_PACE_S="0.05", DUALTRACK_REPORT_PATH=pipe.path))
    assert took_s >= 0.45
    assert overruns >= 1
    assert max(line.overruns for line in pipe.read()) == overruns


def test_a_notice_ends_the_run_after_the_step_with_exit_code_0_and_a_resumed_run_goes_on(tmp_path):
    code = """
import os, signal, sys, torch
from backends.runtime import session
run = session.join()
model = torch.nn.Linear(2, 1)
first = run.resume(model=model)
for step in run.steps(total=6):
    if step == 2 and first == 0:
        os.kill(os.getpid(), signal.SIGTERM)
print([first, float(model.weight.detach().sum())])
"""
    place = {"DUALTRACK_CHECKPOINT_PATH": tmp_path, "DUALTRACK_JOB_ID": "j"}
    first = run(code, **place, DUALTRACK_ATTEMPT=1)
    assert (first.returncode, first.stdout) == (0, "")
    assert (tmp_path / "j" / "checkpoint-1-3.json").exists()
    assert said(run(code, **place, DUALTRACK_ATTEMPT=2))[0] == 3
    assert (tmp_path / "j" / "checkpoint-2-6.json").exists()
    late = run(code, **place, DUALTRACK_ATTEMPT=1)
    assert late.returncode == 1
    assert "attempt 2 has taken over" in late.stderr


def test_a_rank_that_outgrows_its_emulated_memory_says_so(pipe):
    code = """
import torch
from backends.runtime import session
run = session.join()
torch.zeros(1_000_000)
torch.zeros(1_000_000_000)
"""
    done = run(code, DUALTRACK_MEMORY_LIMIT_MIB=400, DUALTRACK_EMULATED=1, DUALTRACK_REPORT_PATH=pipe.path)
    assert done.returncode == 1
    (line,) = pipe.read()
    assert line.out_of_memory
    assert "DefaultCPUAllocator" in line.detail


def test_a_rank_that_sees_other_devices_than_granted_does_not_begin():
    env = {"DUALTRACK_ADAPTER": "nvidia", "DUALTRACK_EMULATED": 1, "DUALTRACK_DEVICES": "0,1"}
    done = run(
        "from backends.runtime import session\nsession.join()\nprint('began')", **env, CUDA_VISIBLE_DEVICES="0,1,2"
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "CUDA_VISIBLE_DEVICES is '0,1,2', but '0,1' was granted" in done.stderr


LEAVES_ITS_WORLD = """
import atexit, os
def tell():
    tasks = os.listdir("/proc/self/task")
    print(sum("gloo" in open(f"/proc/self/task/{task}/comm").read() for task in tasks), flush=True)
atexit.register(tell)
import torch
from backends.runtime import session
run = session.join()
model = torch.nn.Linear(2, 1)
trainer = run.data_parallel(model, torch.optim.SGD(model.parameters(), lr=0.1))
for step in run.steps(total=2):
    trainer.step(lambda network, indices: network(torch.ones(len(indices), 2))[:, 0], [0, 1])
"""


def test_no_thread_of_the_world_outlives_the_ranks_work_so_that_none_aborts_its_exit():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", LEAVES_ITS_WORLD],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "RANK": str(rank), "LOCAL_RANK": str(rank), **world},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    assert [(rank.communicate(timeout=120)[0], rank.returncode) for rank in ranks] == [("0\n", 0), ("0\n", 0)]
