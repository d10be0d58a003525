"""A proposed change, once made, starts the job as promised; and no proposal is larger than it has to be."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from scheduler.engine.image import decode, encode
from scheduler.model.events import Actor
from scheduler.model.jobs import Checkpoint, Job, Moves, Option, Retries, Work
from scheduler.model.lifecycle import AttemptEnd
from scheduler.model.policy import Policy
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants
from scheduler.model.units import US_PER_S
from scheduler.planning import Asked, Counterfactuals, Effort, Proposal, counterfactuals, enter
from scheduler.simulator.driver import Driver
from scheduler.simulator.execution import Overheads
from tests.support.builders import QUICK, cluster, configured, job, options, pool, tenants
from tests.support.harness import ANN, Table

FLEET = cluster([pool("h200", 1, 8), pool("h20-96", 1, 8)], [pool("ascend-910c", 1, 8)])
BOB = Actor("bob", "blue", True)


CALM = structs.replace(QUICK, name="priority", preemption=False)
EAGER = structs.replace(QUICK, name="priority")


def table(policy: Policy = CALM, **quota: dict) -> Table:
    return Table(configured(FLEET, tenants(**(quota or {"red": {}, "blue": {}})), policy))


def ask(t: Table, spec: Job | None = None, number: int = -1, **more: object) -> Counterfactuals:
    return counterfactuals(encode(t.state), Asked(number=number, job=spec, actor=ANN), t.now_us, **more)


def parts(found: Counterfactuals) -> list[list[tuple[str, object]]]:
    return [[(str(edit.part), edit.after) for edit in proposal.change.edits] for proposal in found.proposals]


def busy(t: Table, accelerator: str = "h200", hours: float = 10.0, **more: object) -> None:
    """All eight devices of the accelerator are held by an earlier job for so long."""
    amount = hours * 3_600 * {"h200": 43.3, "h20-96": 7.2, "ascend-910c": 24.5}[accelerator]
    holder = job(f"holds-{accelerator}", Option(accelerator=accelerator, counts=(8,)), **more)
    t.run_all(t.submit(structs.replace(holder, work=structs.replace(holder.work, amount=amount))))


def test_nothing_is_proposed_for_what_starts_at_once() -> None:
    found = ask(table(), job("w", *options(h200=8)))
    assert (found.start_us, found.proposals) == (0, ())


def test_another_chip_that_is_idle_starts_it_now() -> None:
    t = table()
    busy(t)
    found = ask(t, job("w", *options(h200=8)))
    assert found.start_us is not None and found.start_us > 0
    last = found.proposals[-1]
    assert (last.start_us, last.sooner_us) == (0, found.start_us)
    assert last.chosen[0].accelerator in ("h20-96", "ascend-910c")
    assert last.run_us is not None


def test_what_can_never_run_is_told_how_many_devices_could() -> None:
    found = ask(table(), job("w", *options(h200=16)))
    assert found.start_us is None
    assert parts(found) == [[("count", 8)]]
    assert found.proposals[0].sooner_us is None


def test_fewer_devices_come_with_a_limit_that_leaves_them_the_time() -> None:
    t = table()
    whole = job("w", *options(h200=16), time_limit_us=3 * US_PER_S)
    found = ask(t, structs.replace(whole, work=structs.replace(whole.work, amount=100.0)))
    assert [part for part, _ in parts(found)[0]] == ["count", "time_limit"]


def test_an_option_that_opens_later_may_be_opened_at_once() -> None:
    t = table()
    busy(t)
    later = Option(accelerator="h20-96", counts=(8,), after_wait_us=3_600 * US_PER_S)
    found = ask(t, job("w", *options(h200=8), later))
    assert found.start_us == 3_600 * US_PER_S
    assert parts(found)[0] == [("after_wait", 0)]


def test_production_beyond_its_quota_may_borrow_as_standard() -> None:
    borrows = Quota(resource="h200", nominal=4, borrowing_limit=4)
    tree = Tenants(tenants=(Tenant(name="red", quotas=(borrows,)), Tenant(name="blue")))
    t = Table(configured(cluster([pool("h200", 1, 8)]), tree, CALM))
    busy(t, hours=1.0, tenant="blue", job_class=JobClass.OPPORTUNISTIC)
    whole = job("w", *options(h200=8), job_class=JobClass.PRODUCTION)
    assert [("class", "standard")] in parts(ask(t, whole)) or [("count", 4)] in parts(ask(t, whole))


def test_a_change_for_which_others_would_have_to_leave_counts_as_larger() -> None:
    t = table(EAGER)
    busy(t, hours=1.0)
    found = ask(t, job("w", *options(h200=8)))
    assert parts(found) == [[("accelerator", 8)]], "an earlier start by priority would cost another job its place"
    t = Table(configured(cluster([pool("h200", 1, 8)]), tenants(red={}), EAGER))
    busy(t, hours=1.0)
    found = ask(t, job("w", *options(h200=8)))
    assert parts(found) == [[("priority", 501)]] or parts(found) == [[("priority", 1000)]]
    assert found.proposals[0].victims == (0,)


def test_a_job_behind_others_of_its_tenant_may_go_first() -> None:
    t = table()
    busy(t, hours=1.0)
    t.submit(job("first", *options(h200=8)))
    second = t.submit(job("second", *options(h200=8)))
    t.decide()
    found = ask(t, number=second.number)
    assert parts(found)[0] == [("priority", 501)]
    assert found.proposals[0].change.in_place


def test_a_job_with_progress_is_told_to_move_and_never_to_be_submitted_again() -> None:
    t = table()
    saves = Checkpoint(path="ckpt", portable=True)
    work = t.submit(
        job("w", *options(h200=8, h20_96=8), checkpoint=saves, retries=Retries(backoff_us=0), moves=Moves.NEVER)
    )
    t.run_all(work)
    t.progress(work, 10.0, 10.0)
    t.end(work, AttemptEnd.LOST)
    busy(t, priority=900)
    t.decide()
    found = ask(t, number=work.number)
    assert all(proposal.change.in_place for proposal in found.proposals)
    assert [("moves", "any")] in parts(found)


def test_a_shorter_limit_lets_it_in_before_a_window() -> None:
    from scheduler.model.events import ReservationMade
    from scheduler.model.reservations import Reservation

    t = table()
    window = Reservation(id="r", nodes=("h200-0",), from_us=1_000 * US_PER_S, until_us=9_000 * US_PER_S)
    t.tell(ReservationMade(window, ANN))
    found = ask(t, job("w", *options(h200=8), work=Work(), time_limit_us=5_000 * US_PER_S))
    assert found.start_us == 9_000 * US_PER_S
    assert parts(found)[0] == [("time_limit", 999 * US_PER_S)]


def test_every_proposal_starts_it_sooner_than_every_smaller_one() -> None:
    t = table()
    for name, hours in (("h200", 9.0), ("h20-96", 5.0), ("ascend-910c", 2.0)):
        busy(t, name, hours)
    found = ask(t, job("w", *options(h200=8)))
    starts = [found.start_us, *(proposal.start_us for proposal in found.proposals)]
    assert starts == sorted(set(starts), reverse=True)
    sizes = [proposal.change.size for proposal in found.proposals]
    assert sizes == sorted(sizes)


def test_effort_is_bounded_and_what_was_left_out_is_told() -> None:
    t = table()
    busy(t)
    spec = job("w", *options(h200=8))
    assert ask(t, spec).complete
    few = ask(t, spec, effort=Effort(candidates=2))
    assert (few.tried, few.complete) == (2, False)
    assert not ask(t, spec, stop=lambda: True).complete


def test_asking_leaves_the_state_as_it_was_and_the_same_question_has_the_same_answer() -> None:
    t = table()
    busy(t)
    before = encode(t.state)
    assert ask(t, job("w", *options(h200=8))) == ask(t, job("w", *options(h200=8)))
    assert encode(t.state) == before


def _starts_us(image: bytes, asked: Asked, proposal: Proposal, now_us: int) -> int | None:
    """When the job starts in a simulation in which the change is made."""
    driver = Driver(decode(image), Overheads())
    driver.now_us = now_us
    number = enter(driver.engine, asked, proposal.change, now_us)
    from scheduler.simulator.forecast import forecast

    told = forecast(driver.state, now_us).of(number)
    return None if told is None else told.next_start_us


JOBS = st.lists(
    st.tuples(
        st.sampled_from(["h200", "h20-96", "ascend-910c"]), st.sampled_from([1, 2, 4, 8]), st.integers(1, 40),
        st.sampled_from([0, 500, 900]), st.sampled_from(list(JobClass)), st.booleans(),
    ),
    min_size=2, max_size=7,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(jobs=JOBS, wants=st.sampled_from([("h200", 8), ("h20-96", 4), ("h200", 16), ("ascend-910c", 8)]))
def test_a_proposed_change_starts_the_job_not_later_than_promised(
    jobs: list[tuple[str, int, int, int, JobClass, bool]], wants: tuple[str, int]
) -> None:
    t = table(red={"h200": 6, "h20-96": 6}, blue={"h200": 2, "h20-96": 2})
    for n, (name, count, steps, priority, job_class, blue) in enumerate(jobs):
        spec = job(
            f"j{n}", Option(accelerator=name, counts=(count,)), priority=priority, job_class=job_class,
            work=structs.replace(job().work, amount=100.0 * steps), tenant="blue" if blue else "red",
        )  # fmt: skip
        try:
            t.run_all(t.submit(spec, BOB if blue else ANN))
        except Exception as error:  # what quota can never admit is no part of the crowd
            assert "never be admitted" in str(error)
    spec = job("w", Option(accelerator=wants[0], counts=(wants[1],)))
    image = encode(t.state)
    asked = Asked(job=spec, actor=ANN)
    for proposal in counterfactuals(image, asked, t.now_us).proposals:
        starts_us = _starts_us(image, asked, proposal, t.now_us)
        assert starts_us is not None and starts_us <= proposal.start_us
    waiting = [n for n in t.state.active if t.state.jobs[n].state == "waiting"]
    for number in waiting[:2]:
        asked = Asked(number=number)
        for proposal in counterfactuals(image, asked, t.now_us).proposals:
            starts_us = _starts_us(image, asked, proposal, t.now_us)
            assert starts_us is not None and starts_us <= proposal.start_us
