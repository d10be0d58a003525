"""Reads npu-smi's tables: text in, chips out."""

import re
from collections.abc import Mapping

from msgspec import Struct

from scheduler.errors import DeviceError

__all__ = ["Chip", "parse_board", "parse_info", "parse_list"]

SOUND = {"OK", "WARNING"}
CARD_ROW = re.compile(r"^(\d{1,4})\s+(\S.*)$")
CHIP_ROW = re.compile(r"^(\d{1,4})(?:\s+(\d{1,5}))?$")
USED_OF_TOTAL = re.compile(r"(\d{1,9})\s*/\s*(\d{1,9})\s*$")
PAIR = re.compile(r"^\s*([A-Za-z][^:]*?)\s*:\s*(.*?)\s*$")


class Chip(Struct, frozen=True, kw_only=True):
    """One chip (die) of the card `npu`; `physical` is its number on the node where the tool prints it."""

    npu: int
    chip: int
    name: str
    physical: int | None = None
    bus_id: str = ""
    memory_mib: int = 0
    healthy: bool = True
    problem: str = ""


def parse_info(text: str) -> tuple[Chip, ...]:
    """Chips of `npu-smi info`: two rows each, card and health first, then chip, bus and memory (MB, which are MiB)."""
    chips: list[Chip] = []
    card: tuple[int, str, str] | None = None
    for cells in _rows(text):
        if "process id" in " ".join(cells).lower():
            break
        first = CARD_ROW.match(cells[0])
        second = CHIP_ROW.match(cells[0])
        if card is not None and second is not None:
            chips.append(_chip(card, second, cells))
            card = None
        elif first is not None and len(cells) >= 2 and second is None:
            if card is not None:
                chips.append(_half(card))
            card = (int(first[1]), first[2].strip(), cells[1])
    if card is not None:
        chips.append(_half(card))
    if not chips:
        raise DeviceError(f"npu-smi did not print its table: {_first_line(text)}", "check that the driver is loaded")
    if len({(chip.npu, chip.chip) for chip in chips}) != len(chips):
        raise DeviceError("npu-smi lists a chip twice", "probe again")
    return tuple(chips)


def parse_list(text: str) -> Mapping[int, int]:
    """Chips per card of `npu-smi info -l`; empty where the page says nothing."""
    counts: dict[int, int] = {}
    npu: int | None = None
    for key, value in _pairs(text):
        if key == "npu id" and _number(value):
            npu = int(value)
            counts.setdefault(npu, 1)
        elif key == "chip count" and npu is not None and _number(value):
            counts[npu] = min(int(value), 64)
    return counts


def parse_board(text: str) -> str:
    """The full chip name of `npu-smi info -t board`: with the board's own number where it has one (910C: 93xx)."""
    page = dict(_pairs(text))
    chip, npu = page.get("chip name", ""), page.get("npu name", "")
    if not chip or chip.upper() == "NA":
        return ""
    return f"{chip}_{npu}" if re.fullmatch(r"\w{2,12}", npu) and npu.upper() != "NA" else chip


def _rows(text: str) -> list[list[str]]:
    lines = (line.strip() for line in text.splitlines())
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def _chip(card: tuple[int, str, str], place: re.Match[str], cells: list[str]) -> Chip:
    npu, name, health = card
    memory = USED_OF_TOTAL.search(cells[-1])
    memory_mib = int(memory[2]) if memory else 0
    problems = []
    if health.upper() != "OK":
        problems.append(f"NPU {npu} chip {place[1]} reports health {health[:40] or 'nothing'}")
    if not memory_mib:
        problems.append(f"NPU {npu} chip {place[1]} reports no memory")
    return Chip(
        npu=npu,
        chip=int(place[1]),
        name=name,
        physical=int(place[2]) if place[2] else None,
        bus_id=cells[1] if len(cells) > 2 else "",
        memory_mib=memory_mib,
        healthy=health.upper() in SOUND and memory_mib > 0,
        problem="; ".join(problems),
    )


def _half(card: tuple[int, str, str]) -> Chip:
    npu, name, health = card
    return Chip(npu=npu, chip=0, name=name, healthy=False, problem=f"NPU {npu} ({health[:40]}) has half a row only")


def _pairs(text: str) -> list[tuple[str, str]]:
    matches = (PAIR.match(line) for line in text.splitlines())
    return [(match[1].lower(), match[2]) for match in matches if match]


def _number(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) <= 5


def _first_line(text: str) -> str:
    return next((line.strip()[:200] for line in text.splitlines() if line.strip()), "it said nothing")
