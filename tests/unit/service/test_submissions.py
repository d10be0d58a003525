"""Many jobs at once: each stands alone, in order, durable before it is told of, and safe to send again."""

import asyncio
import contextlib
import threading

import pytest

from scheduler.errors import ConfigError, ConflictError, DeniedError, JournalWriteError, UnavailableError
from scheduler.journal.replay import replay
from scheduler.journal.store import open_journal
from scheduler.model.events import CellReachability
from scheduler.service.answers import Answers, Reply
from scheduler.service.client import BATCH_BYTES, BATCH_JOBS, Client, _portions
from scheduler.service.identity import Role
from scheduler.service.loop import Proposal
from scheduler.service.submissions import MAX_JOBS, SHORTCUTS
from tests.support.embedded import a_job, embedded


@pytest.fixture
def service(tmp_path):
    with embedded(tmp_path) as found:
        yield found


def send(service, *items, **options):
    return service.call("POST", "/v1/jobs/batch", json={"items": list(items)}, **options)


def test_each_job_of_a_batch_is_answered_in_its_place(service):
    answer = send(service, *({"job": a_job(f"job-{n}")} for n in range(5)))
    assert answer.status_code == 200
    names = [item["jobs"][0]["name"] for item in answer.json()["items"]]
    assert names == [f"job-{n}" for n in range(5)]


def test_a_job_that_is_refused_keeps_no_other_out(service):
    answer = send(
        service,
        {"job": a_job("first")},
        {"job": a_job("wrong", priority=5000)},
        {"job": a_job("first")},
        {"job": a_job("huge", count=100_000)},
        {"job": a_job("last")},
    )
    first, wrong, taken, huge, last = answer.json()["items"]
    assert [first["jobs"][0]["name"], last["jobs"][0]["name"]] == ["first", "last"]
    assert (wrong["error"]["code"], wrong["error"]["path"]) == ("invalid", "priority")
    assert taken["error"]["code"] == "conflict"
    assert huge["error"]["code"] in ("infeasible", "denied")


def test_a_job_may_come_after_one_that_stands_before_it_in_the_batch(service):
    later = a_job("later", after=[{"job": "sooner"}])
    early, late = send(service, {"job": a_job("sooner")}, {"job": later}).json()["items"]
    assert late["jobs"][0]["after"] == [{"job": early["jobs"][0]["id"], "on": "success"}]
    (refused,) = send(service, {"job": a_job("other", after=[{"job": "nobody"}])}).json()["items"]
    assert refused["error"]["code"] == "not_found"


def test_a_batch_with_keys_sent_again_enters_nothing_and_is_answered_alike(service):
    items = [{"job": a_job(f"job-{n}"), "key": f"k-{n}"} for n in range(3)]
    first, again = (send(service, *items).json()["items"] for _ in range(2))
    ids = [[item["jobs"][0]["id"] for item in answer] for answer in (first, again)]
    assert ids[0] == ids[1]
    assert service.service.loop.ask(lambda state: len(state.jobs)) == 3
    (conflict,) = send(service, {"job": a_job("another"), "key": "k-0"}).json()["items"]
    assert conflict["error"]["code"] == "conflict"


def test_all_of_a_batch_is_in_the_journal_when_it_is_answered(service, tmp_path):
    items = send(service, *({"job": a_job(f"job-{n}")} for n in range(20))).json()["items"]
    with contextlib.closing(open_journal(tmp_path / "journal.db")) as reader:
        known = replay(reader).engine.state.by_id
    assert all(item["jobs"][0]["id"] in known for item in items)


def test_an_array_in_a_batch_gives_all_its_members(service):
    (found,) = send(service, {"job": a_job("many", array={"range": "0-3"})}).json()["items"]
    assert [job["array"]["index"] for job in found["jobs"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"items": []},
        {"items": {"job": {}}},
        {"items": [{"job": {}}] * (MAX_JOBS + 1)},
    ],
)
def test_a_body_that_is_no_batch_is_refused_as_a_whole(service, body):
    answer = service.call("POST", "/v1/jobs/batch", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "usage")


@pytest.mark.parametrize(
    "item", [None, 7, [], {}, {"key": "k"}, {"job": []}, {"job": {}, "key": 3}, {"job": {}, "x": 1}]
)
def test_an_item_that_is_no_job_is_refused_alone(service, item):
    wrong, right = send(service, item, {"job": a_job()}).json()["items"]
    assert wrong["error"]["code"] in ("usage", "invalid")
    assert right["jobs"][0]["name"] == "job"


def test_a_key_of_a_batch_has_the_bounds_of_any_key(service):
    for key in ("k" * 129, "schlüssel"):
        (found,) = send(service, {"job": a_job(), "key": key}).json()["items"]
        assert found["error"]["code"] == "usage"


def test_a_batch_may_be_larger_than_one_job_but_not_without_bound(service):
    env = {f"V{n}": "x" * 4000 for n in range(40)}
    items = [{"job": a_job(f"job-{n}", env=env)} for n in range(2)]
    assert send(service, *items).status_code == 200
    assert service.call("POST", "/v1/jobs/batch", content=b" " * (4 * 1024 * 1024 + 1)).status_code == 413


def test_a_batch_needs_the_permission_to_submit(service):
    assert send(service, {"job": a_job()}, token=service.token_for(Role.VIEWER, "search")).status_code == 403
    assert send(service, {"job": a_job()}, token="").status_code == 401


def test_a_job_of_anothers_tenant_is_refused_and_the_own_is_not(service):
    token = service.token_for(Role.SUBMITTER, "search")
    strange, own = send(service, {"job": a_job("a", tenant="assistant")}, {"job": a_job("b")}, token=token).json()[
        "items"
    ]
    assert strange["error"]["code"] == "not_found"
    assert own["jobs"][0]["tenant"] == "search"


def test_the_routes_that_take_a_shortcut_are_those_that_are_documented(service):
    paths = service.call("GET", "/openapi.json").json()["paths"]
    assert all("post" in paths[path] for path in SHORTCUTS)
    assert paths["/v1/jobs"]["post"]["parameters"][0]["name"] == "Idempotency-Key"


def test_a_request_is_answered_alike_with_the_shortcut_and_without_it(service, monkeypatch):
    def told(name):
        sent = [service.call("POST", "/v1/jobs", json=a_job(name, **more)) for more in ({}, {}, {"priority": -1})]
        many = send(service, {"job": a_job(f"{name}-too")})
        keys = [sorted(answer.json()["items"][0]) for answer in (sent[0], many)]
        return [answer.status_code for answer in (*sent, many)], keys, sent[2].json()

    quick = told("one")
    for path in list(SHORTCUTS):
        monkeypatch.delitem(SHORTCUTS, path)
    assert told("two") == quick
    assert quick[0] == [201, 409, 422, 200]


def test_the_client_sends_as_many_and_as_much_as_the_service_takes():
    small = [({"name": f"job-{n}"}, "") for n in range(2 * BATCH_JOBS + 1)]
    assert [len(part) for part in _portions(small)] == [BATCH_JOBS, BATCH_JOBS, 1]
    large = [({"name": "x" * (BATCH_BYTES // 3)}, "") for _ in range(5)]
    assert [len(part) for part in _portions(large)] == [2, 2, 1]
    assert list(_portions([])) == []


def test_the_client_tells_each_job_or_the_error_that_the_service_meant(monkeypatch):
    told = {"items": [
        {"jobs": [{"id": "a"}]},
        {"error": {"code": "denied", "message": "too much", "remedy": "less"}},
        {"error": {"code": "invalid", "message": "no", "remedy": "", "path": "name"}},
    ]}  # fmt: skip
    monkeypatch.setattr(Client, "_send", lambda self, *a, **o: told)
    entered, denied, invalid = Client.__new__(Client).submit_all([({}, ""), ({}, ""), ({}, "")])
    assert entered == [{"id": "a"}]
    assert isinstance(denied, DeniedError) and isinstance(invalid, ConfigError)


# What a tenant bounds


def with_tenants(service, *tenants):
    body = {"schema": "dualtrack/v1", "kind": "tenants", "tenants": list(tenants)}
    answer = service.call("POST", "/v1/tenants", json=body)
    assert answer.status_code == 200, answer.text


def code_of(answer):
    return answer.status_code, answer.json()["error"]["code"]


def test_a_tenant_that_names_its_users_takes_jobs_of_those_and_of_administrators_alone(service):
    with_tenants(service, {"name": "search", "users": ["bo"], "admins": ["sue"]}, {"name": "open"})
    tokens = {user: service.token_for(Role.SUBMITTER, "search", user) for user in ("bo", "sue", "ann")}
    for user in ("bo", "sue"):
        assert service.call("POST", "/v1/jobs", json=a_job(f"of-{user}"), token=tokens[user]).status_code == 201
    refused = service.call("POST", "/v1/jobs", json=a_job("of-ann"), token=tokens["ann"])
    assert code_of(refused) == (403, "forbidden")
    assert "`ann` is not among the users of `search`" in refused.json()["error"]["message"]
    assert service.call("POST", "/v1/plans", json=a_job("of-ann"), token=tokens["ann"]).status_code == 403
    assert service.call("POST", "/v1/jobs", json=a_job("of-an-admin")).status_code == 201
    anybody = service.token_for(Role.SUBMITTER, "open", "ann")
    assert service.call("POST", "/v1/jobs", json=a_job("in-the-open", tenant="open"), token=anybody).status_code == 201


def test_jobs_that_wait_are_bounded_within_a_batch_too(service):
    with_tenants(service, {"name": "search", "per_user": {"max_waiting_jobs": 2}})
    items = send(service, *({"job": a_job(f"job-{n}")} for n in range(3))).json()["items"]
    assert [sorted(item) for item in items] == [["jobs"], ["jobs"], ["error"]]
    assert (items[2]["error"]["code"], "the limit is 2" in items[2]["error"]["message"]) == ("overloaded", True)


def test_a_time_limit_is_not_raised_above_the_tenants_by_an_update(service):
    with_tenants(service, {"name": "search", "time_limit": "60s"})
    job = service.submit()
    assert job["time_limit_s"] == 60
    refused = service.call("PATCH", f"/v1/jobs/{job['id']}", json={"time_limit_s": 61})
    assert code_of(refused) == (403, "denied")
    assert "at most 60 s, not 61 s" in refused.json()["error"]["message"]
    assert service.call("PATCH", f"/v1/jobs/{job['id']}", json={"time_limit_s": 30}).status_code == 200


def test_a_deadline_that_has_passed_is_refused_with_its_field(service):
    refused = service.call("POST", "/v1/jobs", json=a_job(deadline="2020-01-01T00:00:00Z"))
    assert code_of(refused) == (422, "invalid")
    assert refused.json()["error"]["path"] == "deadline"
    job = service.submit(deadline="2099-01-01T00:00:00Z")
    assert code_of(service.call("PATCH", f"/v1/jobs/{job['id']}", json={"deadline_us": 1})) == (422, "invalid")


# What a coroutine may ask of the engine's thread


def changes(count):
    return [lambda state, now_us, n=n: Proposal((), lambda later: n) for n in range(count)]


def test_answers_come_in_the_order_of_the_changes_with_refusals_among_them(service):
    loop = service.service.loop

    def refuse(state, now_us):
        raise ConflictError("no", "never")

    one, two = changes(2)
    found = asyncio.run(loop.change_all_soon([one, refuse, two]))
    assert (found[0], found[2]) == (0, 1)
    assert isinstance(found[1], ConflictError)
    with pytest.raises(ConflictError):
        asyncio.run(loop.change_soon(refuse))


def test_whoever_waits_on_an_event_loop_is_told_when_the_commit_fails(service):
    loop = service.service.loop

    def fail(records):
        raise JournalWriteError("the disk is full", "free some space")

    loop._journal.append = fail
    told = asyncio.run(
        loop.change_all_soon([lambda state, now_us: Proposal((CellReachability("imported", True),), lambda s: "done")])
    )
    assert isinstance(told[0], UnavailableError) and "the disk is full" in told[0].problem
    loop._thread.join(timeout=20)
    with pytest.raises(UnavailableError):
        asyncio.run(loop.change_soon(changes(1)[0]))


def test_a_change_that_comes_when_the_engine_has_just_died_is_refused_and_not_forgotten(service):
    loop = service.service.loop
    behind = loop._queue

    class Late:
        """The engine ends between the caller's look and its change."""

        def put(self, item):
            loop._fail(UnavailableError("it died", ""))
            behind.put(item)

        def __getattr__(self, name):
            return getattr(behind, name)

    loop._queue = Late()
    (told,) = asyncio.run(loop.change_all_soon(changes(1)))
    assert isinstance(told, UnavailableError) and "it died" in told.problem


def test_a_thousand_answers_from_another_thread_wake_the_event_loop_and_all_arrive():
    async def run():
        answers = Answers(asyncio.get_running_loop())
        replies = [Reply(answers) for _ in range(1000)]
        replies[3].future.cancel()  # its client has gone
        thread = threading.Thread(target=lambda: [reply.set_result(n) for n, reply in enumerate(replies)])
        thread.start()
        found = await asyncio.gather(*(reply.future for reply in replies), return_exceptions=True)
        thread.join()
        return found

    found = asyncio.run(run())
    assert isinstance(found[3], asyncio.CancelledError)
    assert [n for n in found if isinstance(n, int)] == [n for n in range(1000) if n != 3]
