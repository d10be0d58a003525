"""Policy files: which policy, and the patience of the scheduler."""

from pathlib import Path

from scheduler.config.cursor import Cursor
from scheduler.config.document import from_values, open_one
from scheduler.config.values import duration, name
from scheduler.model.policy import RECLAIM_BOUND_US, Policy

__all__ = ["decode_policy", "load_policy", "policy_of"]

TIMES = ("min_run", "notice_min", "notice_max", "start_timeout", "stop_grace", "suspect_after",
         "tau", "horizon", "round", "starve_after", "whole_every")  # fmt: skip


def load_policy(path: str | Path) -> Policy:
    return policy_of(open_one(path, "policy"))


def decode_policy(values: object, source: str) -> Policy:
    return policy_of(from_values(values, source, "policy"))


def policy_of(cursor: Cursor) -> Policy:
    """The names of policies and placements are checked where they are known: by those who look them up."""
    fields = cursor.fields(
        "schema", "kind", "name", "placement", "preemption", *TIMES, "resize_gain", "max_preemptions_per_cycle",
        "opportunistic_charge", "usage_half_life", "a", "q", "gap", "many_jobs",
    )  # fmt: skip
    base = Policy()
    times = {f"{key}_us": duration(item) for key in TIMES if (item := fields.get(key))}
    placement, preemption = fields.get("placement"), fields.get("preemption")
    gain, most = fields.get("resize_gain"), fields.get("max_preemptions_per_cycle")
    charge, half_life = fields.get("opportunistic_charge"), fields.get("usage_half_life")
    a, q, gap, many = fields.get("a"), fields.get("q"), fields.get("gap"), fields.get("many_jobs")
    made = Policy(
        name=name(fields["name"]),
        placement=name(placement) if placement else base.placement,
        preemption=preemption.boolean() if preemption else base.preemption,
        resize_gain=gain.number(0, 1000) if gain else base.resize_gain,
        max_preemptions_per_cycle=most.integer(0, 1_000_000) if most else base.max_preemptions_per_cycle,
        opportunistic_charge=charge.number(0, 1) if charge else base.opportunistic_charge,
        usage_half_life_us=duration(half_life) if half_life else base.usage_half_life_us,
        gap=gap.number(1e-6, 1) if gap else base.gap,
        many_jobs=many.integer(0, 1_000_000_000) if many else base.many_jobs,
        a=a.number(0, 10) if a else base.a,
        q=q.number(0, 10) if q else base.q,
        **times,
    )
    for key in ("tau", "horizon", "starve_after"):
        if key in fields and times[f"{key}_us"] <= 0:
            raise fields[key].wrong("must be longer than zero")
    if made.usage_half_life_us <= 0:
        raise fields["usage_half_life"].wrong("must be longer than zero")
    if made.notice_min_us > made.notice_max_us:
        place = fields.get("notice_min") or fields["notice_max"]
        raise place.wrong("`notice_min` is longer than `notice_max`")
    if made.notice_max_us + made.stop_grace_us > RECLAIM_BOUND_US:
        place = fields.get("notice_max") or fields["stop_grace"]
        raise place.wrong(
            "`notice_max` and `stop_grace` together are longer than 15 minutes, within which devices come back"
        )
    return made
