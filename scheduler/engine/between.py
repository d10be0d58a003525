"""Between two whole solutions only newcomers are decided about: who they are, and what of the last solution stands.

Where jobs are many, weighing all of them takes a second, and an arrival changes next to nothing. What a whole solution
proves is carried over by name with the prices, so that it is journalled and a restart decides alike. Newcomers may take
what is idle; whatever else has changed since (devices that became free, newcomers that found no room) makes the proven
gap wider, and once it is too wide, or after a while, all are weighed again.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.engine.carried import CARRY, PROOF, Prices, named
from scheduler.engine.columns import CLASSES, NONE
from scheduler.engine.problem import Candidates, available, build, held_by
from scheduler.engine.reasons import key_of
from scheduler.engine.seating import Seating
from scheduler.engine.snapshot import Snapshot
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.rules import Mode
from scheduler.model.tenants import JobClass
from scheduler.policies import DEALS, SEAT, WALKS, Certificate, Choice, Problem, Standing, entries_of, part_of

__all__ = ["Between", "at_standing_prices", "lacks", "prices_between", "prices_whole", "since_whole", "whole_due_us"]

Int = NDArray[np.int64]
Real = NDArray[np.float64]
Flag = NDArray[np.bool_]

AT, VERSION, SUPPLY = "=at", "=version", "=supply"
BOUND, LACK, MOST_LACK = "=bound", "=lack", "=most_lack"
TIER, LEFT, KEPT, DENSE, ROOM = "=tier:", "=left:", "=kept:", "=dense:", "=room:"
"""When it was found, and in which state; what there was to give; its bound, what it may lack and may come to lack; by
row the prices of each tier, and the other arrays of `policies.Certificate`."""

MOST_NEW: Final = 1_000
MOST_PEERS: Final = 20_000
"""More newcomers, or jobs of their tenants to be weighed with them, are weighed with all others."""

_UNDECIDED: Final = np.array(
    [0, *(key_of(Reason(code=code)) for code in (ReasonCode.BACKOFF, ReasonCode.DEPENDENCY, ReasonCode.ARRAY_LIMIT))]
)
"""Reasons of jobs that no policy was asked about when they were given."""

_OPPORTUNISTIC: Final = CLASSES.index(JobClass.OPPORTUNISTIC)


@dataclass(frozen=True, slots=True)
class Between:
    """`numbers` are newcomers, where `new`, and their peers: jobs of their tenants, to be weighed with and no more.

    `free` is what newcomers may take of each row, `firm` what all others hold that are not opportunistic; `lack` is
    what the solution lacks by now without `freed`, which is what became free since is worth at its prices.
    """

    numbers: Int
    new: Flag
    free: Int
    firm: Int
    prices: Mapping[int, Real]
    kept: Flag
    bound: float
    lack: float
    freed: float
    most_lack: float

    def problem(self, snapshot: Snapshot, who: Candidates, masked: set[tuple[int, int]], now_us: int) -> Problem:
        whole = build(snapshot, who, self.numbers, masked, now_us, beside=self.firm)
        return replace(whole, available=self.free, standing=Standing(self.prices, self.new, self.kept))

    def multipliers(self, snapshot: Snapshot) -> Mapping[str, float]:
        """Of the rules that price, as the whole solution found them."""
        return {name.removeprefix("rule:"): price for name, price in named("rule:", snapshot.prices)}


def since_whole(snapshot: Snapshot, who: Candidates, returning: Int, now_us: int) -> Between | None:
    """What to decide in this cycle if the last whole solution still stands; None if all jobs are to be weighed."""
    policy = snapshot.config.policy
    if policy.name in WALKS or policy.name in DEALS or policy.round_us or policy.whole_every_us <= 0:
        return None
    if len(who.waiting) + len(who.running) < policy.many_jobs:
        return None
    if any(share.rule.mode is Mode.HOLD for share in snapshot.book.shares):  # it looks at all who wait
        return None
    carried = dict(named(PROOF, snapshot.prices))
    if AT not in carried or not 0 <= now_us - carried[AT] < policy.whole_every_us:
        return None
    if carried[SUPPLY] != _supply(snapshot):
        return None
    reason = snapshot.columns.job("reason")[who.waiting]
    kept = named(CARRY + SEAT, snapshot.prices)
    seats = {int(name.removeprefix(CARRY + SEAT)): int(place) for name, place in kept}
    new = np.isin(reason, _UNDECIDED) | np.isin(who.waiting, list(seats))
    newcomers = np.concatenate((who.waiting[new], returning))
    if len(newcomers) > MOST_NEW:
        return None
    numbers = np.union1d(newcomers, _peers(snapshot, who, newcomers))
    if len(numbers) > MOST_PEERS:
        return None
    return _standing(snapshot, who, numbers, np.isin(numbers, newcomers), carried, seats)


def whole_due_us(snapshot: Snapshot) -> int:
    """When all are weighed again, after a cycle that decided about newcomers alone."""
    return int(dict(named(AT, snapshot.prices))[AT]) + snapshot.config.policy.whole_every_us


def _standing(
    snapshot: Snapshot,
    who: Candidates,
    numbers: Int,
    new: Flag,
    carried: Mapping[str, float],
    seats: Mapping[int, int],
) -> Between:
    columns = snapshot.columns
    beside = np.setdiff1d(who.running, numbers, assume_unique=True)
    firm = beside[columns.job("job_class")[beside] != _OPPORTUNISTIC]
    total = available(snapshot, who)
    free = total - held_by(snapshot, who.running, columns.job("current")[who.running], len(total))
    whole = _told(snapshot, carried, len(total))
    seated = np.array([n for n in numbers[new].tolist() if n in seats], dtype=np.int64)
    promised = held_by(snapshot, seated, np.array([seats[n] for n in seated.tolist()], dtype=np.int64), len(total))
    more = np.maximum(free - promised - whole.left, 0)
    grown = np.where(more > 0, whole.dense * (whole.room + more), 0.0)
    return Between(
        numbers=numbers,
        new=new,
        free=free,
        firm=held_by(snapshot, firm, columns.job("current")[firm], len(total)),
        prices=whole.prices,
        kept=whole.kept,
        bound=whole.bound,
        lack=carried[LACK],
        freed=float(sum(paid @ more for paid in whole.prices.values()) + grown.sum()),
        most_lack=carried[MOST_LACK],
    )


def _told(snapshot: Snapshot, carried: Mapping[str, float], count: int) -> Certificate:
    """The certificate that `prices_whole` wrote down; rows that are no more are left out.

    It is the same until the next whole solution, whatever newcomers add to what it lacks, and so read only once.
    """
    key = carried[VERSION], count
    if snapshot.rows.proof is not None and snapshot.rows.proof[0] == key:
        return snapshot.rows.proof[1]
    rows = snapshot.rows.numbers()
    prices: dict[int, Real] = {}
    left, room = np.full(count, np.iinfo(np.int64).max), np.zeros(count, dtype=np.int64)
    kept, dense = np.zeros(count, dtype=np.bool_), np.zeros(count)
    arrays: dict[str, NDArray[Any]] = {LEFT: left, KEPT: kept, DENSE: dense, ROOM: room}
    for name, value in carried.items():
        kind, colon, row = name.partition(":")
        kind += colon
        if kind == TIER:
            tier, _, row = row.partition(":")
            array: NDArray[Any] | None = prices.setdefault(int(tier), np.zeros(count))
        else:
            array = arrays.get(kind)
        if array is not None and row in rows:
            array[rows[row]] = value
    found = Certificate(0.0, carried[BOUND], dict(sorted(prices.items())), left, kept, dense, room)
    snapshot.rows.proof = key, found
    return found


def _peers(snapshot: Snapshot, who: Candidates, newcomers: Int) -> Int:
    """Jobs of the newcomers' tenants, where priority orders them: it deals out the weights of all."""
    tenant, priority = snapshot.columns.job("tenant"), snapshot.columns.job("priority")
    live = np.concatenate((who.waiting, who.running))
    peers = live[np.isin(tenant[live], tenant[newcomers])]
    together = priority[np.concatenate((peers, newcomers))]
    return peers if len(together) and (together != together[0]).any() else peers[:0]


def at_standing_prices(problem: Problem, choice: Choice, option: Int, jobs: Int) -> Problem:
    """The problem of `jobs` alone at the prices of `choice`, over what is left when all have `option`, int64[n]."""
    certificate = choice.certificate
    if certificate is None:
        raise ValueError("a choice without prices leaves nothing to decide by")
    given = choice.option != option
    back = entries_of(problem, choice.option[given & (choice.option != NONE)])
    taken = entries_of(problem, option[given & (option != NONE)])
    left = certificate.left.copy()
    np.add.at(left, back[1], back[2])
    np.subtract.at(left, taken[1], taken[2])
    standing = Standing(certificate.prices, np.ones(len(jobs), dtype=np.bool_), certificate.kept)
    return replace(part_of(problem, jobs), available=left, standing=standing)


def lacks(problem: Problem, choice: Choice, option: Int, seating: Seating) -> float:
    """By how much the plan may fall short of the bound of the choice, by right: who found no place, or had to take
    another `option`, int64[n], lacks what it was given; who was to leave and stays does not."""
    certificate = choice.certificate
    if certificate is None:
        return 0.0
    seated = {start.job for start in seating.starts} | seating.pending.keys() | seating.moving
    changed = np.flatnonzero((choice.option != problem.current) | (option != problem.current))
    number = problem.number[changed]
    placed = np.isin(number, sorted(seated))
    stays = ~placed & ~np.isin(number, sorted(seating.victims))
    has = np.where(placed, option[changed], np.where(stays, problem.current[changed], NONE))
    missing = _worth(choice, choice.option[changed]) - _worth(choice, has)
    by_right = np.bincount(problem.right[changed], weights=missing) if len(changed) else np.zeros(1)
    return max(0.0, certificate.bound - certificate.value) + float(np.maximum(by_right, 0.0).sum())


def _worth(choice: Choice, option: Int) -> Real:
    worth = np.append(choice.worth, 0.0)[option]  # NONE is the last
    return np.where(np.isfinite(worth), np.maximum(worth, 0.0), 0.0)


def prices_whole(
    snapshot: Snapshot, jobs: int, choice: Choice, lack: float, now_us: int
) -> Iterator[tuple[str, float]]:
    """What newcomers need of a whole solution, by name; nothing where jobs are few. What rows might gain is rounded up,
    for it is a bound and need not be told anew at every turn."""
    certificate, policy = choice.certificate, snapshot.config.policy
    if certificate is None or jobs < policy.many_jobs or policy.round_us or policy.whole_every_us <= 0:
        return
    name, known = snapshot.rows.name, len(snapshot.rows.numbers())
    yield AT, float(now_us)
    yield VERSION, float(snapshot.version)
    yield BOUND, certificate.bound
    yield LACK, lack
    yield MOST_LACK, lack + policy.gap * certificate.bound
    yield SUPPLY, _supply(snapshot)
    dear = certificate.dense[:known] > 0
    for tier, paid in sorted(certificate.prices.items()):
        dear |= paid[:known] > 0
        yield f"{TIER}{tier}:", 0.0
        for row in np.flatnonzero(paid[:known] > 0).tolist():
            yield f"{TIER}{tier}:{name(row)}", float(paid[row])
    for row in np.flatnonzero(dear).tolist():
        yield f"{LEFT}{name(row)}", float(certificate.left[row])
    for row in np.flatnonzero(certificate.dense[:known] > 0).tolist():
        yield f"{DENSE}{name(row)}", 2.0 ** (math.ceil(2 * math.log2(certificate.dense[row])) / 2)
        yield f"{ROOM}{name(row)}", float(certificate.room[row])
    for row in np.flatnonzero(certificate.kept[:known]).tolist():
        yield f"{KEPT}{name(row)}", 1.0


def prices_between(snapshot: Snapshot, lack: float) -> Prices:
    """The prices as they stand, with what the solution has come to lack; without what policies carry over."""
    prices = snapshot.prices
    at, carried = bisect_left(prices, (LACK,)), named(CARRY, prices)
    now = (*prices[:at], (LACK, lack), *prices[at + 1 :])
    first = bisect_left(prices, (CARRY,))
    return now[:first] + now[first + len(carried) :]


def _supply(snapshot: Snapshot) -> float:
    """A number that changes with what there is to give (usable devices, limits of tenants) and with how it is given."""
    room, fleet = snapshot.room, snapshot.fleet
    count = np.where(room.usable_at(), np.bitwise_count(fleet.devices & ~room.foreign), 0)
    devices = np.bincount(fleet.shelf, weights=count, minlength=fleet.shelf_count).astype(np.int64)
    limits = snapshot.rows.limits(snapshot.ledger.limits)[: snapshot.rows.first_user_row - fleet.shelf_count]
    config = msgspec.json.encode((snapshot.config.policy, snapshot.config.rules))
    return float(crc32(limits.tobytes(), crc32(devices.tobytes(), crc32(config))))
