import os
import sys
from pathlib import Path

import pytest

from backends.runtime.environment import base_environment, rank_environment
from backends.runtime.places import TaskPlace
from backends.runtime.ports import with_addresses
from backends.runtime.prepare import prepare
from backends.runtime.seat import read_seat
from scheduler.errors import UsageError
from tests.support.starts import start, task


def environment(command, index=0, local_rank=0, base=None):
    request = with_addresses(prepare(command).tasks, [(1000 + i, 2000 + i, 3000 + i) for i in range(9)])[index]
    base = base_environment({"PATH": "/bin"}) if base is None else base
    return rank_environment(request, TaskPlace(Path("/places/0")), local_rank, base)


def test_only_the_allow_list_is_inherited():
    inherited = {"PATH": "/bin", "HOME": "/h", "LANG": "C", "TMPDIR": "/t", "RAY_ADDRESS": "x", "SECRET": "y"}
    assert {"RAY_ADDRESS", "SECRET"} & set(base_environment(inherited)) == set()
    assert {"HOME", "LANG", "TMPDIR"} <= set(base_environment(inherited))


def test_python_is_the_interpreter_that_runs_dualtrack():
    assert base_environment({"PATH": "/bin"})["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "/bin"]


def test_the_adapters_visibility_wins_over_the_users_and_other_vendors_are_hidden():
    env = environment(start(task(devices=(3,), env={"CUDA_VISIBLE_DEVICES": "0,1", "HIP_VISIBLE_DEVICES": "0"})))
    assert env["CUDA_VISIBLE_DEVICES"] == "3"
    assert "HIP_VISIBLE_DEVICES" not in env


def test_the_users_environment_wins_over_defaults_but_not_over_the_world():
    env = environment(start(task(env={"OMP_NUM_THREADS": "5", "RANK": "9", "TORCH_DEVICE_BACKEND_AUTOLOAD": "1"})))
    assert (env["OMP_NUM_THREADS"], env["RANK"], env["TORCH_DEVICE_BACKEND_AUTOLOAD"]) == ("5", "0", "1")


def test_nothing_that_starts_with_ray_reaches_a_rank():
    env = environment(start(task(env={"RAY_ADDRESS": "10.0.0.1:6379", "RAYON": "kept"})))
    assert [name for name in env if name.startswith("RAY")] == ["RAYON"]


def test_what_the_scheduler_says_of_array_and_layout_reaches_a_rank():
    said = {"DUALTRACK_ARRAY_INDEX": "2", "DUALTRACK_LAYOUT": "tp=2,dp=4"}
    env = environment(start(task(env=said)))
    assert (env["DUALTRACK_ARRAY_INDEX"], env["DUALTRACK_LAYOUT"]) == ("2", "tp=2,dp=4")


def test_emulated_ranks_get_one_thread_and_real_ones_their_share():
    real = task(emulated=False, cpu_milli=12_000, local_ranks=4, world_size=4, devices=(0, 1, 2, 3))
    assert environment(start(task(cpu_milli=12_000)))["OMP_NUM_THREADS"] == "1"
    assert environment(start(real))["OMP_NUM_THREADS"] == "3"


def test_the_working_directory_can_be_imported_from():
    env = environment(start(task(env={"PYTHONPATH": "/mine"}), workdir="/job"), base={"PYTHONPATH": "/checkout"})
    assert env["PYTHONPATH"] == os.pathsep.join(["/mine", "/job", "/checkout"])


def test_every_rank_of_a_world_meets_at_its_first_ranks_task():
    command = start(
        task(world_size=2, first_rank=1), task(world_size=2, first_rank=0), task(world=1, role="roll-out", replica=0)
    )
    ports = [environment(command, index)["MASTER_PORT"] for index in range(3)]
    assert ports == ["1001", "1001", "1002"]
    assert environment(command)["DUALTRACK_ROLE_MAIN_ADDR"] == "127.0.0.1:3001"
    assert environment(command)["DUALTRACK_ROLE_ROLL_OUT_ADDR"] == "127.0.0.1:3002"


def test_a_job_with_one_role_has_no_role_addresses():
    assert [name for name in environment(start()) if name.startswith("DUALTRACK_ROLE_")] == []


def test_a_replicas_tasks_share_its_port():
    command = start(
        task(world_size=2, local_ranks=1), task(world_size=2, first_rank=1), task(world=1, replica=1), service=True
    )
    assert [environment(command, i)["DUALTRACK_SERVICE_PORT"] for i in range(3)] == ["2000", "2000", "2002"]


def test_a_session_reads_back_what_the_supervisor_wrote():
    command = start(
        task(devices=(2, 3), local_ranks=2, world_size=2, hbm_gib=96.0, pace_s=0.25, role="learner"),
        task(world=1, role="rollout"),
        work=40.0,
        checkpoint_path="/c",
        checkpoint_every_us=90_000_000,
    )
    seat = read_seat(environment(command, local_rank=1))
    assert (seat.rank, seat.world_size, seat.local_rank, seat.local_world_size) == (1, 2, 1, 2)
    assert (seat.job_id, seat.attempt, seat.role, seat.adapter, seat.emulated) == (
        "job-a",
        1,
        "learner",
        "nvidia",
        True,
    )
    assert (seat.devices, seat.hbm_gib, seat.pace_s, seat.work) == ((2, 3), 96.0, 0.25, 40.0)
    assert (seat.checkpoint_path, seat.checkpoint_every_s) == ("/c", 90.0)
    assert seat.report_path == "/places/0/rank-1.report"
    assert seat.role_addresses == {"learner": "127.0.0.1:3000", "rollout": "127.0.0.1:3001"}


@pytest.mark.parametrize(
    ("path", "workdir", "wanted"),
    [("/c", "/job", "/c"), ("c", "/job", "/job/c"), ("c", "", "/place/job-a/checkpoints/c"), ("", "/job", "")],
)
def test_a_checkpoint_path_is_the_same_for_every_attempt(path, workdir, wanted):
    (request,) = prepare(start(checkpoint_path=path, workdir=workdir)).tasks
    env = rank_environment(request, TaskPlace(Path("/place/job-a/3/0")), 0, {})
    assert env["DUALTRACK_CHECKPOINT_PATH"] == wanted


def test_a_variable_that_is_no_number_is_named():
    with pytest.raises(UsageError, match="WORLD_SIZE is 'many'"):
        read_seat({"WORLD_SIZE": "many"})
