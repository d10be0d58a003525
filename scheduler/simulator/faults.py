"""What can go wrong, and how often: rates for one run, drawn from a seed so that runs differ in kind and repeat."""

import math
from random import Random

from msgspec import Struct, structs

from scheduler.model.units import US_PER_S

__all__ = ["Faults", "draw"]

_ABSENT_SHARE = 0.3
"""Each kind of fault is missing from this share of the seeds, so that every pair of kinds also meets alone."""

_RATES_PER_H = (0.3, 30.0)
_PROBABILITIES = (0.003, 0.3)


class Faults(Struct, frozen=True, kw_only=True):
    """Fields that end in `_per_h` are mean numbers in an hour of virtual time; shares are of all messages of a kind.

    `node_losses`: a node goes with all that ran there, and returns. `flickers`: a node is suspect for a while, but
    nothing happened to it. `cell_outages`: nothing reaches a cell or leaves it. `node_orders`: cordon, drain, uncordon.
    `actions`: cancel, suspend, resume, requeue. `restarts`: the scheduler comes back with its journal, but without what
    was on the way. `clock_jumps`: the scheduler's clock leaps. `quota_changes`: some tenant's quota shrinks.
    `hangs`, `failures`, `slow_starts`, `failed_starts`: shares of started attempts. `lost`, `repeated`, `delayed`:
    shares of reports (a lost one is read again at the next poll). `unknown`: share of commands that time out: each was
    carried out, or will be, or never will.
    """

    node_losses_per_h: float = 0.0
    flickers_per_h: float = 0.0
    cell_outages_per_h: float = 0.0
    node_orders_per_h: float = 0.0
    actions_per_h: float = 0.0
    restarts_per_h: float = 0.0
    clock_jumps_per_h: float = 0.0
    quota_changes_per_h: float = 0.0
    hangs: float = 0.0
    failures: float = 0.0
    slow_starts: float = 0.0
    failed_starts: float = 0.0
    lost: float = 0.0
    repeated: float = 0.0
    delayed: float = 0.0
    unknown: float = 0.0
    delay_us: int = 120 * US_PER_S  # the longest way of a report or a command, and of the news about a node
    outage_us: int = 1_800 * US_PER_S  # the longest absence of a node or a cell
    poll_us: int = 240 * US_PER_S  # between two readings of all reports
    until_us: int = 7 * 86_400 * US_PER_S  # when faults stop and all nodes return


def draw(seed: int) -> Faults:
    """The faults of a seed: each kind absent or, on a logarithmic scale, between rare and constant."""
    random = Random(f"faults {seed}")  # noqa: S311 - repeats by design
    chosen: dict[str, float] = {}
    for name in structs.fields(Faults):
        low, high = _RATES_PER_H if name.name.endswith("_per_h") else _PROBABILITIES
        if name.name.endswith("_us"):
            continue
        value = math.exp(random.uniform(math.log(low), math.log(high)))
        chosen[name.name] = 0.0 if random.random() < _ABSENT_SHARE else value
    # restarts replay the journal and cost most of a run's time, and a quota that keeps shrinking blocks everything
    chosen["restarts_per_h"] /= 10
    chosen["quota_changes_per_h"] /= 10
    return Faults(**chosen)  # type: ignore[arg-type]  # every float field, by name
