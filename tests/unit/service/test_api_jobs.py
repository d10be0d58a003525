"""The API of jobs as a client meets it."""

import json

import pytest

from scheduler.service.identity import Role
from tests.support.embedded import a_job, embedded
from tests.support.waiting import until


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with embedded(tmp_path_factory.mktemp("home")) as found:
        yield found


def error_of(answer):
    body = answer.json()
    assert set(body) == {"error"}
    assert {"code", "message", "remedy"} <= set(body["error"])
    return body["error"]


def test_a_job_is_entered_found_and_listed(service):
    job = service.submit(name="first", labels={"project": "llama"})
    for reference in (job["id"], job["id"][:6], "first"):
        assert service.call("GET", f"/v1/jobs/{reference}").json()["id"] == job["id"]
    listed = service.call("GET", "/v1/jobs", params={"label": "project=llama"}).json()
    assert [item["id"] for item in listed["items"]] == [job["id"]]
    assert service.call("GET", "/v1/jobs", params={"label": "project=other"}).json()["items"] == []


def test_the_same_key_with_the_same_body_enters_nothing_and_answers_alike(service):
    body = a_job("keyed")
    headers = {"Idempotency-Key": "k1"}
    answers = [service.call("POST", "/v1/jobs", json=body, headers=headers) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["items"][0]["id"] for answer in answers}) == 1


def test_the_same_key_with_another_body_is_a_conflict(service):
    headers = {"Idempotency-Key": "k2"}
    assert service.call("POST", "/v1/jobs", json=a_job("one-body"), headers=headers).status_code == 201
    answer = service.call("POST", "/v1/jobs", json=a_job("another"), headers=headers)
    assert answer.status_code == 409
    assert error_of(answer)["code"] == "conflict"


def test_a_live_name_is_a_conflict(service):
    service.submit(name="taken")
    assert service.call("POST", "/v1/jobs", json=a_job("taken")).status_code == 409


def test_an_array_enters_all_its_members_and_is_cancelled_by_its_name(service):
    answer = service.call(
        "POST", "/v1/jobs", json=a_job("many", "ascend-910c", 4, array={"range": "0-4"}, tenant="foundation")
    )
    assert len(answer.json()["items"]) == 5
    service.call("POST", "/v1/jobs/many/cancel")
    ids = [item["id"] for item in answer.json()["items"]]

    def ended():
        return all(service.call("GET", f"/v1/jobs/{i}").json()["state"] == "cancelled" for i in ids)

    until(ended, what="the end of the array")


def test_pages_hold_every_job_once(service):
    for n in range(7):
        service.submit(name=f"paged-{n}", labels={"page": "yes"})
    seen, after = [], ""
    while True:
        params = {"limit": 3, "after": after, "label": "page=yes"}
        page = service.call("GET", "/v1/jobs", params={k: v for k, v in params.items() if v}).json()
        seen += [item["name"] for item in page["items"]]
        after = page["next"]
        if not after:
            break
    assert seen == [f"paged-{n}" for n in range(7)]


def test_a_waiting_job_tells_of_each_option_what_blocks_it(service):
    service.submit(name="holder", count=8, tenant="foundation")
    waiting = service.submit(name="behind", count=8, tenant="foundation")
    found = service.call("GET", f"/v1/jobs/{waiting['id']}/reasons").json()
    assert found["state"] == "waiting"
    codes = {reason["code"] for option in found["options"] for reason in option["reasons"]}
    assert codes & {"no_room", "quota_in_use"}
    assert found["options"][0]["option"] == "h200:8"
    assert not found["options"][0]["for_ever"]
    for name in ("behind", "holder"):
        service.call("POST", f"/v1/jobs/{name}/cancel")


def test_actions_that_mean_nothing_are_conflicts(service):
    job = service.submit(name="acts", accelerator="h20-96", count=1)
    assert service.call("POST", f"/v1/jobs/{job['id']}/resume").status_code == 409
    service.call("POST", f"/v1/jobs/{job['id']}/cancel")

    def cancelled():
        return service.call("GET", f"/v1/jobs/{job['id']}").json()["state"] == "cancelled"

    until(cancelled)
    for action in ("cancel", "suspend", "resume", "requeue"):
        assert service.call("POST", f"/v1/jobs/{job['id']}/{action}").status_code == 409
    assert service.call("PATCH", f"/v1/jobs/{job['id']}", json={"priority": 1}).status_code == 409


def test_a_suspended_job_waits_until_it_is_resumed(service):
    job = service.submit(name="held", accelerator="h20-96", count=1)
    path = f"/v1/jobs/{job['id']}"
    until(lambda: service.call("GET", path).json()["state"] == "running")
    service.call("POST", f"{path}/suspend")
    until(lambda: service.call("GET", path).json()["state"] == "suspended")
    service.call("POST", f"{path}/resume")
    until(lambda: service.call("GET", path).json()["state"] == "running")
    assert len(service.call("GET", path).json()["attempts"]) == 2


def test_priority_time_limit_and_deadline_may_change(service):
    job = service.submit(name="changed")
    answer = service.call("PATCH", f"/v1/jobs/{job['id']}", json={"priority": 900, "time_limit_s": 60})
    assert answer.json()["priority"] == 900
    assert service.call("GET", f"/v1/jobs/{job['id']}").json()["time_limit_s"] == 60
    for body in ({}, {"priority": 2000}, {"priority": "high"}, {"unknown": 1}, {"time_limit_s": -1}):
        assert service.call("PATCH", f"/v1/jobs/{job['id']}", json=body).status_code in (400, 422)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (a_job("too-many", count=800), 422, "infeasible"),
        (a_job("no-quota", count=8, tenant="vision"), 403, "denied"),
        (a_job("unknown", "h900"), 422, "invalid"),
        (a_job("nobody", tenant="nobody"), 404, "not_found"),
        (a_job("Bad Name"), 422, "invalid"),
        ({**a_job("x"), "tenant": ""}, 422, "invalid"),
        ({k: v for k, v in a_job("x").items() if k != "tenant"}, 400, "usage"),
        ({}, 422, "invalid"),
        ([], 400, "usage"),
        (a_job("after-nothing", after=[{"job": "never-was"}]), 404, "not_found"),
    ],
)
def test_what_cannot_be_is_refused_with_its_code(service, body, status, code):
    answer = service.call("POST", "/v1/jobs", json=body)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)


def test_bodies_that_are_not_json_and_too_large_are_refused(service):
    for content in (b"", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000, b'"text"', b"1" * 5_000):
        answer = service.call("POST", "/v1/jobs", content=content)
        assert answer.status_code == 400, content[:20]
        assert error_of(answer)["code"] == "usage"
    answer = service.call("POST", "/v1/jobs", content=json.dumps({"name": "x" * 300_000}).encode())
    assert answer.status_code == 413
    assert error_of(answer)["code"] == "too_large"


def test_absent_and_forbidden_jobs_are_told_in_the_same_words(service):
    job = service.submit(name="secret-one")
    stranger = service.token_for(Role.SUBMITTER, "vision")
    hidden = service.call("GET", f"/v1/jobs/{job['id']}", token=stranger)
    absent = service.call("GET", f"/v1/jobs/{'x' * len(job['id'])}", token=stranger)
    assert hidden.status_code == absent.status_code == 404
    assert hidden.text.replace(job["id"], "?") == absent.text.replace("x" * len(job["id"]), "?")


def test_a_submitter_may_not_act_on_the_jobs_of_others_and_a_tenant_admin_may(service):
    job = service.submit(name="of-root")
    colleague = service.token_for(Role.SUBMITTER, "search")
    assert service.call("POST", f"/v1/jobs/{job['id']}/cancel", token=colleague).status_code == 403
    admin = service.token_for(Role.TENANT_ADMIN, "search")
    assert service.call("POST", f"/v1/jobs/{job['id']}/cancel", token=admin).status_code == 200


def test_a_token_without_the_right_to_name_a_tenant_submits_into_its_own(service):
    token = service.token_for(Role.SUBMITTER, "vision", user="noor")
    answer = service.call("POST", "/v1/jobs", token=token, json={**a_job("own"), "tenant": "vision"})
    assert answer.json()["items"][0]["user"] == "noor"
    answer = service.call("POST", "/v1/jobs", token=token, json=a_job("stolen"))
    assert answer.status_code == 404


def test_a_plan_enters_nothing(service):
    before = len(service.call("GET", "/v1/jobs", params={"limit": 500}).json()["items"])
    found = service.call("POST", "/v1/plans", json=a_job("only-asked", "ascend-910c", 1)).json()
    assert found["verdict"] in ("starts_now", "waits")
    denied = service.call("POST", "/v1/plans", json=a_job("only-asked", count=8, tenant="vision")).json()
    assert (denied["verdict"], denied["exit_code"]) == ("denied", 5)
    never = service.call("POST", "/v1/plans", json=a_job("only-asked", count=800)).json()
    assert (never["verdict"], never["exit_code"]) == ("infeasible", 4)
    assert never["options"][0]["for_ever"]
    assert len(service.call("GET", "/v1/jobs", params={"limit": 500}).json()["items"]) == before


def test_logs_come_from_the_executor(service):
    job = service.submit(name="talks", accelerator="h20-96")
    until(lambda: service.call("GET", f"/v1/jobs/{job['id']}").json()["state"] == "running")
    answer = service.call("GET", f"/v1/jobs/{job['id']}/logs")
    assert answer.status_code == 200
    assert b"pretending" in answer.content
    assert answer.headers["X-Dualtrack-Ended"] == "0"
    assert service.call("GET", f"/v1/jobs/{job['id']}/logs", params={"attempt": 9}).status_code == 404
    rest = service.call("GET", f"/v1/jobs/{job['id']}/logs", params={"offset": 10**9})
    assert rest.content == b""


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 501}, {"limit": "x"}, {"state": "asleep"}, {"after": "nothing"}]
)
def test_questions_that_make_no_sense_are_refused(service, params):
    assert service.call("GET", "/v1/jobs", params=params).status_code in (400, 404)
