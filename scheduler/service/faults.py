"""Errors on the wire: one stable code and status for each, and back again on the client's side."""

from collections.abc import Mapping
from typing import Any, Final

from scheduler.errors import (
    AuthError,
    ConfigError,
    ConflictError,
    DeniedError,
    DualtrackError,
    ForbiddenError,
    InfeasibleError,
    JournalError,
    NotFoundError,
    OverloadedError,
    TooLargeError,
    UnavailableError,
    UsageError,
)

__all__ = ["CODES", "error_body", "error_from", "status_of"]


CODES: Final[dict[type[DualtrackError], tuple[str, int]]] = {
    # a class before those it derives from: the first match wins
    TooLargeError: ("too_large", 413),
    UsageError: ("usage", 400),
    ConfigError: ("invalid", 422),
    InfeasibleError: ("infeasible", 422),
    DeniedError: ("denied", 403),
    ForbiddenError: ("forbidden", 403),
    AuthError: ("unauthenticated", 401),
    NotFoundError: ("not_found", 404),
    ConflictError: ("conflict", 409),
    OverloadedError: ("overloaded", 429),
    UnavailableError: ("unavailable", 503),
    JournalError: ("journal", 503),
    DualtrackError: ("internal", 500),
}


def _row(error: DualtrackError) -> tuple[str, int]:
    return next(row for kind, row in CODES.items() if isinstance(error, kind))


def status_of(error: DualtrackError) -> int:
    return _row(error)[1]


def error_body(error: DualtrackError) -> dict[str, Any]:
    """`{"error": {"code", "message", "remedy"}}`, with `path` where an invalid file says where."""
    body = {"code": _row(error)[0], "message": error.problem, "remedy": error.remedy}
    if isinstance(error, ConfigError):
        body["path"] = error.path
    return {"error": body}


def error_from(status: int, body: object) -> DualtrackError:
    """The error that a service meant; one of another kind of server is told by its status."""
    stated = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(stated, Mapping):
        return UnavailableError(f"the server answered {status} without an explanation", "check that it is dualtrack's")
    code, problem, remedy = (str(stated.get(name, "")) for name in ("code", "message", "remedy"))
    kind = next((kind for kind, (name, _) in CODES.items() if name == code), DualtrackError)
    if kind is ConfigError:
        return ConfigError(problem, remedy, path=str(stated.get("path", "")))
    return kind(problem, remedy)
