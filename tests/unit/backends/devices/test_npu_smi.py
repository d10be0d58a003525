"""What npu-smi prints becomes devices: cards of one chip, packages of two, and rows that went wrong."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.devices import DeviceInfo, get_adapter, npu_smi
from scheduler.errors import DeviceError

RECORDINGS = Path(__file__).parent / "recordings"
ASCEND = get_adapter("ascend")


def text(name: str) -> str:
    return (RECORDINGS / name).read_text()


def probe(info: str, board: str = "", listing: str = "") -> tuple[DeviceInfo, ...]:
    def runner(command: Sequence[str]) -> str:
        page = {"-l": listing, "-t": board}.get(command[2], "") if len(command) > 2 else info
        if not page:
            raise DeviceError("this tool has no such page")
        return page

    return ASCEND.probe(runner)


def test_eight_cards_of_one_chip_are_eight_devices():
    devices = probe(text("npu-smi-25.2.910b3.txt"))
    assert [(d.index, d.accelerator, d.memory_mib, d.chips) for d in devices] == [
        (i, "ascend-910b3", 65536, (i,)) for i in range(8)
    ]


def test_a_card_in_alarm_is_unhealthy_and_a_warning_is_only_told():
    devices = probe(text("npu-smi-25.2.910b3.txt"))
    assert [d.index for d in devices if not d.healthy] == [5]
    assert [d.index for d in devices if d.problem] == [5, 6]
    assert "Alarm" in devices[5].problem


def test_a_row_of_errors_is_an_unhealthy_device_beside_a_healthy_one():
    first, second = probe(text("npu-smi-24.1.910b4.txt"))
    assert (first.healthy, first.accelerator, first.memory_mib) == (True, "ascend-910b4", 32768)
    assert (second.healthy, second.memory_mib) == (False, 0)
    assert "ERR" in second.problem


def test_a_package_of_two_dies_is_one_device_of_two_chips():
    devices = probe(text("npu-smi-25.2.910c.txt"), board=text("npu-smi-25.2.910c-board.txt"))
    assert [(d.index, d.accelerator, d.memory_mib, d.chips) for d in devices] == [
        (0, "ascend-910c", 131072, (0, 1)),
        (1, "ascend-910c", 131072, (2, 3)),
    ]
    assert ASCEND.visible_env((0, 1), dies=2) == {"ASCEND_RT_VISIBLE_DEVICES": "0,1,2,3"}
    assert ASCEND.visible_env((1,), dies=2) == {"ASCEND_RT_VISIBLE_DEVICES": "2,3"}


def test_without_its_board_page_a_package_is_not_guessed_at():
    devices = probe(text("npu-smi-25.2.910c.txt"))
    assert {d.accelerator for d in devices} == {""}
    assert all("not known" in d.problem for d in devices)


def test_a_package_with_one_die_missing_is_unhealthy():
    lines = text("npu-smi-25.2.910c.txt").splitlines()
    second_die = next(i for i, line in enumerate(lines) if "0000:9F:00.0" in line)
    broken = "\n".join(lines[: second_die - 1] + lines[second_die + 1 :])
    first, second = probe(broken, board=text("npu-smi-25.2.910c-board.txt"))
    assert not first.healthy
    assert "1 of 2 dies" in first.problem
    assert (second.healthy, second.chips) == (True, (2, 3))


def test_a_card_that_is_listed_without_a_row_is_unhealthy():
    devices = probe(text("npu-smi-25.2.910b3.txt"), listing=text("npu-smi-25.2.910b3-list.txt"))
    assert len(devices) == 9
    assert not devices[8].healthy
    assert "NPU 8" in devices[8].problem


def test_the_table_of_processes_is_not_taken_for_devices():
    assert len(npu_smi.parse_info(text("npu-smi-24.1.910b4.txt"))) == 2


def test_a_table_that_breaks_off_in_the_middle_of_a_device_marks_it():
    whole = text("npu-smi-25.2.910b3.txt").splitlines()
    cut = next(i for i, line in enumerate(whole) if line.startswith("| 2 "))
    devices = probe("\n".join(whole[: cut + 1]))
    assert [d.healthy for d in devices] == [True, True, False]
    assert "half a row" in devices[2].problem


@pytest.mark.parametrize(
    ("name", "memory_mib", "accelerator"),
    [
        ("910B2", 65536, "ascend-910b2"),
        ("Ascend910B3", 65536, "ascend-910b3"),
        ("Ascend 910B3", 65536, "ascend-910b3"),
        ("910B4", 32768, "ascend-910b4"),
        ("910B4-1", 65536, ""),
        ("910B2C", 65536, ""),
        ("Ascend910_9382", 65536, "ascend-910c"),
        ("Ascend910_9392", 65536, "ascend-910c"),
        ("Ascend910", 65536, ""),
        ("Ascend950PR_9599", 114688, "ascend-950pr"),
        ("310P3", 44280, ""),
    ],
)
def test_a_tools_name_resolves_to_the_catalogs(name, memory_mib, accelerator):
    assert ASCEND.accelerator(name, memory_mib) == accelerator


@pytest.mark.parametrize("page", ["", "dcmi module initialize failed. ret is -8005\n", "+---+\n| a | b |\n"])
def test_a_tool_that_prints_no_table_is_an_error_that_quotes_it(page):
    with pytest.raises(DeviceError, match="npu-smi"):
        ASCEND.probe(lambda command: page)


ROWS = st.sampled_from(
    [
        "| 0 910B3 | OK | 1 |",
        "| 0 | 0000:C1 | 3 / 65536 |",
        "| 0 0 | x | 1/2 |",
        "| NPU Chip | Process id |",
        "|",
        "||",
        "| 0 x |",
    ]
)


@given(st.text(max_size=300) | st.lists(ROWS, max_size=12).map("\n".join))
def test_no_text_makes_a_parser_fail_in_any_other_way(page):
    npu_smi.parse_list(page)
    npu_smi.parse_board(page)
    try:
        devices = ASCEND.probe(lambda command: page)
    except DeviceError:
        return
    assert devices
    assert all(device.healthy or device.problem for device in devices)


@pytest.mark.parametrize(("ranks", "seconds"), [(1, 122), (64, 248), (2048, 4216), (10**6, 7200)])
def test_more_ranks_get_more_time_to_connect_up_to_what_hccl_takes(ranks, seconds):
    assert ASCEND.launch_env(ranks)["HCCL_CONNECT_TIMEOUT"] == str(seconds)


def test_kubernetes_counts_each_chip_under_a_name_of_its_own():
    assert ASCEND.resources("ascend-910c").kubernetes == "huawei.com/Ascend910C"
    assert ASCEND.resources("ascend-950pr").kubernetes == "huawei.com/Ascend910"
