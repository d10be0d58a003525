"""Why a job waits, whole: for each of its options every reason, with amounts, now or for ever. Codes, no sentences."""

from collections.abc import Iterator

from msgspec import Struct

from scheduler.engine.moves import move_reason
from scheduler.engine.options import OptionRow
from scheduler.engine.records import JobRecord
from scheduler.engine.state import State
from scheduler.model.allocations import Chosen
from scheduler.model.lifecycle import JobState
from scheduler.model.reasons import FOR_EVER, Reason, ReasonCode
from scheduler.placement.verdict import now_reason
from scheduler.profiles.table import Rate
from scheduler.quota.ledger import Shortage

__all__ = ["OptionReport", "explain", "explain_spec"]


class OptionReport(Struct, frozen=True, kw_only=True):
    """One choice of accelerators and counts. No reasons: it could start at this moment, but for who goes first."""

    chosen: tuple[Chosen, ...]
    rate: Rate | None
    charge: int
    reasons: tuple[Reason, ...]

    @property
    def never(self) -> bool:
        return any(reason.code in FOR_EVER for reason in self.reasons)


def explain(state: State, number: int, now_us: int) -> tuple[OptionReport, ...]:
    """Every option of a live job, in the order of the job's own preference; then what was never an option."""
    return explain_spec(state, state.jobs[number], now_us)


def explain_spec(state: State, job: JobRecord, now_us: int) -> tuple[OptionReport, ...]:
    """The same for any record, such as one that is only asked about."""
    tenant = state.tenant_of(job)
    job_rows = state.rows_of.get(job.number)
    if job_rows is None or job.number >= len(state.jobs) or state.jobs[job.number] is not job:
        job_rows = state.rows.of_job(job.spec, tenant, job.actor.user)
    by_choice: dict[tuple[Chosen, ...], list[OptionRow]] = {}
    for row in sorted(job_rows.rows, key=lambda r: r.option.rank):
        by_choice.setdefault(row.option.chosen, []).append(row)
    general = tuple(_general(job, now_us))
    reports = [
        OptionReport(
            chosen=chosen,
            rate=rows[0].option.rate,
            charge=rows[0].option.charge,
            reasons=(*general, *_of_option(state, job, tenant, rows, now_us)),
        )
        for chosen, rows in by_choice.items()
    ]
    reports += [
        OptionReport(chosen=(chosen,), rate=None, charge=0, reasons=(reason,)) for chosen, reason in job_rows.excluded
    ]
    return tuple(reports)


def _general(job: JobRecord, now_us: int) -> Iterator[Reason]:
    """What holds the job back whatever it could take."""
    if job.state is JobState.SUSPENDED:
        yield Reason(code=ReasonCode.SUSPENDED)
    if job.not_before_us > now_us:
        yield Reason(code=ReasonCode.BACKOFF, until_us=job.not_before_us)
    gates = (ReasonCode.DEPENDENCY, ReasonCode.ARRAY_LIMIT)
    if job.reason is not None and job.reason.code in gates:
        yield job.reason


def _of_option(state: State, job: JobRecord, tenant: int, rows: list[OptionRow], now_us: int) -> Iterator[Reason]:
    option = rows[0].option
    moved = move_reason(job, rows[0], state.fleet.catalog)
    if moved is not None:
        yield moved
    opens_us = job.submitted_us + option.after_wait_us
    if opens_us > now_us:
        yield Reason(code=ReasonCode.AFTER_WAIT, accelerator=option.chosen[0].accelerator, until_us=opens_us)
    for shortage in state.ledger.shortages(tenant, job.actor.user, option.chosen, option.charge, job.spec.job_class):
        yield _limit_reason(shortage, option.chosen[0].accelerator)
    room = now_reason(state.room, [row.cell for row in rows], rows[0].demands)
    if room is not None:
        yield room


def _limit_reason(shortage: Shortage, accelerator: str) -> Reason:
    if shortage.user:
        code = ReasonCode.USER_LIMIT_EXCEEDED if shortage.for_ever else ReasonCode.USER_LIMIT_IN_USE
    elif shortage.limit == 0:
        code = ReasonCode.QUOTA_ZERO
    else:
        code = ReasonCode.EXCEEDS_QUOTA if shortage.for_ever else ReasonCode.QUOTA_IN_USE
    who = shortage.user or shortage.tenant
    return Reason(code=code, accelerator=accelerator, need=shortage.need, have=shortage.have, who=who)
