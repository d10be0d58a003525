"""One sentence for each reason to wait: what blocks, by how much, and what to do about it."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from scheduler.cli.humanise import devices, when
from scheduler.model.reasons import FOR_EVER, Reason, ReasonCode
from scheduler.model.tenants import COMPUTE_UNITS, MONEY
from scheduler.model.units import US_PER_S, WHOLE_DEVICE

__all__ = ["is_for_ever", "reason_of", "sentence", "SENTENCES", "short"]


def _what(r: Reason, count: int) -> str:
    return devices(count, r.accelerator)


def _on(r: Reason) -> str:
    return f" on {r.accelerator}" if r.accelerator else ""


def _most(r: Reason) -> str:
    return f"no cell has more than {r.have}" if r.have else "no cell can hold it whole"


def _until(r: Reason) -> str:
    return f" until {_at(r)}" if r.until_us else ""


def _at(r: Reason) -> str:
    return when(datetime.fromtimestamp(r.until_us / US_PER_S, UTC).isoformat()) if r.until_us else ""


def _limit(r: Reason, count: int) -> str:
    """An amount of what the limit counts, which need not be the accelerator."""
    if r.resource == COMPUTE_UNITS:
        return f"{count / WHOLE_DEVICE:g} compute units"
    if r.resource == MONEY:
        return f"{count / 100:,.2f} CNY an hour"
    return f"{count} {_kind(r)}" if r.resource else devices(count, r.accelerator)


def _whose(r: Reason) -> str:
    return f"the tenant's quota ({r.who})" if r.who else "what tenants lend"


def _in_use(r: Reason) -> str:
    """What of a limit is in use, and whose it is where users have one. Records of earlier versions do not tell."""
    if not r.limit:
        return ""
    if r.tenant:
        return f": {r.used} of {devices(r.limit)} in use in {r.tenant}"
    used, _, unit = _limit(r, r.used).partition(" ")
    limit = _limit(r, r.limit)
    return f": {used if limit.endswith(unit) else f'{used} {unit}'} of {limit} in use"


def _spent(r: Reason, used: int) -> str:
    """Of a budget: money, or hours of devices or compute units."""
    if r.resource == MONEY:
        return f"{used / 100:,.2f} CNY"
    hours = "compute-unit-hours" if r.resource == COMPUTE_UNITS else f"hours on {_kind(r)}"
    return f"{used / WHOLE_DEVICE:,.6g} {hours}"


def _kind(r: Reason) -> str:
    """The devices that a limit counts: `h200`, `h20`, `imported devices`."""
    kind, _, name = r.resource.partition(":")
    return f"{name} devices" if kind == "track" else name or kind or r.accelerator or "devices"


def _by(r: Reason) -> str:
    return f" ({r.who})" if r.who else ""


_C = ReasonCode
SENTENCES: Final[Mapping[ReasonCode, Callable[[Reason], str]]] = {
    _C.UNKNOWN_ACCELERATOR: lambda r: (
        f"No pool of this fleet has {r.accelerator or 'that accelerator'}; choose one that `dualtrack fleet` lists."
    ),
    _C.EXCEEDS_FLEET: lambda r: (
        f"It asks for {_what(r, r.need)} and the whole fleet has {r.have}; ask for at most {r.have}."
    ),
    _C.EXCEEDS_CELL: lambda r: (
        f"It asks for {_what(r, r.need)}, {_most(r)}, and a gang never spans cells; ask for less at once."
    ),
    _C.EXCEEDS_NODE: lambda r: (
        f"One node would have to give {_what(r, r.need)} with their CPU and memory and none can give more than "
        f"{r.have}; lower per_device or the count."
    ),
    _C.EXCEEDS_DOMAIN: lambda r: (
        f"It requires {_what(r, r.need)} within one node or domain and the largest has {r.have}; "
        "prefer the topology instead of requiring it."
    ),
    _C.GRANULARITY: lambda r: (
        f"The vendor's tools cannot grant {_what(r, r.need)} of a node; ask for a count that they can."
    ),
    _C.NOT_SHAREABLE: lambda r: (
        f"Devices{_on(r)} are granted whole here; leave out `share`, or ask for a pool whose devices are shared."
    ),
    _C.MEMORY_FLOOR: lambda r: (
        f"The model does not fit into {_what(r, r.have)}; it takes at least {r.need}."
        if r.need
        else f"The model does not fit into that many devices{_on(r)}; ask for more of them."
    ),
    _C.OBJECTIVES_MISSED: lambda r: (
        f"A replica of {_what(r, r.need)} is not expected to serve a single request within the objectives; "
        "give it more devices, or ease them."
    ),
    _C.NO_RATE: lambda r: (
        f"Nothing is known of its speed{_on(r)}; state one under workload.measured, or choose another accelerator."
    ),
    _C.UNCERTAIN_RATE: lambda r: (
        f"Its speed{_on(r)} is a guess that may be wrong by more than twice; list the accelerator under "
        "resources.options if you accept that, or state a speed under workload.measured."
    ),
    _C.BELOW_MIN_EFFICIENCY: lambda r: (
        f"Its efficiency{_on(r)} would be {r.have / 1000:g} and its min_efficiency is {r.need / 1000:g}; "
        "ask for fewer devices or lower the bound."
    ),
    _C.NO_ADAPTER: lambda r: (
        f"No backend can run work{_on(r)}; choose another accelerator, or install the vendor's adapter."
    ),
    _C.MOVE_NOT_ALLOWED: lambda r: (
        f"It has progress on another device and its `moves` forbid going on{_on(r)}; allow the move, or wait there."
    ),
    _C.CHECKPOINT_NOT_PORTABLE: lambda r: (
        f"Its checkpoint cannot be resumed{_on(r)}; set checkpoint.portable once the script can."
    ),
    _C.QUOTA_ZERO: lambda r: (
        f"The tenant{_by(r)} has no quota for {r.accelerator or 'it'}; ask for quota, or choose what "
        "`dualtrack quota` lists."
    ),
    _C.EXCEEDS_QUOTA: lambda r: (
        f"It asks for {_limit(r, r.need)} and the whole quota of the tenant{_by(r)} is {_limit(r, r.have)}; ask for "
        "at most that, or for more quota."
    ),
    _C.USER_LIMIT_EXCEEDED: lambda r: (
        f"It asks for {devices(r.need)} and one user{_by(r)} may hold {r.have}{f' in {r.tenant}' if r.tenant else ''}; "
        f"ask for at most {r.have}."
    ),
    _C.LABELS_EXCLUDE: lambda r: (
        f"A licence{_by(r)} excludes one of its labels and leaves no node{_on(r)}; correct the labels, or choose "
        "another accelerator."
    ),
    _C.ELIGIBILITY: lambda r: (
        f"An eligibility rule{_by(r)} leaves {r.have} devices{_on(r)} for it; correct its labels, or ask the operator."
    ),
    _C.LICENCE: lambda r: (
        f"The licence{_by(r)} of the devices{_on(r)} has ended or does not cover their site; choose another "
        "accelerator, or ask the operator."
    ),
    _C.LOT_FORBIDDEN: lambda r: (
        f"The lot{_by(r)} of the devices{_on(r)} takes nothing new; choose another accelerator, or ask the operator."
    ),
    _C.DEADLINE_MISSED: lambda r: (
        f"It cannot finish{_on(r)} before its deadline any more; move the deadline with `dualtrack update`."
    ),
    _C.SUSPENDED: lambda _: "It is suspended; `dualtrack resume` lets it go on.",
    _C.DEPENDENCY: lambda r: f"It waits for {r.who or 'another job'} to end as its `after` says.",
    _C.ARRAY_LIMIT: lambda r: (
        f"Of its array {r.have} run and max_running is {r.need}; it follows when one of them ends."
    ),
    _C.BACKOFF: lambda r: f"Its last attempt failed and it waits{_until(r)} before the next one.",
    _C.AFTER_WAIT: lambda r: f"This option{_on(r)} stays closed by its after_wait{_until(r)}.",
    _C.QUOTA_IN_USE: lambda r: (
        f"It needs {_limit(r, r.need)} and {_limit(r, r.have)} of {_whose(r)} is free{_in_use(r)}; it starts as jobs "
        "end."
    ),
    _C.USER_LIMIT_IN_USE: lambda r: (
        f"It needs {devices(r.need)} and the user{_by(r)} may take {r.have} more{_in_use(r)}; it starts as their jobs "
        "end."
    ),
    _C.MONEY_BUDGET: lambda r: (
        f"The tenant{_by(r)} has used {_spent(r, r.have)} of its budget of {_spent(r, r.need)} for this period; it "
        f"starts in the next one, which begins {_at(r) or 'later'}."
    ),
    _C.DOMESTIC_SHARE_HOLD: lambda r: (
        f"The rule{_by(r)} holds starts{_on(r)} while idle domestic devices wait for a job that could take them; "
        "allow a domestic option, or wait."
    ),
    _C.BEHIND_IN_QUEUE: lambda r: (
        f"Another job{_by(r)} goes first on what is idle{_on(r)}; it follows, or earlier with a higher priority."
    ),
    _C.OUTPRICED: lambda r: (
        f"It needs {_what(r, r.need)}, from which others gain more at present; its weight grows as it waits."
    ),
    _C.NO_ROOM: lambda r: (
        f"It needs {_what(r, r.need)} and {r.have} {'is' if r.have == 1 else 'are'} idle; it starts when more are free."
    ),
    _C.FRAGMENTED: lambda r: (
        f"The {r.have} idle {r.accelerator or 'devices'} lie on nodes where a gang of {r.need} does not fit; "
        "ask for a smaller count, or wait for neighbours to end."
    ),
    _C.NODES_UNAVAILABLE: lambda r: (
        f"It would fit but for nodes{_on(r)} that are cordoned, draining or down{_by(r)}; it starts when they are back."
    ),
    _C.RESERVED: lambda r: (
        f"It would still run when the reservation{_by(r)} of idle nodes{_on(r)} begins; give it a time limit that ends "
        f"before, or wait{_until(r)}."
    ),
    _C.WAITING_FOR_PREEMPTED: lambda r: (
        f"Jobs{_by(r)} are leaving to make room{_on(r)}; it starts when they have gone{_until(r)}."
    ),
    _C.CELL_UNREACHABLE: lambda r: (
        f"The executor of cell {r.who or 'this cell'} does not answer; it starts when the executor is back."
    ),
    _C.OBSERVING: lambda _: (
        "The service decides but does not act, and would start it now; run it with --mode enforce to act."
    ),
    _C.NOT_EVALUATED: lambda _: "The scheduler has not looked at it yet; ask again in a moment.",
}
"""By code, in the order of the codes."""


def sentence(reason: Reason) -> str:
    """What blocks, by how much and what to do, in one sentence."""
    return SENTENCES[reason.code](reason)


def short(reason: Mapping[str, Any] | None) -> str:
    """The code with its amounts, for a column: `no_room h200 8>2`, of a limit `quota_in_use h200 8>2 of 16`."""
    if not reason:
        return ""
    parts = [reason["code"], reason.get("accelerator", "")]
    if reason.get("resource"):
        parts[1] = reason["resource"]
    if reason["code"] == ReasonCode.MONEY_BUDGET:
        parts.append(reason.get("who", ""))
    elif reason.get("need"):
        need, have = reason["need"], reason.get("have", 0)
        parts.append(f"{_amount(reason, need)}{'>' if need > have else ' within '}{_amount(reason, have)}")
        if reason.get("limit", have) != have:
            parts.append(f"of {_amount(reason, reason['limit'])}")
    elif reason.get("who"):
        parts.append(reason["who"])
    return " ".join(part for part in parts if part)


def _amount(reason: Mapping[str, Any], amount: int) -> str:
    """Money in CNY per hour, compute units whole, all else as it is counted."""
    scale = {MONEY: 100, COMPUTE_UNITS: WHOLE_DEVICE}.get(reason.get("resource", ""), 1)
    return f"{amount / scale:g}" if amount % scale else str(amount // scale)


def reason_of(view: Mapping[str, Any]) -> Reason:
    """The reason in an answer of the service."""
    until = view.get("until")
    return Reason(
        code=ReasonCode(view["code"]),
        accelerator=view.get("accelerator", ""),
        need=view.get("need", 0),
        have=view.get("have", 0),
        who=view.get("who", ""),
        resource=view.get("resource", ""),
        limit=view.get("limit", 0),
        used=view.get("used", 0),
        tenant=view.get("tenant", ""),
        until_us=round(datetime.fromisoformat(until).timestamp() * US_PER_S) if until else 0,
    )


def is_for_ever(view: Mapping[str, Any]) -> bool:
    return ReasonCode(view["code"]) in FOR_EVER
