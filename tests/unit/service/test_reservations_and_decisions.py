"""Windows over the API and the command, why a job waits with what would help, and decisions made again."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from scheduler.cli.rows import WEIGHED
from scheduler.service.identity import Role
from tests.support.embedded import embedded
from tests.support.waiting import until


@pytest.fixture
def service(tmp_path):
    with embedded(tmp_path) as found:
        yield found


def at(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def settled(service, job, *states):
    def there():
        return service.call("GET", f"/v1/jobs/{job['id']}").json()["state"] in states

    until(there, what=" or ".join(states))


def test_a_window_keeps_jobs_out_until_it_is_cancelled(service):
    made = service.call("POST", "/v1/reservations", json={"nodes": ["h200-0"], "to": at(5), "why": "new fans"})
    assert made.status_code == 201
    window = made.json()
    assert (window["nodes"], window["devices"], window["tenant"]) == (["h200-0"], 8, "")
    job = service.submit(name="kept-out")
    until(lambda: service.call("GET", f"/v1/jobs/{job['id']}").json()["reason"])
    told = service.call("GET", f"/v1/jobs/{job['id']}/reasons").json()
    assert (told["reason"]["code"], told["reason"]["who"]) == ("reserved", window["id"])
    assert [row["id"] for row in service.call("GET", "/v1/reservations").json()["items"]] == [window["id"]]
    assert service.call("DELETE", f"/v1/reservations/{window['id']}").json()["id"] == window["id"]
    settled(service, job, "running", "succeeded")
    assert service.call("GET", "/v1/reservations").json()["items"] == []


def test_who_is_in_the_way_is_shown_before_a_window_is_made(service):
    job = service.submit(name="long", count=3)
    settled(service, job, "running")
    wanted = {"accelerator": "h200", "count": 8, "from": at(1), "to": at(2)}
    shown = service.call("POST", "/v1/reservations", json=wanted, params={"dry_run": "true"}).json()
    assert shown["nodes"] == ["h200-0"]
    assert [row["name"] for row in shown["in_the_way"]] == ["long"]
    assert service.call("GET", "/v1/reservations").json()["items"] == []
    service.call("POST", "/v1/reservations", json=wanted)
    assert service.call("GET", f"/v1/jobs/{job['id']}").json()["state"] == "running"


@pytest.mark.parametrize(
    ("wanted", "status", "words"),
    [
        ({"nodes": ["h200-0"]}, 422, "to"),
        ({"nodes": ["h200-0"], "to": "tomorrow"}, 400, "ISO time"),
        ({"nodes": ["h200-0"], "to": "2026-05-01T00:00:00"}, 400, "no zone"),
        ({"nodes": ["h200-0"], "to": at(-1)}, 400, "ends before it begins"),
        ({"nodes": ["h200-0"], "from": at(-3), "to": at(-2)}, 400, "in the past"),
        ({"nodes": ["h200-0"], "from": at(3), "to": at(2)}, 400, "ends before"),
        ({"nodes": ["nowhere"], "to": at(1)}, 404, "no node"),
        ({"to": at(1)}, 400, "name nodes"),
        ({"nodes": ["h200-0"], "accelerator": "h200", "count": 1, "to": at(1)}, 400, "name nodes"),
        ({"accelerator": "abacus", "count": 1, "to": at(1)}, 404, "abacus"),
        ({"accelerator": "h200", "to": at(1)}, 400, "at least 1"),
        ({"accelerator": "h200", "count": 9, "to": at(1)}, 409, "at most 8"),
        ({"nodes": ["h200-0"], "to": at(1), "tenant": "nobody"}, 404, "no tenant"),
        ({"nodes": ["h200-0"], "to": at(1), "colour": "red"}, 422, "colour"),
        ({"accelerator": "h200", "count": -1, "to": at(1)}, 422, "count"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_in_words(service, wanted, status, words):
    answer = service.call("POST", "/v1/reservations", json=wanted)
    assert answer.status_code == status, answer.text
    assert words in json.dumps(answer.json())


def test_two_tenants_cannot_have_the_same_nodes_at_the_same_time(service):
    first = {"nodes": ["h200-0"], "to": at(5), "tenant": "search"}
    assert service.call("POST", "/v1/reservations", json=first).status_code == 201
    again = service.call("POST", "/v1/reservations", json={**first, "tenant": "foundation"})
    assert again.status_code == 409
    assert "search" in again.text
    assert service.call("POST", "/v1/reservations", json={**first, "tenant": ""}).status_code == 201, "maintenance may"
    stranger = service.token_for(Role.VIEWER, "vision")
    seen = service.call("GET", "/v1/reservations", token=stranger).json()["items"]
    assert [row["tenant"] for row in seen] == ["another tenant", ""]
    told = service.call("GET", "/v1/events", params={"follow": "false"}, token=stranger).text
    assert told.count("event: reservation_made") == 1, "of the other tenant's nothing is told"
    assert service.call("DELETE", "/v1/reservations/none").status_code == 404


def test_windows_come_back_with_the_journal(tmp_path):
    with embedded(tmp_path) as first:
        made = first.call("POST", "/v1/reservations", json={"nodes": ["h200-0"], "to": at(5)}).json()
    with embedded(tmp_path) as second:
        assert [row["id"] for row in second.call("GET", "/v1/reservations").json()["items"]] == [made["id"]]


def test_every_allocation_is_made_again_from_the_journal(service):
    job = service.submit(name="decided", count=2)
    settled(service, job, "running", "succeeded")
    (found,) = service.call("GET", f"/v1/jobs/{job['id']}/decisions").json()["items"]
    assert (found["same"], found["attempt"], found["chosen"]) == (True, 1, "h200:2")
    assert [option["chosen"] for option in found["options"]] == [True]
    assert found["policy"]
    assert [[column.cell(option) for column in WEIGHED][:4] for option in found["options"]] == [
        ["*", "h200:2", "100%", "-"]
    ]
    waiting = service.submit(name="too-wide", count=8)
    assert service.call("GET", f"/v1/jobs/{waiting['id']}/decisions").status_code in (200, 404)
    assert service.call("GET", f"/v1/jobs/{job['id']}/decisions", params={"attempt": 7}).status_code == 404


def test_why_with_changes_tells_the_place_in_the_queue_and_what_would_help(service):
    holder = service.submit(name="holder", count=8, workload={"steps": 100_000})
    settled(service, holder, "running")
    job = service.submit(name="behind", count=8)
    until(lambda: service.call("GET", f"/v1/jobs/{job['id']}").json()["reason"])
    found = service.call("GET", f"/v1/jobs/{job['id']}/reasons", params={"changes": "true"}).json()
    assert (found["position"], found["waiting"]) == (1, 1)
    assert found["changes"]
    assert all(change["text"] and change["starts_on"] for change in found["changes"])
    plain = service.call("GET", f"/v1/jobs/{job['id']}/reasons").json()
    assert "changes" not in plain


def test_permitted_moves_of_a_live_job_may_be_changed(service):
    job = service.submit(name="mover")
    path = f"/v1/jobs/{job['id']}"
    assert service.call("PATCH", path, json={"moves": "same_family"}).status_code == 200
    assert service.call("GET", path).json()["spec"]["moves"] == "same_family"
    assert service.call("PATCH", path, json={"moves": "any"}).status_code == 409, "its checkpoint is not portable"
    assert service.call("PATCH", path, json={"moves": "sideways"}).status_code == 422
