"""Why a job waits: a closed list of codes with amounts. The sentences belong to cli; nothing else explains."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

__all__ = ["FOR_EVER", "Reason", "ReasonCode"]


class ReasonCode(StrEnum):
    """Ordered from what the user could mend to what only time can."""

    # for ever, as the fleet and the quota are today
    UNKNOWN_ACCELERATOR = "unknown_accelerator"  # no pool of the fleet has it
    EXCEEDS_FLEET = "exceeds_fleet"  # more devices than all cells have
    EXCEEDS_CELL = "exceeds_cell"  # more devices than any one cell has
    EXCEEDS_NODE = "exceeds_node"  # more CPU, memory or devices than any node has
    EXCEEDS_DOMAIN = "exceeds_domain"  # required in one domain or node, and none is that large
    GRANULARITY = "granularity"  # the vendor cannot grant that count
    NOT_SHAREABLE = "not_shareable"  # a share of a device is asked for where devices are granted whole
    MEMORY_FLOOR = "memory_floor"  # the model does not fit into that many devices
    OBJECTIVES_MISSED = "objectives_missed"  # a replica of that many devices cannot serve within them
    NO_RATE = "no_rate"  # nothing is known of its speed there
    UNCERTAIN_RATE = "uncertain_rate"  # its speed there is a guess, and the job's file does not list it
    BELOW_MIN_EFFICIENCY = "below_min_efficiency"
    NO_ADAPTER = "no_adapter"  # no backend can run on it
    MOVE_NOT_ALLOWED = "move_not_allowed"  # has progress elsewhere and may not move there
    CHECKPOINT_NOT_PORTABLE = "checkpoint_not_portable"
    QUOTA_ZERO = "quota_zero"  # the tenant has no quota for it at all
    EXCEEDS_QUOTA = "exceeds_quota"  # one gang is more than the tenant's whole quota
    USER_LIMIT_EXCEEDED = "user_limit_exceeded"  # one gang is more than a user may hold
    LABELS_EXCLUDE = "labels_exclude"  # the licence of a lot excludes a label of the job
    ELIGIBILITY = "eligibility"  # a rule on entity, site, jurisdiction, labels or data class leaves too few nodes
    LICENCE = "licence"  # the lot's licence has ended, or does not cover the site
    LOT_FORBIDDEN = "lot_forbidden"  # the lot is drained, or may not be used at all
    DEADLINE_MISSED = "deadline_missed"
    # not now
    SUSPENDED = "suspended"
    DEPENDENCY = "dependency"
    ARRAY_LIMIT = "array_limit"
    BACKOFF = "backoff"  # waits before a retry
    AFTER_WAIT = "after_wait"  # the option opens later
    QUOTA_IN_USE = "quota_in_use"
    USER_LIMIT_IN_USE = "user_limit_in_use"
    MONEY_BUDGET = "money_budget"  # the period's budget, of money or of hours, is spent
    DOMESTIC_SHARE_HOLD = "domestic_share_hold"  # domestic devices that a waiting job could take are idle
    BEHIND_IN_QUEUE = "behind_in_queue"  # an earlier job has first claim on what is idle
    OUTPRICED = "outpriced"  # others gain more from these devices at the present prices
    NO_ROOM = "no_room"  # too few idle devices
    FRAGMENTED = "fragmented"  # enough idle devices, but not on nodes where the gang fits
    NODES_UNAVAILABLE = "nodes_unavailable"  # would fit but for cordoned, draining or down nodes
    RESERVED = "reserved"  # would still run when a window begins that is reserved
    WAITING_FOR_PREEMPTED = "waiting_for_preempted"  # victims are leaving
    CELL_UNREACHABLE = "cell_unreachable"  # its executor does not answer
    OBSERVING = "observing"  # the service decides but does not act
    NOT_EVALUATED = "not_evaluated"  # no cycle has seen it yet


FOR_EVER: Final = frozenset(list(ReasonCode)[: list(ReasonCode).index(ReasonCode.SUSPENDED)])
"""Codes that no amount of waiting cures."""


class Reason(Struct, frozen=True, kw_only=True, gc=False):
    """`need` and `have` in devices, or in the unit of `resource`; `until_us` when time alone cures it.

    Of a limit of a tenant or a user `limit` is what it admits and `used` what of it is in use. `have` is what is left,
    or the whole limit where that is too small for ever; of nominal quota it is less while less is in service. Compute
    units are thousandths, money is fen per hour. Of a budget that is spent `need` and `limit` are what it admits,
    `have` and `used` what was used of it: thousandths of device- or compute-unit-hours, or fen.
    """

    code: ReasonCode
    accelerator: str = ""
    need: int = 0
    have: int = 0
    who: str = ""  # a tenant, job id or node that the reason names
    until_us: int = 0
    resource: str = ""  # that a limit counts, where it is not the accelerator: `family:h20`, `compute_units`, `money`
    limit: int = 0
    used: int = 0
    tenant: str = ""  # whose limit on users it is, where `who` is a user
