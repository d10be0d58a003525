import msgspec
import pytest

from backends.runtime.prepare import LaunchRequest, prepare
from scheduler.errors import DeviceError
from tests.support.starts import start, task


def gang():
    """A learner on two nodes and a service of rollouts on one."""
    return start(
        task(role="learner", world_size=6, first_rank=2, local_ranks=4, devices=(0, 1, 2, 3)),
        task(role="learner", world_size=6, first_rank=0, local_ranks=2, devices=(4, 5)),
        task(role="rollout", world=1, devices=(7,)),
    )


def test_each_task_becomes_one_request_with_itself_alone():
    command = gang()
    requests = prepare(command).tasks
    assert [request.task for request in requests] == list(command.tasks)
    assert [request.index for request in requests] == [0, 1, 2]
    assert [list(request.ranks) for request in requests] == [[2, 3, 4, 5], [0, 1], [0]]
    assert [request.first_output for request in requests] == [0, 4, 6]


def test_the_first_rank_of_the_first_world_leads():
    assert [request.lead for request in prepare(gang()).tasks] == [False, True, False]


def test_nodes_are_numbered_within_their_world_by_their_first_rank():
    assert [request.group_rank for request in prepare(gang()).tasks] == [1, 0, 0]


def test_a_request_is_printable_and_the_same_each_time():
    printed = msgspec.json.encode(prepare(gang()))
    assert printed == msgspec.json.encode(prepare(gang()))
    assert msgspec.json.decode(printed, type=LaunchRequest) == prepare(gang())


def test_the_adapter_says_what_is_visible():
    (request,) = prepare(start(task(devices=(2, 5)))).tasks
    assert request.device_env == {"CUDA_VISIBLE_DEVICES": "2,5"}


@pytest.mark.parametrize("known", [{"dies": 2, "local_ranks": 1}, {"local_ranks": 4, "world_size": 4}])
def test_both_dies_of_a_package_are_visible_however_many_ranks_drive_them(known):
    (request,) = prepare(start(task(accelerator="ascend-910c", adapter="ascend", devices=(1, 3), **known))).tasks
    assert request.device_env == {"ASCEND_RT_VISIBLE_DEVICES": "2,3,6,7"}


def test_emulated_memory_is_that_of_the_devices_of_one_rank_scaled():
    half = task(devices=(0, 1), local_ranks=2, world_size=2, hbm_gib=96.0)
    assert prepare(start(half), memory_scale=0.01).tasks[0].memory_limit_mib == 983
    assert prepare(start(msgspec.structs.replace(half, emulated=False))).tasks[0].memory_limit_mib == 0


def test_an_adapter_that_does_not_exist_is_named():
    with pytest.raises(DeviceError, match="abacus"):
        prepare(start(task(adapter="abacus")))
