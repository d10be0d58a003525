"""Quotas that contradict each other are refused with their place; what is encoded reads back the same."""

import pytest

from scheduler.config import decode_tenants, encode_tenants, load_catalog, load_tenants, shipped, shipped_names
from scheduler.config.document import parsed
from scheduler.config.quotas import UNLIMITED_BORROWING
from scheduler.config.tenants import tenants_of
from scheduler.errors import ConfigError

HEAD = "schema: dualtrack/v1\nkind: tenants\ntenants:\n"


def read(entries: str):
    return tenants_of(parsed(HEAD + entries, "t.yaml", "tenants")[0], load_catalog())


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (
            "  - {name: a, quota: {h200: 4}}\n  - {name: a/b, quota: {h200: 3}}\n  - {name: a/c, quota: {h200: 2}}\n",
            "t.yaml:6: tenants[2].quota.h200: the nominal 2 is more than the 1 that `a` has left to give",
        ),
        (
            "  - {name: a, quota: {h200: 4}}\n  - {name: a/b}\n  - {name: a/b/c, quota: {h200: 5}}\n",
            "t.yaml:6: tenants[2].quota.h200: the nominal 5 is more than the 4 that `a` has left to give",
        ),
        (
            "  - {name: a, quota: {h20-96: 5, family:h20: 4}}\n",
            "t.yaml:4: tenants[0].quota.h20-96: the nominal 5 is above the 4 of `family:h20`",
        ),
        (
            "  - {name: a, quota: {compute_units: 5}}\n",
            "t.yaml:4: tenants[0].quota.compute_units: `compute_units` is not promised in devices",
        ),
        (
            "  - {name: a, quota: {track:imported: {nominal: 2, ceiling: 4}}}\n",
            "t.yaml:4: tenants[0].quota.track:imported.nominal: `track:imported` is not promised in devices",
        ),
        (
            "  - {name: a, quota: {h200: {nominal: 1, borrowing_limit: lots}}}\n",
            "t.yaml:4: tenants[0].quota.h200.borrowing_limit: a whole number is expected",
        ),
    ],
)
def test_a_contradiction_is_refused_where_it_stands(entries: str, said: str):
    with pytest.raises(ConfigError) as caught:
        read(entries)
    assert said in str(caught.value)


def test_borrowing_may_be_unlimited():
    tenants = read("  - {name: a, quota: {h200: {nominal: 1, borrowing_limit: unlimited}}}\n  - {name: b}\n")
    assert tenants.tenants[0].quotas[0].borrowing_limit == UNLIMITED_BORROWING


@pytest.mark.parametrize("name", shipped_names("tenants"))
def test_tenants_read_back_as_they_were_encoded(name: str):
    catalog = load_catalog()
    tenants = load_tenants(shipped("tenants", name), catalog)
    assert decode_tenants(encode_tenants(tenants), "again", catalog) == tenants
