"""Rates from the class table, the memory floor, and the options that follow from both."""

import math

import pytest

from scheduler.config import load_catalog
from scheduler.model.allocations import Chosen
from scheduler.model.jobs import JobType, Measured, ModelShape, Option, Prefer, Resources, Role, Service, Work, WorkUnit
from scheduler.model.reasons import ReasonCode
from scheduler.model.tenants import JobClass
from scheduler.profiles import expand, rate_of
from scheduler.profiles.memory import devices_needed
from tests.support.builders import A910C, CATALOG, H20, H200, job, options

EIGHT_B = ModelShape(params=8e9, layers=32, hidden=4096, seq_len=8192)


def test_the_users_own_measurement_is_taken_as_it_is() -> None:
    work = Work(measured=(Measured(accelerator="h200", count=8, rate=3.5),))
    rate = rate_of(work, H200, 8, CATALOG)
    assert rate is not None and (rate.value, rate.absolute) == (3.5, True)


def test_a_measurement_elsewhere_is_carried_over_by_the_class_table() -> None:
    work = Work(measured=(Measured(accelerator="h20-96", count=4, rate=2.0),))
    rate = rate_of(work, H200, 4, CATALOG)
    assert rate is not None
    assert rate.value == pytest.approx(12.0)
    assert rate.low < rate.value < rate.high


def test_a_measurement_on_the_same_chip_is_nearer_than_one_on_another() -> None:
    near = Measured(accelerator="h200", count=2, rate=10.0)
    far = Measured(accelerator="h20-96", count=8, rate=1.0)
    rate = rate_of(Work(measured=(far, near)), H200, 8, CATALOG)
    assert rate is not None and rate.value > 30


def test_more_devices_are_faster_and_never_more_than_in_proportion() -> None:
    work = Work(model=EIGHT_B, unit=WorkUnit.TOKENS)
    rates = [rate_of(work, H200, count, CATALOG) for count in (1, 2, 8, 64)]
    values = [rate.value for rate in rates if rate]
    assert values == sorted(values)
    assert all(value <= values[0] * count + 1e-6 for value, count in zip(values, (1, 2, 8, 64), strict=True))


def test_without_a_model_or_measurement_the_rate_ranks_but_tells_no_duration() -> None:
    rate = rate_of(Work(amount=100.0), H200, 8, CATALOG)
    assert rate is not None and not rate.absolute


def test_the_modelled_rate_follows_from_six_operations_per_parameter_and_token() -> None:
    rate = rate_of(Work(model=EIGHT_B, unit=WorkUnit.TOKENS), H20, 1, CATALOG)
    assert rate is not None
    assert rate.value == pytest.approx(0.6 * 148e12 / (6 * 8e9))


def test_training_needs_sixteen_bytes_a_parameter_and_serving_two() -> None:
    usable = 141 * 2**30 * 0.9
    assert devices_needed(EIGHT_B, JobType.TRAINING, H200) == math.ceil(8e9 * 16 / usable) == 1
    assert devices_needed(ModelShape(params=70e9), JobType.TRAINING, H200) == math.ceil(70e9 * 16 / usable) == 9
    assert devices_needed(ModelShape(params=70e9), JobType.INFERENCE, H200) == 2


def test_a_job_that_gives_only_its_model_is_offered_every_chip_that_holds_it() -> None:
    spec = job(work=Work(model=ModelShape(params=70e9), unit=WorkUnit.TOKENS))
    spec = _with_resources(spec, Resources())
    found = expand(spec, CATALOG, {"h200", "ascend-910c"})
    assert {o.chosen[0].accelerator for o in found.options} == {"h200", "ascend-910c"}
    assert min(o.chosen[0].count for o in found.options) == 16


def _with_resources(spec, resources: Resources):
    import msgspec

    return msgspec.structs.replace(spec, roles=(Role(entrypoint=("x",), resources=resources),))


def test_a_count_below_the_memory_floor_is_excluded_with_what_it_needs() -> None:
    spec = job("big", *options(h200=4), work=Work(model=ModelShape(params=70e9)))
    found = expand(spec, CATALOG, {"h200"})
    assert not found.options
    (_, reason), *_ = found.excluded
    assert (reason.code, reason.need, reason.have) == (ReasonCode.MEMORY_FLOOR, 9, 4)


def test_an_accelerator_that_the_fleet_lacks_is_excluded() -> None:
    found = expand(job("x", *options(h200=1, ascend_910c=1)), CATALOG, {"h200"})
    assert [reason.code for _, reason in found.excluded] == [ReasonCode.UNKNOWN_ACCELERATOR]


@pytest.mark.parametrize(
    ("prefer", "first"), [(Prefer.LISTED, "h20-96"), (Prefer.FASTEST, "h200"), (Prefer.CHEAPEST, "h20-96")]
)
def test_options_are_ranked_as_the_job_prefers(prefer: Prefer, first: str) -> None:
    resources = Resources(options=(Option(accelerator="h20-96", counts=(1,)), *options(h200=4)), prefer=prefer)
    found = expand(_with_resources(job(), resources), CATALOG, {"h200", "h20-96"})
    assert found.options[0].rank in (0, 1)
    best = min(found.options, key=lambda o: o.rank)
    assert best.chosen[0].accelerator == first


def test_a_service_takes_its_count_for_each_replica() -> None:
    spec = job("serve", *options(h20_96=2), type=JobType.INFERENCE, service=Service(min_replicas=1, max_replicas=3))
    found = expand(spec, CATALOG, {"h20-96"})
    assert sorted((o.chosen[0].count, o.granule) for o in found.options) == [(2, 2), (4, 2), (6, 2)]


def test_roles_are_combined() -> None:
    parts = [Role(name=n, entrypoint=("x",), resources=Resources(options=o)) for n, o in
             (("learner", options(h200=8)), ("rollout", options(h20_96=(8, 16))))]  # fmt: skip
    found = expand(job(roles=tuple(parts)), CATALOG, {"h200", "h20-96"})
    assert {o.chosen for o in found.options} == {
        (Chosen("h200", 8), Chosen("h20-96", 8)),
        (Chosen("h200", 8), Chosen("h20-96", 16)),
    }


def test_charges_are_compute_units_of_all_devices() -> None:
    found = expand(job("x", *options(ascend_910c=4)), CATALOG, {"ascend-910c"})
    assert found.options[0].charge == 4 * A910C.compute_units


GUESSED = "ascend-910b3"
"""Its dense training rate is modelled, between 1.0 and 2.1 of an h20-96."""


@pytest.mark.parametrize(
    ("job_class", "listed", "measured", "taken"),
    [
        (JobClass.STANDARD, False, False, False),
        (JobClass.OPPORTUNISTIC, False, False, True),
        (JobClass.STANDARD, True, False, True),
        (JobClass.STANDARD, False, True, True),
    ],
)
def test_a_speed_that_is_only_guessed_is_proposed_to_nobody_who_did_not_ask_for_it(
    job_class: JobClass, listed: bool, measured: bool, taken: bool
) -> None:
    speed = (Measured(accelerator=GUESSED, count=8, rate=1.0),) if measured else ()
    resources = Resources(options=tuple(options(ascend_910b3=8)) if listed else ())
    roles = (Role(entrypoint=("python", "train.py"), resources=resources),)
    work = Work(model=EIGHT_B, amount=10.0, measured=speed)
    spec = job("guess", job_class=job_class, roles=roles, work=work)
    found = expand(spec, load_catalog(), {GUESSED, "h20-96"})
    assert (GUESSED in {option.chosen[0].accelerator for option in found.options}) is taken
    told = [chosen.accelerator for chosen, reason in found.excluded if reason.code is ReasonCode.UNCERTAIN_RATE]
    assert told == ([] if taken else [GUESSED])
