"""The API of the fleet, tenants, rules, use, events and metrics."""

import json

import pytest

from scheduler.model.plan import Plan
from scheduler.service.configuration import Sources, configured
from scheduler.service.identity import Role
from scheduler.service.metrics import METRIC_NAMES, Gauges, Metrics
from tests.support.embedded import embedded
from tests.support.waiting import until


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with embedded(tmp_path_factory.mktemp("home")) as found:
        yield found


def settled(service, job, *states):
    def there():
        return service.call("GET", f"/v1/jobs/{job['id']}").json()["state"] in states

    until(there, what=" or ".join(states))


def test_the_uses_of_every_node_and_pool_sum_to_its_devices(service):
    job = service.submit(name="user", count=3)
    settled(service, job, "running")
    found = service.call("GET", "/v1/fleet").json()
    for row in (*found["nodes"], *found["pools"]):
        assert sum(row[use] for use in ("used", "idle", "foreign", "unavailable")) == row["devices"]
    assert sum(pool["used"] for pool in found["pools"]) == 3
    holder = next(node for node in found["nodes"] if node["used"])
    assert holder["jobs"] == [job["id"]]
    service.call("POST", f"/v1/jobs/{job['id']}/cancel")
    settled(service, job, "cancelled")


def test_ids_of_jobs_that_the_caller_may_not_see_are_left_out_of_the_fleet(service):
    job = service.submit(name="hidden", count=3)
    settled(service, job, "running")
    stranger = service.token_for(Role.VIEWER, "vision")
    found = service.call("GET", "/v1/fleet", token=stranger).json()
    assert all(node["jobs"] == [] for node in found["nodes"])
    service.call("POST", f"/v1/jobs/{job['id']}/cancel")
    settled(service, job, "cancelled")


def test_a_cordoned_node_takes_nothing_and_comes_back(service):
    assert service.call("POST", "/v1/nodes/h200-0/cordon").json()["state"] == "cordoned"
    job = service.submit(name="kept-out")
    until(lambda: service.call("GET", f"/v1/jobs/{job['id']}").json()["reason"])
    assert service.call("GET", f"/v1/jobs/{job['id']}").json()["state"] == "waiting"
    assert service.call("POST", "/v1/nodes/h200-0/uncordon").json()["state"] == "ready"
    settled(service, job, "running")
    assert service.call("POST", "/v1/nodes/h200-0/drain").json()["state"] == "draining"
    settled(service, job, "waiting", "stopping")
    service.call("POST", "/v1/nodes/h200-0/uncordon")
    service.call("POST", f"/v1/jobs/{job['id']}/cancel")
    settled(service, job, "cancelled")
    assert service.call("POST", "/v1/nodes/nowhere/drain").status_code == 404


def test_the_quota_tree_shows_what_is_held(service):
    job = service.submit(name="counted", count=2)
    settled(service, job, "running")
    rows = {t["name"]: t for t in service.call("GET", "/v1/tenants").json()["items"]}
    quota = next(q for q in rows["search"]["quotas"] if q["resource"] == "h200")
    assert (quota["nominal"], quota["limit"], quota["used"]) == (8, 8, 2)
    own = service.call("GET", "/v1/tenants", token=service.token_for(Role.VIEWER, "vision")).json()["items"]
    assert [tenant["name"] for tenant in own] == ["vision"]
    service.call("POST", f"/v1/jobs/{job['id']}/cancel")
    settled(service, job, "cancelled")


def test_use_is_accounted_by_what_is_asked(service):
    found = service.call("GET", "/v1/usage", params={"by": "tenant,accelerator"}).json()
    assert found["by"] == ["tenant", "accelerator"]
    assert all(row["device_hours"] >= 0 for row in found["items"])
    nothing = service.call("GET", "/v1/usage", params={"to": "1971-01-01T00:00:00Z"}).json()
    assert all(row["device_hours"] == 0 for row in nothing["items"])
    for params in ({"by": "weather"}, {"by": ""}, {"by": "user,user"}, {"from": "yesterday"}):
        assert service.call("GET", "/v1/usage", params=params).status_code == 400


def test_rules_come_with_what_is_measured(service):
    found = service.call("GET", "/v1/rules").json()
    assert found["measured"]["domestic_installed_devices"] == pytest.approx(4 / 20)


def events_of(answer):
    lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_events_are_told_in_order_and_only_to_those_who_may_see_the_tenant(service):
    job = service.submit(name="told", workload={"steps": 1})
    settled(service, job, "succeeded")
    found = events_of(service.call("GET", "/v1/events", params={"job": "told", "follow": "false"}))
    kinds = [event["kind"] for event in found]
    assert kinds[0] == "job_submitted"
    assert {"allocated", "attempt_started", "attempt_ended"} <= set(kinds)
    assert [event["seq"] for event in found] == sorted(event["seq"] for event in found)
    later = events_of(service.call("GET", "/v1/events", params={"after": found[0]["seq"], "follow": "false"}))
    assert all(event["seq"] > found[0]["seq"] for event in later)
    stranger = service.token_for(Role.VIEWER, "vision")
    seen = events_of(service.call("GET", "/v1/events", params={"follow": "false"}, token=stranger))
    assert all(event.get("tenant", "vision") == "vision" for event in seen)


def test_events_hold_no_environment_and_no_command_line(service):
    service.submit(name="private", env={"CANARY": "c4n4ry-value"}, entrypoint=["python", "c4n4ry.py"])
    text = service.call("GET", "/v1/events", params={"follow": "false"}).text
    assert "c4n4ry" not in text


def test_metrics_have_the_agreed_names_and_no_job_in_any_label(service):
    job = service.submit(name="measured", workload={"steps": 1})
    settled(service, job, "succeeded")
    text = service.call("GET", "/metrics").text
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    for name in METRIC_NAMES:
        assert name in families or name.removesuffix("_total") in families, name
    assert job["id"] not in text
    assert "measured" not in text
    assert 'dualtrack_devices{accelerator="h200",cell="imported",state="idle"}' in text
    assert 'dualtrack_jobs_finished_total{outcome="succeeded",tenant="search"}' in text
    assert "dualtrack_cycle_gap_ratio{" not in text  # the demo's policy walks the jobs in an order and proves nothing


def test_a_policy_that_prices_tells_how_far_from_the_optimum_a_decision_may_be(tmp_path):
    with embedded(tmp_path, config=configured(Sources(cluster="demo", policy="balanced", executor="fake"))) as service:
        job = service.submit(name="weighed")
        settled(service, job, "running")
        assert 'dualtrack_cycle_gap_ratio{policy="balanced"} 0.0\n' in service.call("GET", "/metrics").text


def test_the_gap_is_that_of_the_last_decision_under_the_policy_in_force():
    metrics = Metrics(Gauges)
    for policy, gap in (("balanced", 0.25), ("balanced", 0.125), ("las", 0.5)):
        metrics.planned(policy, Plan(version=1, now_us=0, gap=gap))
    found = [line for line in metrics.text().decode().splitlines() if line.startswith("dualtrack_cycle_gap_ratio")]
    assert found == ['dualtrack_cycle_gap_ratio{policy="las"} 0.5']
    metrics.planned("fifo", Plan(version=1, now_us=0))
    assert b"dualtrack_cycle_gap_ratio{" not in metrics.text()


def test_metrics_need_a_token_from_another_machine(service):
    assert service.call("GET", "/metrics", token="", peer="10.0.0.9").status_code == 401
    assert service.call("GET", "/metrics", peer="10.0.0.9").status_code == 200
    assert service.call("GET", "/metrics", token="").status_code == 200


def test_the_service_says_who_it_is_and_who_asks(service):
    found = service.call("GET", "/v1/info", token=service.token_for(Role.VIEWER, "vision", "noor")).json()
    assert found["caller"] == {"user": "noor", "tenant": "vision", "role": "viewer"}
    assert found["mode"] == "enforce"


def test_unknown_places_and_methods_are_told_in_our_own_form(service):
    for method, path, status in (("GET", "/v2", 404), ("DELETE", "/v1/jobs", 405), ("GET", "/docs", 404)):
        answer = service.call(method, path)
        assert answer.status_code == status
        assert set(answer.json()["error"]) >= {"code", "message", "remedy"}
