"""From a job to what it could take: every combination of accelerator and count per role, with rate and charge."""

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from msgspec import Struct

from scheduler.model.accelerators import Accelerator, Catalog, Provenance
from scheduler.model.allocations import Chosen
from scheduler.model.jobs import Job, JobType, Option, Prefer, Role
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.tenants import JobClass
from scheduler.model.units import WHOLE_DEVICE
from scheduler.profiles.calibration import careful, hopeful
from scheduler.profiles.memory import devices_needed
from scheduler.profiles.modelled import served_bytes, served_shape, useful_counts
from scheduler.profiles.observed import COMMON, Correction, corrected
from scheduler.profiles.serving_rate import replicas_needed
from scheduler.profiles.speeds import Speeds
from scheduler.profiles.table import Rate, relative_rate

__all__ = ["JobOption", "OptionSet", "expand"]

MAX_COMBINATIONS = 256
"""Per job; four roles with four options each."""

WIDEST_PROPOSED_BAND = 2.0
"""High over low of a modelled rate per device; with a wider one an accelerator is taken only for opportunistic jobs, or
when the job's file lists it: that is the consent."""

USUAL_MIN_EFFICIENCY = 0.5
LEAST_SEARCHED = 64
SEARCHED_DOUBLINGS = 4
"""Layouts are searched on up to so many devices, or times the least that hold the model."""

LEAST_STEP = 1.75
"""From one proposed count to the next."""

PROPOSED_DOUBLINGS = 3
"""A job that gives only its model is offered the smallest power of two that holds it, and so many doublings."""


LEAST_CERTAIN = 1e-3
"""Of the expected rate: an option is worth something even where its band begins at nothing."""


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
    layout: str = ""  # of the first role's devices, where a model of speed says which is fastest
    weighed: float = 0.0  # the rate that policies go by: see `_weighed`


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
    layout: str = ""


def expand(
    job: Job,
    catalog: Catalog,
    present: Collection[str],
    learned: Mapping[str, Correction] | None = None,
    crowded: Mapping[str, int] | None = None,
) -> OptionSet:
    """All options of `job` on the accelerators `present` in the fleet, and every exclusion with its reason.

    `learned`: what jobs of its kind have shown, by accelerator; it corrects rates of whole devices. `crowded`:
    the most devices on which one of them ran out of memory; so few are not proposed again, though a job may still list
    them. The rate of a job of several roles is that of its first role: the role that reports the progress.
    """
    excluded: list[tuple[Chosen, Reason]] = []
    shown = [learned or {}, *[{}] * (len(job.roles) - 1)]
    per_role = [
        list(_role_candidates(job, role, catalog, present, excluded, crowded or {}, seen))
        for role, seen in zip(job.roles, shown, strict=True)
    ]
    combinations = itertools.islice(itertools.product(*per_role), MAX_COMBINATIONS)
    options = [_joined(job, combination, catalog) for combination in combinations]
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
        layout=option.layout,
        weighed=option.weighed,
    )


def _weighed(job: Job, rate: Rate) -> float:
    """What services and deadlines can count on: the lower end of the band. Opportunistic jobs explore: on chips whose
    rate is only modelled they hope for the upper end, until one of their kind has run there. Else what is expected."""
    if job.service is not None or job.deadline_us is not None:
        return max(careful(rate), LEAST_CERTAIN * rate.value)
    explores = job.job_class is JobClass.OPPORTUNISTIC and rate.provenance is Provenance.MODELLED
    return hopeful(rate) if explores else rate.value


def _joined(job: Job, parts: tuple[_Candidate, ...], catalog: Catalog) -> JobOption:
    chosen, rate = tuple(part.chosen for part in parts), parts[0].rate
    units = {a.name: a.compute_units for a in catalog}
    return JobOption(
        chosen=chosen,
        rate=rate,
        charge=sum(units[c.accelerator] * c.count * c.thousandths // WHOLE_DEVICE for c in chosen),
        granule=parts[0].granule,
        after_wait_us=max(part.after_wait_us for part in parts),
        layout=parts[0].layout,
        weighed=_weighed(job, rate),
    )


def _preference(prefer: Prefer) -> Callable[[JobOption], float]:
    """Order-based policies follow it as it is; priced ones add their prices."""
    if prefer is Prefer.LISTED:
        return lambda option: 0  # options keep the order of the file
    if prefer is Prefer.CHEAPEST:
        return lambda option: option.charge / option.weighed
    return lambda option: -round(option.weighed, 9)


def _role_candidates(
    job: Job,
    role: Role,
    catalog: Catalog,
    present: Collection[str],
    excluded: list[tuple[Chosen, Reason]],
    crowded: Mapping[str, int],
    learned: Mapping[str, Correction],
) -> Iterator[_Candidate]:
    listed = role.resources.options or tuple(_proposals(job, catalog, present, excluded, crowded))
    floor_rate: dict[str, float] = {}
    for place, option in enumerate(listed):
        accelerator = catalog.get(option.accelerator)
        if accelerator is None or option.accelerator not in present:
            chosen = Chosen(option.accelerator, option.counts[0])
            excluded.append((chosen, Reason(code=ReasonCode.UNKNOWN_ACCELERATOR, accelerator=option.accelerator)))
            continue
        speeds = Speeds(job, accelerator, option.counts, catalog)
        for count in option.counts:
            found = _candidate(job, role, accelerator, count, speeds, floor_rate, catalog)
            if isinstance(found, Rate) and option.thousandths < WHOLE_DEVICE:
                found = _shared(found, option.thousandths / WHOLE_DEVICE)
            if isinstance(found, Rate) and option.accelerator in learned:
                found = corrected(found, learned[option.accelerator])
            if isinstance(found, Reason):
                excluded.append((Chosen(option.accelerator, count), found))
            else:
                for total, rate in _replicated(job, count, found):
                    granule = count if job.service is not None else 0
                    chosen = Chosen(option.accelerator, total, option.thousandths)
                    yield _Candidate(chosen, rate, option.after_wait_us, place, granule, speeds.layout(count))


def _replicated(job: Job, count: int, rate: Rate) -> Iterator[tuple[int, Rate]]:
    """A service takes `count` devices for each replica, for every number of replicas it allows; no more than carry its
    load for certain, where it is known what one carries."""
    service = job.service
    if service is None:
        yield count, rate
        return
    most = service.max_replicas
    if rate.absolute and rate.low > 0 and service.load.requests_per_s > 0:
        most = min(most, max(service.min_replicas, replicas_needed(rate, service.load.requests_per_s)))
    for replicas in range(service.min_replicas, most + 1):
        yield count * replicas, rate.times(replicas, replicas, replicas, rate.provenance)


def _shared(rate: Rate, share: float) -> Rate:
    """Of a share of one device: in proportion, modelled; half of that where sharers disturb each other, all of the
    device's where they are idle."""
    return rate.times(share, share / 2, 1.0, Provenance.MODELLED)


def _candidate(
    job: Job,
    role: Role,
    accelerator: Accelerator,
    count: int,
    speeds: Speeds,
    floor_rate: dict[str, float],
    catalog: Catalog,
) -> Rate | Reason:
    name = accelerator.name
    if job.work.model is not None:
        needed = devices_needed(job.work.model, job.type, accelerator, served_bytes=served_bytes(job, catalog))
        if count < needed:
            return Reason(code=ReasonCode.MEMORY_FLOOR, accelerator=name, need=needed, have=count)
    rate = speeds.rate(count)
    if rate is None:
        return Reason(code=ReasonCode.NO_RATE, accelerator=name, need=count)
    if rate.value <= 0:
        return Reason(code=ReasonCode.OBJECTIVES_MISSED, accelerator=name, need=count)
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
    job: Job,
    catalog: Catalog,
    present: Collection[str],
    excluded: list[tuple[Chosen, Reason]],
    crowded: Mapping[str, int],
) -> Iterator[Option]:
    """For a job that gives only its model: powers of two from the memory floor upwards, on every chip present whose
    speed is known well enough."""
    model = job.work.model or served_shape(job.service, catalog)
    if model is None:
        return
    for accelerator in catalog:
        if accelerator.name not in present:
            continue
        needed = devices_needed(model, job.type, accelerator, served_bytes=served_bytes(job, catalog))
        floor = max(needed, crowded.get(accelerator.name, 0) + 1)
        counts = _proposed_counts(job, accelerator, catalog, floor)
        if job.job_class is not JobClass.OPPORTUNISTIC and _is_guess(job, accelerator, counts, catalog):
            reason = Reason(code=ReasonCode.UNCERTAIN_RATE, accelerator=accelerator.name, need=counts[0])
            excluded.append((Chosen(accelerator.name, counts[0]), reason))
            continue
        yield Option(accelerator=accelerator.name, counts=counts)


def _proposed_counts(job: Job, accelerator: Accelerator, catalog: Catalog, floor: int) -> tuple[int, ...]:
    """Those that the model of training finds worth their devices; else powers of two from the floor of memory up."""
    smallest = 2 ** math.ceil(math.log2(floor))
    if job.type is JobType.INFERENCE:
        return (_best_replica(Speeds(job, accelerator, (), catalog), smallest),)
    wished = job.roles[0].resources.min_efficiency or USUAL_MIN_EFFICIENCY
    most = max(LEAST_SEARCHED, SEARCHED_DOUBLINGS * smallest)
    useful = useful_counts(job.work, accelerator, catalog, most=most, min_efficiency=wished)
    useful = tuple(count for count in useful if count >= floor)
    if useful:
        return tuple(_spaced(useful))
    return tuple(smallest * 2**k for k in range(PROPOSED_DOUBLINGS))


def _spaced(counts: Sequence[int]) -> Iterator[int]:
    """The first, and each that is nearly twice the last one kept."""
    last = 0.0
    for count in counts:
        if count >= LEAST_STEP * last:
            last = count
            yield count


def _best_replica(speeds: Speeds, smallest: int) -> int:
    """The size, the smallest that holds the model or twice that, which serves most for each device for certain."""
    sizes = (smallest, 2 * smallest)
    rates = {size: rate for size in sizes if (rate := speeds.rate(size)) is not None}
    return max(rates, key=lambda size: (rates[size].low / size, -size), default=smallest)


def _is_guess(job: Job, accelerator: Accelerator, counts: tuple[int, ...], catalog: Catalog) -> bool:
    """Whether the speed rests on modelling alone, with a band too wide to decide by."""
    if any(measured.accelerator == accelerator.name for measured in job.work.measured):
        return False
    modelled = Speeds(job, accelerator, counts, catalog).modelled(counts[0])
    rate = modelled or relative_rate(accelerator, job.work.work_class)
    if rate is None or rate.provenance is not Provenance.MODELLED:
        return False
    width = rate.high / rate.low  # what all accelerators may be wrong by alike does not matter for the choice
    return (width ** math.sqrt(1 - COMMON) if modelled else width) > WIDEST_PROPOSED_BAND
