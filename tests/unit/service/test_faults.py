"""Errors cross the wire and come back as what they were."""

import pytest

import scheduler.errors as errors
from scheduler.service.faults import CODES, error_body, error_from, status_of


def every_error():
    kinds = [getattr(errors, name) for name in errors.__all__]
    return [kind for kind in kinds if kind not in (errors.InvariantError, errors.TransitionError)]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_a_code_a_status_and_its_words(kind):
    body = error_body(kind("what is wrong", "what to do"))["error"]
    assert body["message"] == "what is wrong"
    assert body["remedy"] == "what to do"
    assert body["code"] in {code for code, _ in CODES.values()}
    assert 400 <= status_of(kind("x")) <= 503


@pytest.mark.parametrize("kind", [kind for kind in CODES if kind is not errors.DualtrackError])
def test_the_client_raises_what_the_service_raised(kind):
    sent = kind("what is wrong", "what to do")
    found = error_from(status_of(sent), error_body(sent))
    assert type(found) is kind
    assert found.exit_code == sent.exit_code
    assert str(found) == str(sent)


def test_the_place_of_an_invalid_field_survives_the_wire():
    sent = errors.ConfigError("is missing", "add it", path="resources.options")
    assert str(error_from(422, error_body(sent))) == "resources.options: is missing; add it"


@pytest.mark.parametrize("body", [None, [], {}, {"error": 3}, {"detail": "Not Found"}])
def test_an_answer_of_another_kind_of_server_is_told_by_its_status(body):
    found = error_from(502, body)
    assert isinstance(found, errors.UnavailableError)
    assert "502" in str(found)


def test_no_two_classes_share_a_code():
    codes = [code for code, _ in CODES.values()]
    assert len(set(codes)) == len(codes)
