"""A wish for a window, checked against the state and made into an event. Pure but for the id that the shell draws."""

from collections.abc import Callable, Iterator

import numpy as np
from msgspec import Struct

from scheduler.engine.options import OptionRow
from scheduler.engine.state import State
from scheduler.errors import ConflictError, NotFoundError, UsageError
from scheduler.model.events import Actor, ReservationCancelled, ReservationMade
from scheduler.model.reservations import Reservation

__all__ = ["Wish", "cancelled", "in_the_way", "reserved"]


class Wish(Struct, frozen=True, kw_only=True):
    """What somebody asks to keep free: `nodes` by name, or whole nodes with at least `count` devices of `accelerator`,
    in one cell. `from_us` None: from now on."""

    until_us: int
    from_us: int | None = None
    nodes: tuple[str, ...] = ()
    accelerator: str = ""
    count: int = 0
    tenant: str = ""
    why: str = ""


def reserved(state: State, wish: Wish, actor: Actor, new_id: Callable[[], str], now_us: int) -> ReservationMade:
    """Raises UsageError for a wish that makes no sense, NotFoundError for nodes, accelerators or tenants that are not
    there, ConflictError where too few nodes are left, or where another tenant has them in that time."""
    from_us = now_us if wish.from_us is None else wish.from_us
    if wish.until_us <= from_us:
        raise UsageError("the window ends before it begins", "give a `to` after `from`")
    if wish.until_us <= now_us:
        raise UsageError("the window is in the past", "give a `to` in the future")
    if bool(wish.nodes) == bool(wish.accelerator):
        raise UsageError("name nodes, or an accelerator with a count", "give one of the two")
    if wish.tenant and wish.tenant not in state.tree.index:
        known = ", ".join(sorted(name for name in state.tree.names if name)) or "none"
        raise NotFoundError(f"there is no tenant `{wish.tenant}`", f"the tenants are: {known}")
    nodes = _named(state, wish) if wish.nodes else _chosen(state, wish, from_us)
    window = Reservation(
        id=new_id(),
        nodes=nodes,
        from_us=from_us,
        until_us=wish.until_us,
        tenant=wish.tenant,
        why=wish.why,
    )
    other = next((r for r in _overlapping(state, window) if r.tenant and wish.tenant not in ("", r.tenant)), None)
    if other is not None:
        raise ConflictError(
            f"`{other.tenant}` has some of these nodes in that time (reservation {other.id})",
            "choose other nodes or another time, or cancel that one first",
        )
    return ReservationMade(window, actor)


def cancelled(state: State, id_: str, actor: Actor) -> ReservationCancelled:
    """Raises NotFoundError."""
    if state.windows.get(id_) is None:
        raise NotFoundError(f"there is no reservation {id_[:80]!r}", "`dualtrack reserve` lists them")
    return ReservationCancelled(id_, actor)


def in_the_way(state: State, window: Reservation) -> list[int]:
    """Jobs that hold nodes of the window now and may still run when it begins. They are left alone: `drain` moves them.

    Numbers, ascending. The window need not be one of the state's.
    """
    held: dict[int, tuple[OptionRow, int]] = {}
    for job in state.holding():
        place, attempt = int(state.columns.job("current")[job.number]), job.attempt
        if place >= 0 and attempt is not None:
            begun_us = attempt.allocated_us if attempt.started_us is None else attempt.started_us
            held[job.number] = state.rows_of[job.number].rows[place], begun_us
    return state.windows.in_the_way(window, state.holding(), held)


def _named(state: State, wish: Wish) -> tuple[str, ...]:
    missing = [name for name in wish.nodes if state.fleet.cluster.node_index(name) is None]
    if missing:
        raise NotFoundError(f"there is no node `{missing[0][:80]}`", "`dualtrack fleet` lists them")
    return tuple(dict.fromkeys(wish.nodes))


def _overlapping(state: State, window: Reservation) -> Iterator[Reservation]:
    names = set(window.nodes)
    for other in state.windows.reservations:
        if other.from_us < window.until_us and window.from_us < other.until_us and names & set(other.nodes):
            yield other


def _chosen(state: State, wish: Wish, from_us: int) -> tuple[str, ...]:
    """Whole nodes of one cell: those that hold least now, of equal ones the last; none that is reserved by then."""
    fleet = state.fleet
    if wish.accelerator not in fleet.present:
        present = ", ".join(sorted(fleet.present)) or "no devices"
        raise NotFoundError(f"the fleet has no {wish.accelerator[:80]!r}", f"it has {present}")
    if wish.count < 1:
        raise UsageError("a count of devices is at least 1", "give --count")
    spoken_for = {
        node
        for other in state.windows.reservations
        if other.from_us < wish.until_us and from_us < other.until_us
        for node in state.windows.nodes_of(other)
    }
    best: tuple[int, list[int]] | None = None
    most = 0
    for cell in range(len(fleet.cells)):
        nodes = fleet.nodes_on(fleet.shelf_of(cell, wish.accelerator))
        nodes = nodes[~np.isin(nodes, sorted(spoken_for))]
        devices = np.bitwise_count(fleet.devices[nodes]).astype(np.int64)
        busy = devices - np.bitwise_count(state.room.free[nodes]).astype(np.int64)
        order = np.lexsort((-nodes, busy))
        enough = int(np.searchsorted(np.cumsum(devices[order]), wish.count)) + 1
        most = max(most, int(devices.sum()))
        if enough <= len(nodes):
            taken = order[:enough]
            if best is None or int(busy[taken].sum()) < best[0]:
                best = int(busy[taken].sum()), sorted(nodes[taken].tolist())
    if best is None:
        raise ConflictError(
            f"no cell has {wish.count} {wish.accelerator} that are not reserved in that time (at most {most})",
            "ask for fewer, or another time",
        )
    return tuple(fleet.cluster.node_name(node) for node in best[1])
