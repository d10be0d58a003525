"""From a job to what it could take: every combination of accelerator and count per role, with rate and charge."""

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping

from msgspec import Struct

from scheduler.model.accelerators import Accelerator, Catalog, Provenance
from scheduler.model.allocations import Chosen
from scheduler.model.jobs import Job, JobType, Option, Prefer, Role, Work
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.tenants import JobClass
from scheduler.model.units import WHOLE_DEVICE
from scheduler.profiles.memory import devices_needed
from scheduler.profiles.observed import Correction, corrected
from scheduler.profiles.table import Rate, rate_of, relative_rate

__all__ = ["JobOption", "OptionSet", "expand"]

MAX_COMBINATIONS = 256
"""Per job; four roles with four options each."""

WIDEST_PROPOSED_BAND = 2.0
"""High over low of a modelled rate per device; with a wider one an accelerator is taken only for opportunistic jobs, or
when the job's file lists it: that is the consent."""

PROPOSED_DOUBLINGS = 3
"""A job that gives only its model is offered the smallest power of two that holds it, and so many doublings."""


class JobOption(Struct, frozen=True, kw_only=True, gc=False):
    """One choice for the whole job. `granule` is the count of one replica, or 0 where devices may be split freely.

    `charge` in thousandths of compute units. `rank` orders a job's options by its own preference, best first.
    """

    chosen: tuple[Chosen, ...]
    rate: Rate
    charge: int
    granule: int = 0
    after_wait_us: int = 0
    rank: int = 0


class OptionSet(Struct, frozen=True, gc=False):
    """What a job could take, and what was left out and why."""

    options: tuple[JobOption, ...]
    excluded: tuple[tuple[Chosen, Reason], ...]


class _Candidate(Struct, frozen=True, gc=False):
    chosen: Chosen
    rate: Rate
    after_wait_us: int
    listed: int
    granule: int


def expand(
    job: Job, catalog: Catalog, present: Collection[str], learned: Mapping[str, Correction] | None = None
) -> OptionSet:
    """All options of `job` on the accelerators `present` in the fleet, and every exclusion with its reason.

    `learned`: what jobs of its kind have shown, by accelerator; it corrects rates of whole devices. The rate of a job of several roles is that of its first role: the role that reports the progress.
    """
    excluded: list[tuple[Chosen, Reason]] = []
    per_role = [list(_role_candidates(job, role, catalog, present, excluded)) for role in job.roles]
    combinations = itertools.islice(itertools.product(*per_role), MAX_COMBINATIONS)
    options = [_joined(combination, catalog, learned or {}) for combination in combinations]
    key = _preference(job.roles[0].resources.prefer)
    order = sorted(range(len(options)), key=lambda i: (key(options[i]), i))
    ranked = tuple(_with_rank(options[i], rank) for rank, i in enumerate(order))
    return OptionSet(ranked, tuple(excluded))


def _with_rank(option: JobOption, rank: int) -> JobOption:
    return JobOption(
        chosen=option.chosen,
        rate=option.rate,
        charge=option.charge,
        granule=option.granule,
        after_wait_us=option.after_wait_us,
        rank=rank,
    )


def _joined(parts: tuple[_Candidate, ...], catalog: Catalog, learned: Mapping[str, Correction]) -> JobOption:
    chosen = tuple(part.chosen for part in parts)
    seen = learned.get(chosen[0].accelerator)
    units = {a.name: a.compute_units for a in catalog}
    return JobOption(
        chosen=chosen,
        rate=parts[0].rate if seen is None else corrected(parts[0].rate, seen),
        charge=sum(units[c.accelerator] * c.count * c.thousandths // WHOLE_DEVICE for c in chosen),
        granule=parts[0].granule,
        after_wait_us=max(part.after_wait_us for part in parts),
    )


def _preference(prefer: Prefer) -> Callable[[JobOption], float]:
    """Order-based policies follow it as it is; priced ones add their prices."""
    if prefer is Prefer.LISTED:
        return lambda option: 0  # options keep the order of the file
    if prefer is Prefer.CHEAPEST:
        return lambda option: option.charge / option.rate.value
    return lambda option: -round(option.rate.value, 9)


def _role_candidates(
    job: Job, role: Role, catalog: Catalog, present: Collection[str], excluded: list[tuple[Chosen, Reason]]
) -> Iterator[_Candidate]:
    listed = role.resources.options or tuple(_proposals(job, catalog, present, excluded))
    floor_rate: dict[str, float] = {}
    for place, option in enumerate(listed):
        accelerator = catalog.get(option.accelerator)
        if accelerator is None or option.accelerator not in present:
            chosen = Chosen(option.accelerator, option.counts[0])
            excluded.append((chosen, Reason(code=ReasonCode.UNKNOWN_ACCELERATOR, accelerator=option.accelerator)))
            continue
        for count in option.counts:
            found = _candidate(job, role, accelerator, count, catalog, floor_rate)
            if isinstance(found, Rate) and option.thousandths < WHOLE_DEVICE:
                found = _shared(found, option.thousandths / WHOLE_DEVICE)
            if isinstance(found, Reason):
                excluded.append((Chosen(option.accelerator, count), found))
            else:
                for total, rate in _replicated(job, count, found):
                    granule = count if job.service is not None else 0
                    chosen = Chosen(option.accelerator, total, option.thousandths)
                    yield _Candidate(chosen, rate, option.after_wait_us, place, granule)


def _replicated(job: Job, count: int, rate: Rate) -> Iterator[tuple[int, Rate]]:
    """A service takes `count` devices for each replica, for every number of replicas it allows."""
    if job.service is None:
        yield count, rate
        return
    for replicas in range(job.service.min_replicas, job.service.max_replicas + 1):
        yield count * replicas, rate.times(replicas, replicas, replicas, rate.provenance)


def _shared(rate: Rate, share: float) -> Rate:
    """Of a share of one device: in proportion, modelled; half of that where sharers disturb each other, all of the
    device's where they are idle."""
    return rate.times(share, share / 2, 1.0, Provenance.MODELLED)


def _candidate(
    job: Job, role: Role, accelerator: Accelerator, count: int, catalog: Catalog, floor_rate: dict[str, float]
) -> Rate | Reason:
    name = accelerator.name
    if job.work.model is not None:
        needed = devices_needed(job.work.model, job.type, accelerator)
        if count < needed:
            return Reason(code=ReasonCode.MEMORY_FLOOR, accelerator=name, need=needed, have=count)
    rate = rate_of(job.work, accelerator, count, catalog)
    if rate is None:
        return Reason(code=ReasonCode.NO_RATE, accelerator=name, need=count)
    per_device = floor_rate.setdefault(name, rate.value / count)
    efficiency = rate.value / (count * per_device)
    if efficiency < role.resources.min_efficiency - 1e-9:
        return Reason(
            code=ReasonCode.BELOW_MIN_EFFICIENCY,
            accelerator=name,
            need=round(1000 * role.resources.min_efficiency),
            have=round(1000 * efficiency),
        )
    return rate


def _proposals(
    job: Job, catalog: Catalog, present: Collection[str], excluded: list[tuple[Chosen, Reason]]
) -> Iterator[Option]:
    """For a job that gives only its model: powers of two from the memory floor upwards, on every chip present whose
    speed is known well enough."""
    model = job.work.model
    if model is None:
        return
    for accelerator in catalog:
        if accelerator.name not in present:
            continue
        floor = devices_needed(model, job.type, accelerator)
        smallest = 2 ** math.ceil(math.log2(floor))
        if job.job_class is not JobClass.OPPORTUNISTIC and _is_guess(accelerator, job.work):
            reason = Reason(code=ReasonCode.UNCERTAIN_RATE, accelerator=accelerator.name, need=smallest)
            excluded.append((Chosen(accelerator.name, smallest), reason))
            continue
        doublings = 1 if job.type is JobType.INFERENCE else PROPOSED_DOUBLINGS
        yield Option(accelerator=accelerator.name, counts=tuple(smallest * 2**k for k in range(doublings)))


def _is_guess(accelerator: Accelerator, work: Work) -> bool:
    """Whether the speed rests on modelling alone, with a band too wide to decide by."""
    if any(measured.accelerator == accelerator.name for measured in work.measured):
        return False
    rate = relative_rate(accelerator, work.work_class)
    return rate is not None and rate.provenance is Provenance.MODELLED and rate.high > WIDEST_PROPOSED_BAND * rate.low
