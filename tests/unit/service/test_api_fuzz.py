"""Whatever arrives, the service answers in its own words: never with 500, never with a traceback."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.embedded import a_job, embedded


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with embedded(tmp_path_factory.mktemp("home")) as found:
        yield found


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = [
    "type", "name", "tenant", "class", "priority", "entrypoint", "image", "env", "secrets", "mounts", "workload",
    "resources", "moves", "checkpoint", "time_limit", "retries", "after", "deadline", "labels", "array", "roles",
    "service", "no_progress_timeout", "workdir", "schema", "kind",
]  # fmt: skip
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def fine(answer):
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert set(error) >= {"code", "message", "remedy"}
        assert "Traceback" not in answer.text
        assert error["code"] != "internal"


@QUICK
@given(body=VALUES)
def test_any_json_as_a_job_is_answered_in_words(service, body):
    fine(service.call("POST", "/v1/jobs", content=json.dumps(body).encode()))


@QUICK
@given(field=st.sampled_from(FIELDS), value=VALUES)
def test_a_job_with_one_field_of_any_kind_is_answered_in_words(service, field, value):
    fine(service.call("POST", "/v1/jobs", content=json.dumps({**a_job("fuzzed"), field: value}).encode()))


@QUICK
@given(content=st.binary(max_size=200))
def test_any_bytes_as_a_body_are_answered_in_words(service, content):
    fine(service.call("POST", "/v1/jobs", content=content))
    fine(service.call("PATCH", "/v1/jobs/x", content=content))


@QUICK
@given(reference=st.text(min_size=1, max_size=30), name=st.sampled_from(["state", "limit", "after", "tenant", "label"]))
def test_any_reference_and_any_question_are_answered_in_words(service, reference, name):
    fine(service.call("GET", "/v1/jobs", params={name: reference}))
    fine(service.call("GET", "/v1/usage", params={"by": reference, "from": reference}))


@QUICK
@given(key=st.text(max_size=200).map(lambda text: text.encode()))
def test_any_submission_key_is_answered_in_words(service, key):
    headers = {"Idempotency-Key": key.decode("latin-1").replace("\r", "").replace("\n", "").replace("\0", "")}
    try:
        answer = service.call("POST", "/v1/jobs", json=a_job("keyed"), headers=headers)
    except UnicodeEncodeError:  # the client refuses to send it
        return
    fine(answer)
