"""How fast jobs of one kind were seen to run, against what was modelled: kept by each report, used by later choices.

A kind is a tenant's workload with its image. It depends on the records of attempts alone, so that a replay and a
restart know the same.
"""

import math
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct, structs

from scheduler.engine.records import Attempt, JobRecord
from scheduler.model.accelerators import Catalog, WorkClass
from scheduler.model.events import AttemptProgressed
from scheduler.model.jobs import Job, Service, Work
from scheduler.model.lifecycle import AttemptEnd
from scheduler.model.units import WHOLE_DEVICE
from scheduler.profiles.answered import Answered
from scheduler.profiles.memory import devices_needed
from scheduler.profiles.modelled import served_bytes
from scheduler.profiles.observed import Correction, corrections, scale_of
from scheduler.profiles.speeds import Speeds

__all__ = ["Learned", "Shown", "answered_so_far"]

WARM_UP_REPORTS: Final = 3
"""Reports of an attempt before its rate counts: compilation, caches and the first checkpoint fall into them."""

REMEMBERED: Final = 32
"""Latest attempts that count, per kind and accelerator: older software is forgotten."""


class Shown(Struct, frozen=True):
    """What jobs of one kind have shown on an accelerator."""

    tenant: str
    work_class: WorkClass
    model: str
    accelerator: str
    correction: Correction


class Seen(Struct, frozen=True, gc=False):
    """Log of observed over modelled rate of an attempt; not `exact`: it can do at least that."""

    ratio: float
    exact: bool = True


NO_COUNTS: Final[Mapping[str, int]] = {}
NOTHING: Final[Mapping[str, Correction]] = {}


class Learned:
    """Corrections by kind of job. `present`: accelerators of the fleet. Reports from `emulated` ones teach nothing:
    they follow the model."""

    def __init__(self, catalog: Catalog, present: Collection[str], emulated: Collection[str]) -> None:
        self.catalog = catalog
        self._present = [accelerator for accelerator in catalog if accelerator.name in present]
        self._emulated = frozenset(emulated)
        self._scale: dict[int, dict[str, float]] = {}
        self._members: dict[int, list[int]] = {}
        self._listed = 0
        self._kinds: dict[bytes, int] = {}
        self._kind_of: dict[int, int] = {}
        self._seen: dict[int, dict[str, dict[tuple[int, int], Seen]]] = {}
        self._jobs: dict[int, Job] = {}
        self._found: dict[int, Mapping[str, Correction]] = {}
        self._crowded: dict[int, dict[str, int]] = {}
        self._encoder = msgspec.json.Encoder(order="deterministic")

    def of(self, job: Job) -> Mapping[str, Correction]:
        """By accelerator; empty where no job of the kind has told anything."""
        return self._found.get(self._kinds.get(self._key(job), -1), NOTHING) if self._found else NOTHING

    def crowded(self, job: Job) -> Mapping[str, int]:
        """By accelerator, the most devices on which a job of the kind has run out of memory."""
        return self._crowded.get(self._kinds.get(self._key(job), -1), NO_COUNTS) if self._crowded else NO_COUNTS

    def note(self, job: JobRecord, attempt: Attempt) -> bool:
        """Take in what the attempt has reported so far. Whether that changes what jobs of its kind are told."""
        crowded = self._note_memory(job, attempt)
        kind = self._note_rate(job, attempt)
        return (kind is not None and self._correct(kind)) or crowded

    def note_all(self, jobs: Iterable[JobRecord]) -> None:
        """Take in what all attempts of the jobs have reported: as one after the other, and in less time."""
        kinds: dict[int, None] = {}
        for job in jobs:
            for attempt in job.attempts:
                self._note_memory(job, attempt)
                kind = self._note_rate(job, attempt)
                if kind is not None:
                    kinds[kind] = None
        for kind in kinds:
            self._correct(kind)

    def _note_memory(self, job: JobRecord, attempt: Attempt) -> bool:
        if attempt.how is not AttemptEnd.OUT_OF_MEMORY or len(job.spec.roles) != 1:
            return False
        held = attempt.allocation.chosen[0]
        crowded = self._crowded.setdefault(self._kind(job), {})
        most = crowded.get(held.accelerator, 0)
        crowded[held.accelerator] = max(most, held.count)
        return held.count > most

    def _note_rate(self, job: JobRecord, attempt: Attempt) -> int | None:
        """The kind of the job, if what is known of it is not what it was."""
        name = attempt.allocation.chosen[0].accelerator
        if name in self._emulated or not _counts(attempt):
            return None
        told = _told_of_service(attempt) if job.spec.service is not None else _told_of_work(attempt)
        if told is None:
            return None
        kind = self._kind(job)
        seen = self._seen.setdefault(kind, {}).setdefault(name, {})
        key = job.number, attempt.n
        if seen.get(key) == told or (len(seen) >= REMEMBERED and key < min(seen)):
            return None
        seen[key] = told
        if len(seen) > REMEMBERED:
            del seen[min(seen)]
        return kind

    def _correct(self, kind: int) -> bool:
        """Find the corrections of the kind anew; whether they are others."""
        before, after = self._found.get(kind, NOTHING), self._corrections(kind)
        self._found[kind] = after
        return after != before

    def kin(self, job: JobRecord, jobs: Sequence[JobRecord], live: Container[int]) -> list[JobRecord]:
        """Those of the live jobs that are of the same kind. Each job is looked at once, when it is first asked for."""
        for other in jobs[self._listed :]:
            self._members.setdefault(self._kind(other), []).append(other.number)
        self._listed = len(jobs)
        members = self._members[self._kind(job)]
        members[:] = [number for number in members if number in live]
        return [jobs[number] for number in members]

    def told(self) -> Iterator[Shown]:
        """Everything that was learnt where it was seen, in an order that does not depend on when."""
        for _, kind in sorted(self._kinds.items()):
            for name, correction in sorted(self._found.get(kind, NOTHING).items()):
                if correction.attempts or correction.bounds:
                    job, seen = self._jobs[kind], self._seen[kind][name].values()
                    exact = sum(one.exact for one in seen)
                    counted = structs.replace(correction, attempts=exact, bounds=len(seen) - exact)
                    model = job.service.model if job.service else _model_called(job.work)
                    yield Shown(job.tenant, job.work.work_class, model, name, counted)

    def ratios(self) -> Iterator[tuple[str, Mapping[tuple[int, int], float]]]:
        """For each kind of work and accelerator, its name and the log of observed over modelled rate by (job, attempt);
        what shows a lower bound alone is left out."""
        for _, seen_by in sorted(self._seen.items()):
            for name, seen in sorted(seen_by.items()):
                yield name, {key: one.ratio for key, one in seen.items() if one.exact}

    def _kind(self, job: JobRecord) -> int:
        found = self._kind_of.get(job.number)
        if found is None:
            found = self._kinds.setdefault(self._key(job.spec), len(self._kinds))
            self._kind_of[job.number] = found
            self._jobs.setdefault(found, job.spec)
        return found

    def _key(self, job: Job) -> bytes:
        work = job.work
        speed = (work.work_class, work.unit, work.model, work.global_batch, work.measured, work.numerics, work.engine)
        served = _served(job.service)
        return self._encoder.encode((job.tenant, job.type, served, len(job.roles), speed, job.roles[0].image))

    def _corrections(self, kind: int) -> Mapping[str, Correction]:
        """How many attempts told it is left out but for whether any did: one more that changes nothing is no news."""
        exact, bounds = (
            tuple(
                (name, tuple(one.ratio for one in seen.values() if one.exact is wanted))
                for name, seen in self._seen[kind].items()
            )
            for wanted in (True, False)
        )
        found = _corrected(tuple(self._scales(kind).items()), exact, bounds)
        return {
            name: structs.replace(c, attempts=min(c.attempts, 1), bounds=min(c.bounds, 1)) for name, c in found.items()
        }

    def _scales(self, kind: int) -> Mapping[str, float]:
        """How far modelled rates may be off, by accelerator of the fleet."""
        known = self._scale.get(kind)
        if known is not None:
            return known
        job, scales = self._jobs[kind], self._scale.setdefault(kind, {})
        for accelerator in self._present:
            model, served = job.work.model, served_bytes(job, self.catalog)
            needed = devices_needed(model, job.type, accelerator, served_bytes=served) if model else 1
            count = 2 ** (needed - 1).bit_length()
            rate = Speeds(job, accelerator, (count,), self.catalog).rate(count)
            if rate is not None:
                scales[accelerator.name] = scale_of(rate)
        return scales


@lru_cache(maxsize=4096)
def _corrected(
    scales: tuple[tuple[str, float], ...],
    exact: tuple[tuple[str, tuple[float, ...]], ...],
    bounds: tuple[tuple[str, tuple[float, ...]], ...],
) -> Mapping[str, Correction]:
    """Kept, because forks of a state and checks of it find the same anew from the same reports."""
    return corrections(dict(scales), dict(exact), dict(bounds))


def _served(service: Service | None) -> tuple[object, ...]:
    """What a replica's rate follows from: not how much is asked of all of them, nor how many there are."""
    if service is None:
        return ()
    return service.model, service.objectives, service.load.prompt_tokens, service.load.output_tokens


def _counts(attempt: Attempt) -> bool:
    held = attempt.allocation
    whole = all(chosen.thousandths == WHOLE_DEVICE for chosen in held.chosen)
    return attempt.seq >= WARM_UP_REPORTS and held.modelled > 0 and whole


def _told_of_work(attempt: Attempt) -> Seen | None:
    return Seen(math.log(attempt.rate / attempt.allocation.modelled)) if attempt.rate > 0 else None


def _told_of_service(attempt: Attempt) -> Seen | None:
    """Of the first replica, which alone reports."""
    answered = attempt.answered
    if answered is None or answered.most <= 0:
        return None
    held = attempt.allocation
    each = held.modelled / (1 + max((grant.replica for grant in held.grants), default=0))
    return Seen(math.log((answered.full or answered.most) / each), exact=answered.full > 0)


def answered_so_far(attempt: Attempt, report: AttemptProgressed, time_us: int) -> Answered | None:
    """What the service shows with this report; its first reports are warm-up."""
    if attempt.answered is not None:
        return attempt.answered.after(time_us, float(report.done), float(report.came))
    if report.seq < WARM_UP_REPORTS:
        return None
    return Answered(time_us, float(report.done), float(report.came))


def _model_called(work: Work) -> str:
    model = work.model
    return "" if model is None else model.name or f"{model.params:.3g} parameters"
