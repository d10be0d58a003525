"""Tenant files: the tree, its quota, and contradictions with their place."""

import pytest

from scheduler.config import load_catalog, read_text
from scheduler.errors import ConfigError
from scheduler.model.tenants import JobClass, Quota, Shortfall, Tenants
from scheduler.model.units import US_PER_S

HEAD = "schema: dualtrack/v1\nkind: tenants\n"


def tenants(body: str) -> Tenants:
    _, found = read_text(HEAD + body, "t.yaml", load_catalog())
    assert isinstance(found, Tenants)
    return found


def refusal(body: str) -> str:
    with pytest.raises(ConfigError) as caught:
        tenants(body)
    return str(caught.value)


def test_quota_is_a_number_or_limits_by_name():
    found = tenants(
        """\
shortfall: by_rank
tenants:
  - name: search
    weight: 2.5
    rank: 1
    quota:
      h200: 8
      family:h20: {nominal: 64, borrowing_limit: 8, lending_limit: 0, ceiling: 72}
      track:imported: {ceiling: 100}
      compute_units: {ceiling: 48000, budget_hours: 1000, per: 7d}
      h20-96: {nominal: 4, budget_hours: 1.5, per: 1d}
      money: {budget_cny: 1000.5, per: 30d, ceiling_cny_per_hour: 12.25}
    per_user: {max_devices: 8, max_waiting_jobs: 3}
    default_class: production
    time_limit: 7d
    expected_run: 2h
    admins: [ann]
    users: [bo@example, ann]
  - name: vision
"""
    )
    search = found.get("search")
    assert found.shortfall is Shortfall.BY_RANK
    assert search is not None
    day = 86_400 * US_PER_S
    assert search.quotas == (
        Quota(resource="h200", nominal=8),
        Quota(resource="family:h20", nominal=64, borrowing_limit=8, lending_limit=0, ceiling=72),
        Quota(resource="track:imported", ceiling=100),
        Quota(resource="compute_units", ceiling=48_000, budget=1000, budget_period_us=7 * day),
        Quota(resource="h20-96", nominal=4, budget=1500, budget_period_us=day),
        Quota(resource="money", ceiling=1225, budget=100_050, budget_period_us=30 * day),
    )
    assert (search.weight, search.rank, search.default_class) == (2.5, 1, JobClass.PRODUCTION)
    assert (search.per_user.max_devices, search.per_user.max_waiting_jobs) == (8, 3)
    assert search.users == ("bo@example", "ann")


def test_parents_come_before_children_however_they_are_listed():
    found = tenants(
        "tenants: [{name: a/b/c}, {name: x, parent: b}, {name: a/b}, {name: b, parent: y}, {name: a}, {name: y}]"
    )
    names = [tenant.name for tenant in found.tenants]
    assert set(names) == {"a", "y", "a/b", "y/b", "a/b/c", "y/b/x"}
    for position, tenant in enumerate(found.tenants):
        assert not tenant.parent or tenant.parent in names[:position]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "tenants:\n  - {name: a, parent: b}\n  - {name: b, parent: a}\n",
            "t.yaml:4: tenants[0].parent: tenants form a cycle: a -> b -> a",
        ),
        ("tenants:\n  - {name: a, parent: a}\n", "t.yaml:4: tenants[0].parent: tenants form a cycle: a -> a"),
        (
            "tenants:\n  - {name: c, parent: a}\n  - {name: a, parent: b}\n  - {name: b, parent: a}\n",
            "t.yaml:4: tenants[0].parent: tenants form a cycle",
        ),
        (
            "tenants:\n  - name: a\n  - name: b/c\n",
            "t.yaml:5: tenants[1].name: `b`, the parent of `b/c`, is not listed",
        ),
        (
            "tenants:\n  - {name: a, parent: serch}\n  - name: search\n",
            "t.yaml:4: tenants[0].parent: no tenant `serch` is listed; did you mean `search`?",
        ),
        (
            "tenants:\n  - name: a\n  - name: a\n",
            "t.yaml:5: tenants[1].name: tenant `a` is listed twice; first on line 4",
        ),
        (
            "tenants:\n  - name: a\n  - {name: a/b}\n  - {name: b, parent: a}\n",
            "t.yaml:6: tenants[2].name: tenant `a/b` is listed twice",
        ),
        ("tenants:\n  - {name: a/b, parent: c}\n  - name: c\n", "t.yaml:4: tenants[0].name: `a/b` is not a name"),
        ("tenants:\n  - {name: a, quota: {h200: -1}}\n", "t.yaml:4: tenants[0].quota.h200: `-1` is out of range; 0 to"),
        (
            "tenants:\n  - {name: a, quota: {h200: {nominal: 1.5}}}\n",
            "t.yaml:4: tenants[0].quota.h200.nominal: a whole number is expected",
        ),
        (
            "tenants:\n  - {name: a, quota: {h200: {nominal: 8, ceiling: 4}}}\n",
            "t.yaml:4: tenants[0].quota.h200.ceiling: the ceiling 4 is below the nominal 8",
        ),
        (
            "tenants:\n  - {name: a, quota: {h200: {nominal: 8, lending_limit: 9}}}\n",
            "t.yaml:4: tenants[0].quota.h200.lending_limit: 9 could be lent of a nominal 8",
        ),
        (
            "tenants:\n  - {name: a, quota: {h200: {borrowing_limit: 9}}}\n",
            "t.yaml:4: tenants[0].quota.h200: `a` has neither a parent nor a neighbour",
        ),
        (
            "tenants:\n  - {name: a, quota: {h200: {ceiling: 4}}}\n  - {name: a/b, quota: {h200: 5}}\n",
            "t.yaml:5: tenants[1].quota.h200: the nominal 5 is above the ceiling 4 of `a`",
        ),
        (
            "tenants:\n  - {name: a, quota: {h201: 1}}\n",
            "t.yaml:4: tenants[0].quota.h201: unknown accelerator `h201`; did you mean `h200`?",
        ),
        (
            "tenants:\n  - {name: a, quota: {h20: 1}}\n",
            "t.yaml:4: tenants[0].quota.h20: `h20` is a family; write `family:h20`",
        ),
        (
            "tenants:\n  - {name: a, quota: {family:h21: 1}}\n",
            "t.yaml:4: tenants[0].quota.family:h21: unknown family `h21`",
        ),
        ("tenants:\n  - {name: a, quota: {track:x: 1}}\n", "t.yaml:4: tenants[0].quota.track:x: unknown track `x`"),
        ("tenants:\n  - {name: a, quota: {money: 100}}\n", "t.yaml:4: tenants[0].quota.money: a mapping is expected"),
        (
            "tenants:\n  - {name: a, quota: {money: {}}}\n",
            "t.yaml:4: tenants[0].quota.money: limits nothing",
        ),
        (
            "tenants:\n  - {name: a, quota: {money: {ceiling_cny_per_hour: -1}}}\n",
            "t.yaml:4: tenants[0].quota.money.ceiling_cny_per_hour: ",
        ),
        (
            "tenants:\n  - {name: a, quota: {money: {ceiling_cny_per_hour: 5, per: 1d}}}\n",
            "t.yaml:4: tenants[0].quota.money.per: is a period without a budget",
        ),
        (
            "tenants:\n  - {name: a, quota: {h200: {per: 1d}}}\n",
            "t.yaml:4: tenants[0].quota.h200.per: is a period without a budget",
        ),
        (
            "tenants:\n  - {name: a, quota: {h200: {budget_hours: 1}}}\n",
            "t.yaml:4: tenants[0].quota.h200: the field `per` is missing",
        ),
        ("tenants:\n  - {name: a, weight: 0}\n", "t.yaml:4: tenants[0].weight: `0` is out of range"),
    ],
)
def test_a_tree_that_contradicts_itself_is_refused_at_its_place(body, message):
    assert refusal(body).startswith(message)


def test_two_parents_of_one_name_are_told_apart_by_full_paths():
    body = "tenants: [{name: x}, {name: y}, {name: a, parent: x}, {name: a, parent: y}, {name: b, parent: a}]"
    assert "several tenants are written `a`" in refusal(body)
    full = body.replace("{name: b, parent: a}", "{name: x/a/b}")
    assert [tenant.name for tenant in tenants(full).tenants] == ["x", "y", "x/a", "y/a", "x/a/b"]
