"""How much may wait: for one user, for all, by arrays and one by one; refusals say what the limit is."""

from unittest import mock

import pytest

from scheduler.engine import State, intake
from scheduler.errors import ConfigError, ConflictError, DeniedError, OverloadedError
from scheduler.model.events import Actor, JobAction, JobUpdated
from scheduler.model.jobs import Array, Moves
from scheduler.model.lifecycle import JobState
from scheduler.model.tenants import Quota, Tenant, Tenants, UserLimits
from tests.support.builders import S, cluster, configured, job, options, pool
from tests.support.harness import ANN, Table

BOB = Actor("bob", "red", True)


def table(most: int = 3) -> Table:
    red = Tenant(name="red", per_user=UserLimits(max_waiting_jobs=most), quotas=(Quota(resource="h200", nominal=2),))
    return Table(configured(cluster([pool("h200", 1, 4)]), Tenants(tenants=(red, Tenant(name="blue")))))


def test_a_user_may_have_so_many_jobs_waiting_in_a_tenant_and_another_user_as_many():
    at = table()
    for number in range(3):
        at.submit(job(f"j{number}"))
    with pytest.raises(OverloadedError, match="`ann` has 3 waiting jobs in `red`, the limit is 3"):
        at.submit(job("one-more"))
    at.submit(job("of-bob"), BOB)
    at.submit(job("elsewhere", tenant="blue"))


def test_what_started_no_longer_counts_as_waiting():
    at = table()
    for number in range(3):
        at.submit(job(f"j{number}"))
    at.decide()
    at.submit(job("next"))


def test_an_array_counts_with_all_its_members_and_enters_whole_or_not_at_all():
    at = table()
    with pytest.raises(OverloadedError):
        at.submit(job("many", array=Array(first=0, last=3)))
    assert at.state.jobs == []
    at.submit(job("few", array=Array(first=7, last=9)))
    assert [member.array.index for member in at.state.jobs] == [7, 8, 9]


def test_past_the_limit_of_all_jobs_a_submission_is_told_to_come_back():
    at = table()
    at.submit(job("first"))
    with mock.patch.object(intake, "MAX_ACTIVE_JOBS", 1), pytest.raises(OverloadedError, match="the limit is 1"):
        at.submit(job("second"))
    at.decide()
    at.up(at.state.jobs[0])
    at.end(at.state.jobs[0])
    with mock.patch.object(intake, "MAX_ACTIVE_JOBS", 1):
        at.submit(job("third"))


def test_a_repeated_key_with_the_same_body_adds_nothing_and_with_another_is_refused():
    at = table()
    at.submit(job("once"), key="k", digest="a")
    assert intake.submission(at.state, job("once"), Actor("ann", "red", True), str, 0, key="k", digest="a") == ()
    with pytest.raises(ConflictError, match="`k`"):
        at.submit(job("once"), key="k", digest="b")


def test_what_a_limit_excludes_for_ever_is_denied_at_once_and_what_only_waits_is_taken():
    at = table()
    with pytest.raises(DeniedError, match="may hold 2"):
        at.submit(job("too-many", *options(h200=4)))
    at.submit(job("fits", *options(h200=2)))
    at.submit(job("waits", *options(h200=2)))


def test_a_deadline_in_the_past_is_refused_and_names_its_field():
    at = table()
    at.now_us = 50
    for passed in (49, 50):
        with pytest.raises(ConfigError, match="deadline lies in the past") as caught:
            at.submit(job("late", deadline_us=passed))
        assert caught.value.path == "deadline"
    at.submit(job("in-time", deadline_us=51))


def test_a_repeated_key_is_answered_alike_though_the_deadline_has_passed_since():
    at = table()
    at.submit(job("once", deadline_us=at.now_us + 1), key="k", digest="a")
    again = intake.submission(at.state, job("once", deadline_us=at.now_us + 1), ANN, str, at.now_us + 9, "k", "a")
    assert again == ()


def limited() -> Table:
    search = Tenant(name="search", time_limit_us=100 * S)
    below = (Tenant(name="search/ranking"), Tenant(name="search/index", time_limit_us=500 * S), Tenant(name="free"))
    return Table(configured(cluster([pool("h200", 1, 4)]), Tenants(tenants=(search, *below))))


def update(at: Table, number: int = 0, **changes: object) -> JobUpdated:
    return intake.updated(at.state, at.state.jobs[number], JobUpdated(number, ANN, **changes), at.now_us)


@pytest.mark.parametrize(
    ("tenant", "limit_s", "whose"),
    [("search", 100, "search"), ("search/ranking", 100, "search"), ("search/index", 500, "search/index")],
)
def test_an_update_raises_no_time_limit_above_the_tenants(tenant: str, limit_s: int, whose: str):
    at = limited()
    at.submit(job("one", tenant=tenant))
    assert update(at, time_limit_us=limit_s * S).time_limit_us == limit_s * S
    with pytest.raises(DeniedError, match=f"`{whose}` lets its jobs run for at most {limit_s} s, not {limit_s + 1} s"):
        update(at, time_limit_us=(limit_s + 1) * S)
    assert update(at, priority=7).priority == 7  # what does not ask for time is not refused for it


def test_an_update_may_ask_for_any_time_where_no_tenant_bounds_it():
    at = limited()
    at.submit(job("one", tenant="free"))
    assert update(at, time_limit_us=10**15).time_limit_us == 10**15


def test_an_update_sets_no_deadline_in_the_past_and_changes_no_job_that_has_ended():
    at = table()
    at.submit(job("one"))
    with pytest.raises(ConfigError, match="deadline"):
        update(at, deadline_us=at.now_us)
    assert update(at, deadline_us=at.now_us + 1).deadline_us == at.now_us + 1
    with pytest.raises(ConflictError, match="portable"):
        update(at, moves=Moves.ANY)
    at.run_all(*at.state.jobs)
    at.end(at.state.jobs[0])
    with pytest.raises(ConflictError, match="has ended"):
        update(at, priority=7)


def test_a_limit_on_waiting_jobs_counts_those_of_the_tenants_below_it():
    above = Tenant(name="red", per_user=UserLimits(max_waiting_jobs=2))
    own = Tenant(name="red/own", per_user=UserLimits(max_waiting_jobs=1))
    tree = Tenants(tenants=(above, own, Tenant(name="red/free"), Tenant(name="reddish")))
    at = Table(configured(cluster([pool("h200", 1, 1)]), tree))
    at.submit(job("first", tenant="red/own"))
    with pytest.raises(OverloadedError, match="1 waiting jobs in `red/own`, the limit is 1"):
        at.submit(job("second", tenant="red/own"))
    at.submit(job("third", tenant="red/free"))
    for tenant in ("red", "red/free"):
        with pytest.raises(OverloadedError, match="2 waiting jobs in `red`, the limit is 2"):
            at.submit(job("fourth", tenant=tenant))
    at.submit(job("elsewhere", tenant="reddish"))
    at.submit(job("of-bob", tenant="red/free"), BOB)


def test_what_waits_is_counted_through_suspension_requeue_and_replay():
    at = table()
    first, second = at.submit(job("first")), at.submit(job("second"))
    at.ask(second, JobAction.SUSPEND)
    assert at.state.waiting_jobs("red", ANN.user) == 1
    at.ask(second, JobAction.RESUME)
    assert at.state.waiting_jobs("red", ANN.user) == 2
    at.decide()
    assert at.state.waiting_jobs("red", ANN.user) == sum(j.state is JobState.WAITING for j in at.state.jobs) < 2
    at.run_all(first)
    at.end(first)
    assert State.from_image(at.state.image()).waiting == at.state.waiting
