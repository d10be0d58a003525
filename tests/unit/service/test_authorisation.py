"""Who may call what: one row per route, for every role. A route without a row fails here."""

import pytest

from scheduler.service.identity import GRANTS, Permission, Role
from tests.support.embedded import a_job, embedded

P = Permission
MATRIX = {
    ("POST", "/v1/jobs"): P.SUBMIT,
    ("POST", "/v1/jobs/batch"): P.SUBMIT,
    ("GET", "/v1/jobs"): P.READ,
    ("GET", "/v1/jobs/{job}"): P.READ,
    ("GET", "/v1/jobs/{job}/reasons"): P.READ,
    ("GET", "/v1/jobs/{job}/decisions"): P.READ,
    ("GET", "/v1/jobs/{job}/logs"): P.READ,
    ("POST", "/v1/jobs/{job}/cancel"): P.ACT,
    ("POST", "/v1/jobs/{job}/suspend"): P.ACT,
    ("POST", "/v1/jobs/{job}/resume"): P.ACT,
    ("POST", "/v1/jobs/{job}/requeue"): P.ACT,
    ("PATCH", "/v1/jobs/{job}"): P.ACT,
    ("POST", "/v1/plans"): P.SUBMIT,
    ("GET", "/v1/fleet"): P.READ,
    ("POST", "/v1/nodes/{node}/cordon"): P.OPERATE,
    ("POST", "/v1/nodes/{node}/uncordon"): P.OPERATE,
    ("POST", "/v1/nodes/{node}/drain"): P.OPERATE,
    ("GET", "/v1/reservations"): P.READ,
    ("POST", "/v1/reservations"): P.OPERATE,
    ("DELETE", "/v1/reservations/{reservation}"): P.OPERATE,
    ("GET", "/v1/tenants"): P.READ,
    ("POST", "/v1/tenants"): P.ACT,  # and then only who administers a tenant, below it
    ("GET", "/v1/rates"): P.READ,
    ("GET", "/v1/rules"): P.READ,
    ("GET", "/v1/usage"): P.READ,
    ("GET", "/v1/events"): P.READ,
    ("GET", "/v1/info"): P.READ,
    ("POST", "/v1/shutdown"): P.ADMINISTER,
    ("GET", "/healthz"): None,  # nothing but that it lives
    ("GET", "/readyz"): None,
    ("GET", "/metrics"): None,  # open on this machine, a token from elsewhere: tested with the metrics
}
GUARDED = [(route, permission) for route, permission in MATRIX.items() if permission is not None]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with embedded(tmp_path_factory.mktemp("home")) as found:
        found.submit(name="subject")
        found.service.stop = lambda: None
        yield found


@pytest.fixture(scope="module")
def tokens(service):
    return {role: service.token_for(role, "search", "root") for role in Role}


def documented(service):
    """The routes as /openapi.json has them."""
    paths = service.call("GET", "/openapi.json").json()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_every_route_has_a_row_and_every_row_a_route(service):
    assert documented(service) == set(MATRIX)


def asked(service, route, token):
    method, path = route
    path = path.replace("{job}", "subject").replace("{node}", "h20-0")
    options = {"json": a_job("another")} if method in ("POST", "PATCH") else {}
    if path == "/v1/events":
        options["params"] = {"follow": "false"}
    return service.call(method, path, token=token, **options).status_code


@pytest.mark.parametrize(("route", "permission"), GUARDED)
def test_a_route_without_a_token_or_with_a_wrong_one_is_refused(service, route, permission):
    for token in ("", "wrong", "x" * 43):
        assert asked(service, route, token) == 401


@pytest.mark.parametrize(("route", "permission"), GUARDED)
@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_call_what_it_is_granted_and_nothing_else(service, tokens, role, route, permission):
    status = asked(service, route, tokens[role])
    assert (status == 403) is (permission not in GRANTS[role])
    assert status != 500


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "bearer\twrong", "Token x"])
def test_an_authorization_of_another_form_is_refused(service, header):
    answer = service.call("GET", "/v1/jobs", token="", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
