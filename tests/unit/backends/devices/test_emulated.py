"""An emulated device has the identity of a real one, and its speed and memory are enforced."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.devices import get_adapter
from backends.devices.emulated import Pacer, memory_limit_bytes
from scheduler.errors import DeviceError


class Time:
    """A clock that moves only when told or slept on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def pacer(pace_s: float) -> tuple[Pacer, Time]:
    time = Time()
    return Pacer(pace_s, clock=time, sleep=time.sleep), time


def test_a_step_is_stretched_to_the_devices_rate():
    paced, time = pacer(0.5)
    time.now += 0.2
    assert paced.step(2) == pytest.approx(0.8)
    assert time.now == pytest.approx(101.0)
    assert paced.overruns == 0


def test_a_step_slower_than_its_share_is_an_overrun_and_is_not_stretched():
    paced, time = pacer(0.5)
    time.now += 3.0
    assert paced.step(1) == 0
    assert paced.overruns == 1


def test_waking_late_does_not_add_up():
    paced, time = pacer(1.0)
    for _ in range(10):
        time.now += 0.5
        paced.step(1)
        time.now += 0.1
    assert time.now == pytest.approx(110.1)


def test_after_a_long_stop_at_most_one_step_is_made_good():
    paced, time = pacer(1.0)
    time.now += 60.0
    paced.step(1)
    waits = []
    for _ in range(4):
        time.now += 0.1
        waits.append(paced.step(1))
    assert waits == pytest.approx([0.0, 0.8, 0.9, 0.9])


def test_without_a_pace_nothing_waits():
    paced, time = pacer(0.0)
    assert (paced.step(1e9), time.now, paced.overruns) == (0.0, 100.0, 0)


@given(st.lists(st.tuples(st.floats(0.001, 0.9), st.integers(1, 5)), min_size=1, max_size=30))
def test_fast_steps_end_exactly_when_the_device_would_have_ended_them(steps):
    paced, time = pacer(1.0)
    for own, work in steps:
        time.now += own
        paced.step(work)
    assert time.now - 100.0 == pytest.approx(sum(work for _, work in steps))


def test_a_rank_may_grow_by_its_devices_memory_scaled():
    assert memory_limit_bytes(96, 2, 1 / 1024) == 2 * 96 * 1024**2


GROW = """
from backends.devices import get_adapter
from backends.devices.emulated import limit_growth
limit_growth(64 * 1024**2)
held = bytearray(8 * 1024**2)
try:
    bytearray(512 * 1024**2)
except MemoryError as error:
    print("out of memory:", get_adapter("nvidia", emulated=True).is_out_of_memory(error), len(held))
"""


def test_running_out_of_an_emulated_devices_memory_is_real_and_recognised():
    done = subprocess.run([sys.executable, "-c", GROW], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.strip(), done.stderr) == (f"out of memory: True {8 * 1024**2}", "")


def test_a_limit_of_nothing_is_refused():
    from backends.devices.emulated import limit_growth

    with pytest.raises(DeviceError, match="0 bytes"):
        limit_growth(0)


def test_an_emulation_wakes_no_vendors_plugin():
    environment = get_adapter("ascend", emulated=True).launch_env(2, "lo")
    assert environment == {"GLOO_SOCKET_IFNAME": "lo", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}


def test_an_emulated_device_cannot_be_probed():
    with pytest.raises(DeviceError, match="cluster file"):
        get_adapter("ascend", emulated=True).probe(lambda command: "")
