"""Columns of the tables: how a job, an attempt, a node or a quota reads."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from scheduler.cli.humanise import amount, duration, seconds_between, share, when
from scheduler.cli.output import Column
from scheduler.cli.sentences import short

__all__ = [
    "ATTEMPTS",
    "CELLS",
    "JOBS",
    "NODES",
    "OPTIONS",
    "POOLS",
    "QUOTAS",
    "WEIGHED",
    "asked",
    "bar",
    "budget",
    "held",
    "progress",
]

Row = Mapping[str, Any]


def held(job: Row) -> str:
    """`8 h200 (emulated)`, or `-`."""
    parts = [f"{part['count']} {part['accelerator']}" for part in job["holds"]]
    return " + ".join(parts) + (" (emulated)" if job["emulated"] else "") if parts else "-"


def asked(job: Row) -> str:
    """`h200:8,h20-96:32|64`, roles joined by ` + `."""
    roles = []
    for role in job["asks"]:
        options = [f"{name}:{'|'.join(str(count) for count in counts)}" for name, counts in role["options"]]
        roles.append(",".join(options) or "any")
    return " + ".join(roles)


def progress(job: Row) -> str:
    """`120/400 steps 30%`, or what is done where the whole is not known."""
    found = job["progress"]
    if found["total"]:
        return f"{amount(found['done'])}/{amount(found['total'])} {share(found['ratio'])}"
    return amount(found["done"]) if found["done"] else "-"


def budget(found: Row | None) -> str:
    """`120 of 5000 h`, of device- or compute-unit-hours, or of CNY; `-` without a budget."""
    if found is None:
        return "-"
    unit = "CNY" if found["unit"] == "cny" else "h"
    return f"{_grouped(found['used'])} of {_grouped(found['amount'])} {unit}"


def _grouped(value: float) -> str:
    """A sum that people read as one: `40,000,000`, `22.2`."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else amount(value)


def _per_hour(quota: Row) -> str:
    return " CNY/h" if quota["resource"] == "money" else ""


def _left(limit: float, used: float) -> float:
    """Without the dust of subtracting parts of devices and fen."""
    left = round(max(0, limit - used), 3)
    return int(left) if left == int(left) else left


def bar(ratio: float | None, width: int = 12) -> str:
    """`######------`"""
    if ratio is None:
        return ""
    full = round(width * min(1.0, max(0.0, ratio)))
    return "#" * full + "-" * (width - full)


def _band(option: Row) -> str:
    """`38 to 49`: the ends of the rate's band."""
    if not option.get("rate"):
        return "-"
    return f"{amount(option['rate_low'])} to {amount(option['rate_high'])}"


def _verdict(option: Row) -> str:
    if not option["reasons"]:
        return "starts now"
    if option.get("delivery"):
        return f"from {option['delivery']['expected'][:10]}"
    return "never" if option["for_ever"] else "not now"


def _expected(job: Row) -> str:
    found = job.get("expected") or {}
    if job["state"] == "waiting":
        return f"starts {when(found.get('start'))}" if found.get("start") else "-"
    return f"ends {when(found.get('finish'))}" if found.get("finish") else "-"


JOBS: Final[Sequence[Column]] = (
    Column("ID", lambda r: r["id"]),
    Column("NAME", lambda r: r["name"]),
    Column("TENANT", lambda r: r["tenant"]),
    Column("USER", lambda r: r["user"], wide=True),
    Column("CLASS", lambda r: r["class"], wide=True),
    Column("PRIO", lambda r: str(r["priority"]), wide=True, right=True),
    Column("STATE", lambda r: r["state"]),
    Column("DEVICES", held),
    Column("ASKED", asked, wide=True),
    Column("PROGRESS", progress, right=True),
    Column("ATTEMPTS", lambda r: str(r["attempts"]), wide=True, right=True),
    Column("WAIT", lambda r: duration(r["wait_s"]), right=True),
    Column("RUN", lambda r: duration(r["run_s"]), right=True),
    Column("AGE", lambda r: duration(seconds_between(r["submitted"])), right=True),
    Column("EXPECTED", _expected, wide=True),
    Column("REASON", lambda r: short(r["reason"])),
)

ATTEMPTS: Final[Sequence[Column]] = (
    Column("N", lambda r: str(r["n"]), right=True),
    Column("CELL", lambda r: r["cell"]),
    Column("DEVICES", held),
    Column("NODES", lambda r: ",".join(dict.fromkeys(node["node"] for node in r["nodes"]))),
    Column("STARTED", lambda r: when(r["started"])),
    Column("RUN", lambda r: duration(r["run_s"]), right=True),
    Column("DONE", lambda r: amount(r["done"]), right=True),
    Column("LOSS", lambda r: "-" if r["loss"] is None else f"{r['first_loss'] or 0:.3f}->{r['loss']:.3f}"),
    Column("END", lambda r: " ".join(str(x) for x in (r["stop"], r["how"]) if x) or "-"),
    Column("CODE", lambda r: "-" if r["exit_code"] is None else str(r["exit_code"]), right=True),
)

OPTIONS: Final[Sequence[Column]] = (
    Column("", lambda r: "*" if r.get("chosen") else ""),
    Column("OPTION", lambda r: r["option"]),
    Column("RATE", lambda r: amount(r["rate"]) if r.get("rate") else "-", right=True),
    Column("BAND", _band, wide=True),
    Column("FROM", lambda r: r.get("provenance") or "-", wide=True),
    Column("VERDICT", _verdict),
    Column("REASON", lambda r: "; ".join(short(reason) for reason in r["reasons"])),
)

WEIGHED: Final[Sequence[Column]] = (
    Column("", lambda r: "*" if r["chosen"] else ""),
    Column("OPTION", lambda r: r["option"]),
    Column("SPEED", lambda r: share(r["share"]) if r["share"] else "-", right=True),
    Column("WORTH", lambda r: "-" if r["worth"] is None else f"{r['worth']:.3g}", right=True),
    Column("PRICE", lambda r: f"{r['paid']:.3g}" if r["paid"] else "-", right=True),
    Column("LEFT", lambda r: "-" if r["worth"] is None else f"{r['worth'] - r['paid']:.3g}", right=True),
    Column("REASON", lambda r: "; ".join(short(reason) for reason in r["reasons"])),
)

POOLS: Final[Sequence[Column]] = (
    Column("POOL", lambda r: r["name"]),
    Column("CELL", lambda r: r["cell"]),
    Column("ACCELERATOR", lambda r: r["accelerator"] + (" (emulated)" if r["emulated"] else "")),
    Column("TRACK", lambda r: r["track"]),
    Column("NODES", lambda r: str(r["nodes"]), right=True),
    Column("NOT-READY", lambda r: str(r["not_ready"]), right=True, wide=True),
    Column("DEVICES", lambda r: str(r["devices"]), right=True),
    Column("USED", lambda r: str(r["used"]), right=True),
    Column("IDLE", lambda r: str(r["idle"]), right=True),
    Column("FOREIGN", lambda r: str(r["foreign"]), right=True),
    Column("UNAVAILABLE", lambda r: str(r["unavailable"]), right=True),
)

NODES: Final[Sequence[Column]] = (
    Column("NODE", lambda r: r["name"]),
    Column("CELL", lambda r: r["cell"]),
    Column("ACCELERATOR", lambda r: r["accelerator"] + (" (emulated)" if r["emulated"] else "")),
    Column("STATE", lambda r: r["state"] + (f" (slow: {r['speed']:.0%})" if r.get("speed") else "")),
    Column("DEVICES", lambda r: str(r["devices"]), right=True),
    Column("USED", lambda r: str(r["used"]), right=True),
    Column("IDLE", lambda r: str(r["idle"]), right=True),
    Column("FOREIGN", lambda r: str(r["foreign"]), right=True, wide=True),
    Column("JOBS", lambda r: ",".join(r["jobs"]) or "-"),
)

CELLS: Final[Sequence[Column]] = (
    Column("CELL", lambda r: r["name"]),
    Column("EXECUTOR", lambda r: r["executor"]),
    Column("SITE", lambda r: r["site"] or "-"),
    Column("DEVICES", lambda r: str(r["devices"]), right=True),
    Column("ANSWERS", lambda r: "yes" if r["reachable"] else "no"),
)

QUOTAS: Final[Sequence[Column]] = (
    Column("TENANT", lambda r: r["tenant"]),
    Column("RESOURCE", lambda r: r["resource"] or "-"),
    Column("NOMINAL", lambda r: str(r["nominal"]), right=True),
    Column("ENTITLED", lambda r: str(r["entitled"]), right=True),
    Column("USED", lambda r: str(r["used"]), right=True),
    Column("BORROWED", lambda r: str(r["borrowed"]), right=True),
    Column("LENT", lambda r: str(r["lent"]), right=True),
    Column("IDLE USE", lambda r: str(r["opportunistic"]), right=True, wide=True),
    Column("CEILING", lambda r: "-" if r["ceiling"] is None else f"{r['ceiling']}{_per_hour(r)}", right=True),
    Column("BUDGET", lambda r: budget(r["budget"]), right=True),
    Column("FREE", lambda r: "-" if r["limit"] is None else str(_left(r["limit"], r["used"])), right=True),
    Column("USE", lambda r: share(r["used"] / r["limit"]) if r["limit"] else "-", right=True),
    Column("RUNNING", lambda r: str(r["running"]), right=True),
    Column("WAITING", lambda r: str(r["waiting"]), right=True),
)
