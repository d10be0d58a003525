"""What an operator sets: the policy, the placement strategy and the patience of the scheduler."""

from typing import Final

from msgspec import Struct

from scheduler.model.units import US_PER_S

__all__ = ["Policy", "RECLAIM_BOUND_US"]

RECLAIM_BOUND_US: Final = 900 * US_PER_S
"""From the order to leave to the devices' return: the notice, and the grace after which what is left is killed."""


class Policy(Struct, frozen=True, kw_only=True):
    """Defaults suit a production fleet; demos and tests shorten the times."""

    name: str = "balanced"
    placement: str = "best-fit"
    preemption: bool = True
    min_run_us: int = 1_800 * US_PER_S  # a running attempt is not preempted or resized before
    notice_min_us: int = 60 * US_PER_S  # a victim gets twice its save time, within these bounds
    notice_max_us: int = 600 * US_PER_S
    start_timeout_us: int = 900 * US_PER_S  # from Allocated to all ranks up; then interrupted
    stop_grace_us: int = 60 * US_PER_S  # past the notice, before the attempt counts as lost
    suspect_after_us: int = 30 * US_PER_S  # an executor silent for this long makes its cell's nodes suspect
    resize_gain: float = 0.1  # an elastic job grows only for a rate that is higher by this share
    max_preemptions_per_cycle: int = 32  # the storm guard; alone in its cycle, one gang may need more
    a: float | None = None  # balanced: a job weighs time left to the power of -a; None: what the policy says itself
    tau_us: int | None = None  # balanced: a job weighs (1 + age / tau) to the power of q
    q: float | None = None
    horizon_us: int = 300 * US_PER_S  # over which a move has to pay for itself; longer for jobs whose moves cost more
    round_us: int = 0  # policies that weigh jobs move them only once in each; 0: after every event
    starve_after_us: int = 7 * 86_400 * US_PER_S  # past this age devices are kept free for a job that waits
    gap: float = 2e-3  # proven distance from the optimum at which the search ends
    whole_every_us: int = 60 * US_PER_S  # all jobs are weighed anew so often where they are many, newcomers at once
    many_jobs: int = 5_000  # from so many on; 0 seconds above or fewer jobs: all are weighed in every cycle
    opportunistic_charge: float = 0.5  # of the price and the compute units of what opportunistic jobs hold
    usage_half_life_us: int = 7 * 86_400 * US_PER_S  # after which past use weighs half in the order among borrowers
