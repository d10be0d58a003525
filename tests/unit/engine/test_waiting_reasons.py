"""A job that waits says what it lacks, also where devices are idle and something else is not."""

from msgspec.structs import replace

from scheduler.model.jobs import PerDevice
from scheduler.model.reasons import ReasonCode
from tests.support.builders import cluster, configured, job, options, pool
from tests.support.harness import Table


def on_one_core(name):
    spec = job(name, *options(h200=1))
    role = spec.roles[0]
    resources = replace(role.resources, per_device=PerDevice(cpu_milli=1000, memory_mib=100))
    return replace(spec, roles=(replace(role, resources=resources),))


def test_a_job_that_finds_devices_without_processors_is_told_so_and_not_that_it_may_not_move():
    table = Table(configured(cluster([pool("h200", 1, 4, cpu_milli=1000)])))
    table.submit(on_one_core("first"))
    second = table.submit(on_one_core("second"))
    table.decide()
    assert second.reason.code is ReasonCode.FRAGMENTED
