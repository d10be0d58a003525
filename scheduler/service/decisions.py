"""Allocations with what led to them, made again from the journal: plain values, and the search for their records."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from scheduler.engine.records import Attempt
from scheduler.errors import NotFoundError, OverloadedError
from scheduler.model.events import Allocated, Record
from scheduler.planning import DecisionTrace, decisions_of
from scheduler.ports import JournalStore
from scheduler.service.feed import iso
from scheduler.service.reports import option_name, options_view
from scheduler.service.views import View

__all__ = ["decisions_from", "find_allocation", "history_until"]

MOST_RECORDS: Final = 200_000
"""A longer history is made again offline, from an export."""


def decisions_from(records: Sequence[Record], seqs: frozenset[int]) -> list[View]:
    """Views of the allocations of the records `seqs`, in order."""
    return [_view(trace) for trace in decisions_of(records, seqs=seqs)]


def _view(trace: DecisionTrace) -> dict[str, Any]:
    return {
        "seq": trace.seq,
        "time": iso(trace.time_us),
        "attempt": trace.attempt,
        "same": trace.same,
        "version": trace.version,
        "inputs": trace.inputs,
        "policy": trace.policy,
        "placement": trace.placement,
        "rounds": trace.rounds,
        "chosen": option_name(trace.allocation.chosen),
        "prices": dict(trace.prices),
        "options": [
            {
                **options_view([weighed.report])[0],
                "share": weighed.share,
                "worth": weighed.worth,
                "paid": weighed.paid,
                "chosen": weighed.chosen,
            }
            for weighed in trace.options
        ],
        "victims": list(trace.victims),
        "rules": list(trace.rules),
        "together": trace.together,
    }


def find_allocation(journal: JournalStore, job: int, attempt: Attempt) -> int:
    """The number of the record that granted the attempt. Raises NotFoundError."""
    for record in _from(journal, attempt.allocated_us):
        if record.time_us > attempt.allocated_us:
            break
        if isinstance(record.event, Allocated) and (record.event.job, record.event.attempt) == (job, attempt.n):
            return record.seq
    raise NotFoundError(f"the journal holds no allocation of attempt {attempt.n}", "it may have been made elsewhere")


def history_until(journal: JournalStore, seq: int) -> list[Record]:
    """All records up to the end of the cycle that wrote `seq`. Raises OverloadedError where they are too many."""
    if seq > MOST_RECORDS:
        raise OverloadedError(
            f"the decision stands at record {seq} of the journal, and at most {MOST_RECORDS} are made again here",
            "export the journal and make it again offline",
        )
    records: list[Record] = []
    for record in journal.read():
        if record.seq > seq and record.time_us > records[-1].time_us:
            break
        records.append(record)
    return records


def _from(journal: JournalStore, time_us: int) -> Iterator[Record]:
    """Records from some place before `time_us` on: found by halving, for times never run backwards."""
    low, high = 0, 1
    while (first := next(journal.read(high), None)) is not None and first.time_us < time_us:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        first = next(journal.read(middle), None)
        if first is not None and first.time_us < time_us:
            low = middle
        else:
            high = middle
    return journal.read(low)
