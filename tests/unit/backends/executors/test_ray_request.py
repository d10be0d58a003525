"""What Ray is asked for: names, bundles and resources, without Ray."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from backends.conformance.executors import SLEEPS, attempt
from backends.executors.ray.request import actor_name, group_prefix, namespace_of, node_resources, prepare
from backends.executors.ray.wire import Call, Send
from scheduler.errors import ExecutorError

GOLDEN = Path(__file__).resolve().parents[3] / "golden" / "ray_request.json"
NAMESPACE = "dualtrack-000000000000"


def test_a_gang_of_two_nodes_asks_for_what_the_golden_file_says():
    request = prepare(attempt(SLEEPS, tasks=2, ranks=2, n=3, epoch=7), NAMESPACE)
    assert msgspec.json.format(msgspec.json.encode(request), indent=1).decode() + "\n" == GOLDEN.read_text()


@given(tasks=st.integers(1, 6), ranks=st.integers(1, 8))
def test_every_task_takes_its_devices_of_its_own_node_and_some_cpu(tasks, ranks):
    command = attempt(SLEEPS, tasks=tasks, ranks=ranks)
    request = prepare(command, NAMESPACE)
    assert len({actor.name for actor in request.actors}) == tasks
    for task, bundle, actor in zip(command.tasks, request.bundles, request.actors, strict=True):
        assert bundle[f"node_{task.node}"] == bundle["acc_h200"] == len(task.devices)
        assert 0 < bundle["CPU"] < 0.01
        assert {"CPU": actor.num_cpus, **actor.resources} == bundle


def test_no_resource_has_a_name_that_means_hardware_to_ray():
    request = prepare(attempt(SLEEPS, tasks=2), NAMESPACE)
    assert {"GPU", "NPU", "TPU"}.isdisjoint(name for bundle in request.bundles for name in bundle)


def test_a_head_offers_room_for_all_devices_of_its_nodes():
    offered = node_resources({"a-0": ("h200", 8), "a-1": ("h200", 8), "b-0": ("h20-96", 4)})
    assert offered["acc_h200"] == 16
    assert offered["acc_h20-96"] == 4
    assert offered["node_a-0"] == 8


def test_names_of_one_attempt_are_not_taken_for_those_of_another():
    assert not actor_name("job", 11, 0).startswith("job/1/")
    assert not group_prefix(NAMESPACE, "job", 11).startswith(group_prefix(NAMESPACE, "job", 1))
    assert namespace_of(Path("/a"), "one") != namespace_of(Path("/a"), "two") != namespace_of(Path("/b"), "two")


@pytest.mark.parametrize("job_id", ["", "../up", "a/b", ".hidden"])
def test_an_id_that_would_be_read_as_a_path_is_refused(job_id):
    with pytest.raises(ExecutorError, match="no job id"):
        prepare(structs.replace(attempt(SLEEPS), job_id=job_id), NAMESPACE)


def test_a_request_reaches_the_gateway_unchanged():
    call = Call(1, Send(prepare(attempt(SLEEPS, tasks=2), NAMESPACE)))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(call), type=Call) == call
