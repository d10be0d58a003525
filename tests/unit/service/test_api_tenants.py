"""The quota tree over the API: what is shown, who may change what, what would follow, and the account of use."""

import pytest
import yaml

from scheduler.service.identity import Role
from tests.support.embedded import embedded
from tests.support.waiting import until

TREE = """
tenants:
  - name: search
    quota: {h200: {nominal: 4, borrowing_limit: 4}}
    admins: [sue]
  - {name: search/ranking, quota: {h200: 2}}
  - {name: search/index, quota: {h200: 2}}
  - {name: vision, quota: {h200: {nominal: 4, lending_limit: 3}, "family:h20": {ceiling: 8, budget_hours: 1, per: 1d}}}
"""


def tree(text: str = TREE):
    return yaml.safe_load(text)


@pytest.fixture
def service(tmp_path):
    with embedded(tmp_path) as found:
        assert found.call("POST", "/v1/tenants", json=tree()).status_code == 200
        yield found


def settled(service, job, *states):
    def there():
        return service.call("GET", f"/v1/jobs/{job['id']}").json()["state"] in states

    until(there, what=" or ".join(states))
    return job


def quotas(service, tenant):
    items = service.call("GET", "/v1/tenants").json()["items"]
    found = next(t for t in items if t["name"] == tenant)
    return {q["resource"]: q for q in found["quotas"]}


def test_what_is_borrowed_and_lent_is_told_with_what_is_nominal_and_entitled(service):
    settled(service, service.submit(name="wide", count=6), "running")
    search, vision = quotas(service, "search")["h200"], quotas(service, "vision")["h200"]
    assert (search["nominal"], search["entitled"], search["used"], search["borrowed"], search["lent"]) == (
        4,
        4,
        6,
        2,
        0,
    )
    assert (vision["used"], vision["borrowed"], vision["lent"]) == (0, 0, 2)
    budget = quotas(service, "vision")["family:h20"]["budget"]
    assert (budget["unit"], budget["amount"], budget["used"], budget["spent"]) == ("device_hours", 1.0, 0.0, False)


def test_a_dry_run_changes_nothing_and_tells_who_would_be_reclaimed_and_stranded(service):
    running = settled(service, service.submit(name="wide", count=6), "running")
    smaller = tree()
    smaller["tenants"][0]["quota"] = {"h200": 4}
    found = service.call("POST", "/v1/tenants", params={"dry_run": "true"}, json=smaller).json()
    assert found["applied"] is False
    assert [(job["id"], job["running"], job["why"]) for job in found["stranded"]] == [
        (running["id"], True, "exceeds_quota")
    ]
    assert found["tenants"] == [{"name": "search", "change": "changed"}]
    assert quotas(service, "search")["h200"]["borrowing_limit"] == 4


def test_a_change_is_in_force_at_once_and_what_runs_goes_on(service):
    job = settled(service, service.submit(name="wide", count=6), "running")
    smaller = tree()
    smaller["tenants"][0]["quota"] = {"h200": 4}
    found = service.call("POST", "/v1/tenants", json=smaller).json()
    assert found["applied"] is True
    assert quotas(service, "search")["h200"]["limit"] == 4
    assert service.call("GET", f"/v1/jobs/{job['id']}").json()["state"] == "running"


def test_the_admin_of_a_tenant_divides_it_and_never_raises_it(service):
    sue = service.token_for(Role.SUBMITTER, "search", "sue")
    divided = tree()
    divided["tenants"] = divided["tenants"][:3]
    divided["tenants"][1]["quota"], divided["tenants"][2]["quota"] = {"h200": 3}, {"h200": 1}
    assert service.call("POST", "/v1/tenants", token=sue, json=divided).status_code == 200
    assert quotas(service, "search/ranking")["h200"]["nominal"] == 3
    assert quotas(service, "vision")["h200"]["nominal"] == 4

    divided["tenants"][0]["quota"] = {"h200": {"nominal": 8, "borrowing_limit": 4}}
    refused = service.call("POST", "/v1/tenants", token=sue, json=divided)
    assert (refused.status_code, "search" in refused.json()["error"]["message"]) == (403, True)


def test_nobody_divides_more_than_there_is_or_what_was_never_promised(service):
    sue = service.token_for(Role.SUBMITTER, "search", "sue")
    divided = tree()
    divided["tenants"] = divided["tenants"][:3]
    divided["tenants"][1]["quota"] = {"h200": 3}
    too_much = service.call("POST", "/v1/tenants", token=sue, json=divided)
    assert (too_much.status_code, too_much.json()["error"]["code"]) == (422, "invalid")
    divided["tenants"][1]["quota"] = {"ascend-910c": 2}
    assert service.call("POST", "/v1/tenants", token=sue, json=divided).status_code == 403


def test_who_administers_nothing_changes_nothing(service):
    for role, tenant, user in ((Role.SUBMITTER, "search", "tom"), (Role.SUBMITTER, "vision", "sue")):
        token = service.token_for(role, tenant, user)
        assert service.call("POST", "/v1/tenants", token=token, json=tree()).status_code == 403


def test_the_role_of_a_tenant_admin_divides_the_tenant_of_its_token(service):
    token = service.token_for(Role.TENANT_ADMIN, "vision", "vic")
    body = {"tenants": [tree()["tenants"][3], {"name": "vision/lab", "quota": {"h200": 1}}]}
    assert service.call("POST", "/v1/tenants", token=token, json=body).status_code == 200
    assert quotas(service, "vision/lab")["h200"]["nominal"] == 1


def test_whoever_divides_a_tenant_need_not_list_what_lies_above(service):
    sue = service.token_for(Role.SUBMITTER, "search", "sue")
    body = {
        "tenants": [{"name": "search/ranking", "quota": {"h200": 3}}, {"name": "search/index", "quota": {"h200": 1}}]
    }
    assert service.call("POST", "/v1/tenants", token=sue, json=body).status_code == 200
    assert quotas(service, "search/ranking")["h200"]["nominal"] == 3
    whole = service.call("POST", "/v1/tenants", json=body)
    assert (whole.status_code, "`search`, the parent" in whole.json()["error"]["message"]) == (422, True)
    assert quotas(service, "vision")["h200"]["nominal"] == 4


def test_jobs_of_a_tenant_that_goes_are_shown_before_it_goes(service):
    settled(service, service.submit(name="left", count=1, tenant="search/index"), "running")
    without = tree()
    del without["tenants"][2]
    found = service.call("POST", "/v1/tenants", params={"dry_run": "true"}, json=without).json()
    assert [(job["name"], job["why"]) for job in found["stranded"]] == [("left", "tenant_gone")]


def test_contradictions_are_refused_and_change_nothing(service):
    wrong = tree()
    wrong["tenants"][1]["quota"] = {"h200": 9}
    answer = service.call("POST", "/v1/tenants", json=wrong)
    assert (answer.status_code, "has left to give" in answer.json()["error"]["message"]) == (422, True)
    assert quotas(service, "search/ranking")["h200"]["nominal"] == 2


def test_use_is_told_by_project_with_worth_and_money(service):
    settled(service, service.submit(name="counted", count=2, labels={"project": "apollo"}), "running")
    answer = service.call("GET", "/v1/usage", params={"by": "project,accelerator"}).json()
    (row,) = answer["items"]
    assert (row["project"], row["accelerator"]) == ("apollo", "h200")
    assert row["device_hours"] > 0
    assert row["h20_equivalent_hours"] > row["device_hours"]
    assert (row["cost_cny"], row["lost_device_hours"]) == (0.0, 0.0)
    refused = service.call("GET", "/v1/usage", params={"by": "planet"})
    assert refused.status_code == 400


def test_a_job_that_states_no_class_has_its_tenants(service):
    body = tree()
    body["tenants"][3]["default_class"] = "opportunistic"
    assert service.call("POST", "/v1/tenants", json=body).status_code == 200
    silent = service.submit(name="silent", tenant="vision")
    stated = service.submit(name="stated", tenant="vision", **{"class": "standard"})
    spec = [service.call("GET", f"/v1/jobs/{job['id']}").json()["class"] for job in (silent, stated)]
    assert spec == ["opportunistic", "standard"]
