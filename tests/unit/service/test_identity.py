"""Tokens, roles and tenants: what no role grants is denied."""

import stat

import pytest

from scheduler.errors import AuthError, ForbiddenError, NotFoundError
from scheduler.service.identity import GRANTS, Identity, Permission, Role, TokenStore, actor_of, require, sees


def who(role=Role.SUBMITTER, tenant="search"):
    return Identity("ada", tenant, role, "abcd")


def test_a_token_is_known_again_and_only_its_digest_is_kept(tmp_path):
    store = TokenStore(tmp_path)
    token = store.issue("ada", "search", Role.SUBMITTER)
    assert len(token) >= 43  # 256 bits in base64
    found = TokenStore(tmp_path).identify(token, 0)
    assert (found.user, found.tenant, found.role) == ("ada", "search", Role.SUBMITTER)
    text = (tmp_path / "tokens.json").read_text()
    assert token not in text
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600


def test_unknown_empty_and_expired_tokens_are_refused_alike(tmp_path):
    store = TokenStore(tmp_path)
    token = store.issue("ada", "search", Role.SUBMITTER, expires_us=1_000)
    assert store.identify(token, 999).user == "ada"
    for offered, now_us in ((token, 1_000), ("", 0), ("x" * 43, 0), (token[:-1], 0)):
        with pytest.raises(AuthError, match="not valid"):
            store.identify(offered, now_us)


def test_a_token_revoked_by_another_process_stops_working(tmp_path):
    serving, other = TokenStore(tmp_path), None
    token = serving.issue("ada", "search", Role.SUBMITTER)
    other = TokenStore(tmp_path)
    other.revoke(serving.identify(token, 0).accessor)
    with pytest.raises(AuthError):
        serving.identify(token, 0)
    with pytest.raises(NotFoundError):
        other.revoke("unknown")


def test_every_role_has_a_row_and_only_the_administrator_has_all():
    assert set(GRANTS) == set(Role)
    assert [role for role in Role if GRANTS[role] == frozenset(Permission)] == [Role.ADMIN]


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("permission", list(Permission))
def test_require_grants_what_the_table_says_and_nothing_else(role, permission):
    if permission in GRANTS[role]:
        require(who(role), permission)
    else:
        with pytest.raises(ForbiddenError, match=str(role)):
            require(who(role), permission)


@pytest.mark.parametrize(
    ("tenant", "seen"),
    [("search", True), ("search/ranking", True), ("searching", False), ("vision", False), ("", False)],
)
def test_a_submitter_sees_its_tenant_and_those_below(tenant, seen):
    assert sees(who(), tenant) is seen
    assert sees(who(Role.OPERATOR), tenant)


def test_the_tenant_comes_from_the_token_and_may_only_be_narrowed():
    assert actor_of(who(), "").tenant == "search"
    assert actor_of(who(), "search/ranking").tenant == "search/ranking"
    assert actor_of(who(Role.ADMIN, ""), "vision").tenant == "vision"
    with pytest.raises(NotFoundError):
        actor_of(who(), "vision")
