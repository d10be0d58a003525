"""How much may wait: for one user, for all, by arrays and one by one; refusals say what the limit is."""

from unittest import mock

import pytest

from scheduler.engine import intake
from scheduler.errors import ConflictError, DeniedError, OverloadedError
from scheduler.model.events import Actor
from scheduler.model.jobs import Array
from scheduler.model.tenants import Quota, Tenant, Tenants, UserLimits
from tests.support.builders import cluster, configured, job, options, pool
from tests.support.harness import Table

BOB = Actor("bob", "red", True)


def table(most: int = 3) -> Table:
    red = Tenant(name="red", per_user=UserLimits(max_waiting_jobs=most), quotas=(Quota(resource="h200", nominal=2),))
    return Table(configured(cluster([pool("h200", 1, 4)]), Tenants(tenants=(red, Tenant(name="blue")))))


def test_a_user_may_have_so_many_jobs_waiting_in_a_tenant_and_another_user_as_many():
    at = table()
    for number in range(3):
        at.submit(job(f"j{number}"))
    with pytest.raises(OverloadedError, match="has 3 waiting jobs, the limit is 3"):
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
