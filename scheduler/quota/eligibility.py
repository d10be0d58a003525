"""Who may run where: entity, site, jurisdiction, labels and data class of a job against those of the nodes."""

from collections.abc import Mapping, Sequence

from scheduler.model.cluster import NodeGroup
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.rules import Eligibility, Mode

__all__ = ["ineligible", "violated"]


def ineligible(
    rules: Sequence[Eligibility], groups: Sequence[NodeGroup], labels: Mapping[str, str], tenant: str
) -> dict[int, Reason]:
    """Groups that a job may not use, by number, with the first rule that says so. Rules that observe close nothing."""
    about = [rule for rule in rules if rule.mode is Mode.HOLD and rule.is_about(labels, tenant)]
    found: dict[int, Reason] = {}
    for group in groups if about else ():
        rule = next((rule for rule in about if not rule.accepts(group)), None)
        if rule is not None:
            accelerator = group.pool.accelerator
            found[group.number] = Reason(code=ReasonCode.ELIGIBILITY, accelerator=accelerator, who=rule.id)
    return found


def violated(
    rules: Sequence[Eligibility], groups: Sequence[NodeGroup], labels: Mapping[str, str], tenant: str
) -> tuple[str, ...]:
    """Ids of the rules, observed ones included, that a job breaks by holding devices of `groups`."""
    return tuple(
        rule.id for rule in rules if rule.is_about(labels, tenant) and not all(rule.accepts(group) for group in groups)
    )
