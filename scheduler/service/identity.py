"""Who asks and what they may do. Tokens are 256 random bits, kept as SHA-256; what no role grants is denied."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from scheduler.errors import AuthError, ConfigError, ForbiddenError, NotFoundError
from scheduler.model.events import Actor
from scheduler.service.settings import write_private

__all__ = ["GRANTS", "Identity", "Permission", "Role", "TokenRecord", "TokenStore", "actor_of", "require", "sees"]

TOKENS_FILE = "tokens.json"


class Role(StrEnum):
    VIEWER = "viewer"  # reads what belongs to its tenant
    SUBMITTER = "submitter"  # and enters jobs there, and acts on its own
    TENANT_ADMIN = "tenant-admin"  # and acts on every job of its tenant
    OPERATOR = "operator"  # reads everything, acts on nodes and on any job
    ADMIN = "admin"  # everything, for any tenant


class Permission(StrEnum):
    READ = "read"
    SUBMIT = "submit"
    ACT = "act"  # on one's own jobs
    ACT_ANY = "act_any"  # on the jobs of others, within the tenants that one sees
    OPERATE = "operate"
    ADMINISTER = "administer"


_P = Permission
GRANTS: Final[dict[Role, frozenset[Permission]]] = {
    Role.VIEWER: frozenset({_P.READ}),
    Role.SUBMITTER: frozenset({_P.READ, _P.SUBMIT, _P.ACT}),
    Role.TENANT_ADMIN: frozenset({_P.READ, _P.SUBMIT, _P.ACT, _P.ACT_ANY}),
    Role.OPERATOR: frozenset({_P.READ, _P.ACT, _P.ACT_ANY, _P.OPERATE}),
    Role.ADMIN: frozenset(Permission),
}


class Identity(Struct, frozen=True):
    """`accessor` is public and stands in logs; the token never does."""

    user: str
    tenant: str
    role: Role
    accessor: str


class TokenRecord(Struct, frozen=True, kw_only=True):
    accessor: str
    sha256: str
    user: str
    tenant: str
    role: Role
    expires_us: int | None = None


def require(identity: Identity, permission: Permission) -> None:
    """Raises ForbiddenError unless the role grants it."""
    if permission not in GRANTS[identity.role]:
        raise ForbiddenError(
            f"the role {identity.role} may not {permission.replace('_', ' ')}",
            "ask an administrator for a token that may",
        )


def sees(identity: Identity, tenant: str) -> bool:
    """Operators and admins see every tenant, others their own and those below it."""
    if identity.role in (Role.OPERATOR, Role.ADMIN) or not identity.tenant:
        return True
    return tenant == identity.tenant or tenant.startswith(identity.tenant + "/")


def actor_of(identity: Identity, named_tenant: str) -> Actor:
    """The tenant comes from the token; an admin may name any, others one within their own."""
    tenant = named_tenant or identity.tenant
    if (
        tenant != identity.tenant
        and identity.role is not Role.ADMIN
        and not (identity.tenant and sees(identity, tenant))
    ):
        raise NotFoundError(
            f"no tenant {tenant!r} that this token may use", f"leave it out, or use {identity.tenant!r}"
        )
    return Actor(identity.user, tenant, True)


class TokenStore:
    """The tokens of one home. A lookup compares with every record, so that its time tells nothing."""

    def __init__(self, home: Path) -> None:
        self._path = home / TOKENS_FILE
        self._stamp = 0
        self._records: list[TokenRecord] = []
        self._refresh()

    def _refresh(self) -> None:
        """Read the file again once another process has written it: a revoked token stops working at once."""
        try:
            stamp = self._path.stat().st_mtime_ns
        except OSError:
            stamp = 0
        if stamp != self._stamp:
            self._stamp, self._records = stamp, self._read()

    def _read(self) -> list[TokenRecord]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[TokenRecord])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigError(
                f"cannot read it: {error}", "restore it from a copy, or remove it", file=str(self._path)
            ) from error

    def issue(self, user: str, tenant: str, role: Role, expires_us: int | None = None) -> str:
        """A new token, which is not kept anywhere here."""
        token = secrets.token_urlsafe(32)
        record = TokenRecord(
            accessor=secrets.token_hex(4),
            sha256=_digest(token),
            user=user,
            tenant=tenant,
            role=role,
            expires_us=expires_us,
        )
        self._keep([*self._records, record])
        return token

    def revoke(self, accessor: str) -> None:
        kept = [record for record in self._records if record.accessor != accessor]
        if len(kept) == len(self._records):
            raise NotFoundError(f"no token with the accessor {accessor!r}")
        self._keep(kept)

    def records(self) -> tuple[TokenRecord, ...]:
        return tuple(self._records)

    def _keep(self, records: Iterable[TokenRecord]) -> None:
        kept = list(records)
        write_private(self._path, msgspec.json.encode(kept).decode())
        self._records = kept

    def identify(self, token: str, now_us: int) -> Identity:
        """Raises AuthError for a token that is unknown or has expired."""
        self._refresh()
        offered = _digest(token)
        found: TokenRecord | None = None
        for record in self._records:
            if hmac.compare_digest(record.sha256, offered):
                found = record
        if found is None or (found.expires_us is not None and found.expires_us <= now_us):
            raise AuthError("the token is not valid", "use the token of this service, or ask for a new one")
        return Identity(found.user, found.tenant, found.role, found.accessor)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
