"""What policies weigh jobs by: how much is left, what was received, what a move costs, what devices are worth."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.columns import NONE, Gathered
from scheduler.engine.progress import MOVES
from scheduler.engine.snapshot import Snapshot
from scheduler.model.jobs import Moves
from scheduler.model.units import FOREVER_US, US_PER_S
from scheduler.quota.prices import PriceBook
from scheduler.quota.reclaim import MEDIAN_UNKNOWN_US
from scheduler.quota.worth import REFERENCE

__all__ = ["may_move", "weighed"]

Int = NDArray[np.int64]
Real = NDArray[np.float64]
Flag = NDArray[np.bool_]

LEAST_LEFT: Final = 0.02
"""A job past the work that it declared counts as having this part of it left: what it said was wrong."""


def may_move(snapshot: Snapshot, numbers: Int, gathered: Gathered, current: Int) -> Flag:
    """bool[m]: options that a job may have next; while it holds one, as far as its progress can be taken."""
    columns, count = snapshot.columns, np.diff(gathered.ptr)
    reach = np.repeat(columns.job("moves")[numbers], count)
    now = np.repeat(current, count)
    held = np.where(now == NONE, 0, now)
    mix, family = columns.option("mix")[gathered.option], columns.option("family")[gathered.option]
    found: Flag = now == np.arange(len(now))
    found |= (now == NONE) | (reach == MOVES.index(Moves.ANY))
    if len(mix):
        found |= (reach == MOVES.index(Moves.SAME_ACCELERATOR)) & (mix == mix[held])
        found |= (reach == MOVES.index(Moves.SAME_FAMILY)) & (family == family[held])
    return found


def weighed(snapshot: Snapshot, numbers: Int, gathered: Gathered, current: Int, now_us: int) -> dict[str, Any]:
    """The fields of `policies.Problem` that weigh jobs and options."""
    columns, tree = snapshot.columns, snapshot.ledger.tree
    job = {name: columns.job(name)[numbers] for name in ("submitted_us", "deadline_us", "attained_s", "held_us")}
    rate, devices = columns.option("rate")[gathered.option], _devices(snapshot, gathered)
    holds = current != NONE
    held_s = np.where(holds, now_us - np.minimum(job["held_us"], now_us), 0) / US_PER_S
    mine = np.where(holds, devices[np.where(holds, current, 0)], 0.0) if len(devices) else np.zeros(len(numbers))
    done, unsaved_s = _done(snapshot, numbers, now_us)
    price = _prices(snapshot, now_us)
    deadline_s = np.where(job["deadline_us"] >= FOREVER_US, np.inf, (job["deadline_us"] - now_us) / US_PER_S)
    return {
        **_work(snapshot, numbers, gathered, rate, done),
        "attained_s": job["attained_s"] + mine * held_s,
        "age_s": (now_us - job["submitted_us"]) / US_PER_S,
        "move_s": _move(snapshot, numbers, holds, unsaved_s),
        "deadline_s": deadline_s,
        "h20": _h20(snapshot, gathered, rate, devices),
        "cost": _devices(snapshot, gathered, price),
        "tenant": columns.job("tenant")[numbers],
        "tenant_parent": np.array(tree.parent, dtype=np.int64),
        "tenant_weight": np.array(tree.weight, dtype=np.float64),
        "service": columns.job("service")[numbers],
        "resumes": columns.job("declared")[numbers],
        "ran_s": np.maximum(now_us - columns.job("started_us")[numbers], 0) / US_PER_S,
        "prefer": columns.job("prefer")[numbers].astype(np.int64),
    }


def _reduced(of: np.ufunc, values: Real, ptr: Int, empty: float) -> Real:
    """float64[n]: `of` over the options of each job, `empty` for jobs without any."""
    found = np.full(len(ptr) - 1, empty)
    some = np.diff(ptr) > 0
    if some.any():
        found[some] = of.reduceat(values, ptr[:-1][some])
    return found


def _devices(snapshot: Snapshot, gathered: Gathered, worth: Real | None = None) -> Real:
    """float64[m]: devices of each option, or what they are worth: `worth` is float64[accelerators]."""
    owner = np.repeat(np.arange(len(gathered.option)), np.diff(gathered.use_ptr))
    device = gathered.use_row < snapshot.rows.capacity_rows
    amount = np.where(device, gathered.use_amount, 0).astype(np.float64)
    if worth is not None:
        amount *= worth[gathered.use_row % len(worth)]
    return np.bincount(owner, weights=amount, minlength=len(gathered.option)).astype(np.float64)


def _prices(snapshot: Snapshot, now_us: int) -> Real:
    """float64[accelerators]: fen per device-hour; compute units where there is no price book."""
    config = snapshot.config
    book = PriceBook(config.rules.prices, config.rules.lots)
    chips = snapshot.fleet.catalog.accelerators
    found = [book.fen_per_device_hour(c.name, now_us) if book else c.compute_units for c in chips]
    return np.array(found, dtype=np.float64)


def _done(snapshot: Snapshot, numbers: Int, now_us: int) -> tuple[Real, Real]:
    """Work done by now at the pace last seen, and seconds of it that no checkpoint holds; float64[n] each."""
    columns = snapshot.columns
    pace, seen_us = columns.job("pace")[numbers], columns.job("seen_us")[numbers]
    done = columns.job("done")[numbers] + pace * (now_us - np.minimum(seen_us, now_us)) / US_PER_S
    unsaved = np.maximum(done - columns.job("saved")[numbers], 0.0)
    return done, np.divide(unsaved, pace, out=np.zeros(len(numbers)), where=pace > 0)


def _work(snapshot: Snapshot, numbers: Int, gathered: Gathered, rate: Real, done: Real) -> dict[str, Real]:
    """What is left and the whole in seconds on the best option, float64[n]; infinite where it is not known."""
    amount = snapshot.columns.job("amount")[numbers]
    absolute = snapshot.columns.option("absolute")[gathered.option]
    best = _reduced(np.maximum, np.where(absolute, rate, 0.0), gathered.ptr, 0.0)
    known = np.isfinite(amount) & (best > 0)
    left = np.where(done < amount, amount - done, LEAST_LEFT * amount)
    work = {"left_s": left, "whole_s": amount}
    return {k: np.divide(v, best, out=np.full(len(numbers), np.inf), where=known) for k, v in work.items()}


def _move(snapshot: Snapshot, numbers: Int, holds: Flag, unsaved_s: Real) -> Real:
    """A job that is given notice saves, so that work is lost only where its save takes longer than any notice."""
    columns, policy = snapshot.columns, snapshot.config.policy
    found = columns.job("overhead_us")[numbers] / US_PER_S
    late = 2 * columns.job("save_us")[numbers] > max(policy.notice_max_us, policy.notice_min_us)
    found += np.where(late, unsaved_s, 0.0)
    declared = columns.job("declared")[numbers]
    typical = float(np.median(found[holds & declared])) if (holds & declared).any() else MEDIAN_UNKNOWN_US / US_PER_S
    lost: Real = np.where(holds, np.where(declared, found, typical), 0.0)
    return lost


def _h20(snapshot: Snapshot, gathered: Gathered, rate: Real, devices: Real) -> Real:
    """Rate over that of one h20-96; over the slowest per device that the job could take where it has none."""
    fleet = snapshot.fleet
    each = np.divide(rate, devices, out=np.full(len(rate), np.inf), where=devices > 0)
    unit = _reduced(np.minimum, each, gathered.ptr, 1.0)
    if REFERENCE in fleet.accelerator_index:
        is_unit = snapshot.columns.option("kind")[gathered.option] == fleet.accelerator_index[REFERENCE]
        own = _reduced(np.maximum, np.where(is_unit, each, 0.0), gathered.ptr, 0.0)
        unit = np.where(own > 0, own, unit)
    found: Real = rate / np.repeat(np.where(unit > 0, unit, 1.0), np.diff(gathered.ptr))
    return found
