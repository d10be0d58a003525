"""The REST API as one application: routes, and one way in which every failure is told."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from scheduler import __version__
from scheduler.errors import DualtrackError, NotFoundError, UsageError
from scheduler.service.desk import Desk
from scheduler.service.faults import error_body, status_of
from scheduler.service.routes_fleet import open_router
from scheduler.service.routes_fleet import router as fleet_router
from scheduler.service.routes_jobs import router as jobs_router
from scheduler.service.routes_reservations import router as reservations_router
from scheduler.service.routes_tenants import router as tenants_router
from scheduler.service.submissions import Shortcut
from scheduler.service.submissions import router as submissions_router

__all__ = ["build_app"]

log = logging.getLogger(__name__)


def build_app(desk: Desk) -> FastAPI:
    """The application over one desk. Every answer that is not a success is `{"error": {code, message, remedy}}`."""
    app = FastAPI(title="dualtrack", version=__version__, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.state.desk = desk
    app.add_middleware(Shortcut, refused=_answer)
    app.include_router(submissions_router)
    app.include_router(jobs_router)
    app.include_router(fleet_router)
    app.include_router(tenants_router)
    app.include_router(reservations_router)
    app.include_router(open_router)
    app.add_exception_handler(DualtrackError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unrouted)
    app.add_exception_handler(Exception, _defect)
    return app


def _answer(error: DualtrackError, status: int | None = None) -> JSONResponse:
    status = status or status_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": "1"} if status in (429, 503) else {}
    return JSONResponse(error_body(error), status_code=status, headers=headers)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DualtrackError)
    return _answer(error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first: Sequence[Any] = error.errors()[:1]
    place = ".".join(str(part) for part in first[0]["loc"]) if first else "request"
    problem = first[0]["msg"] if first else "it cannot be read"
    return _answer(UsageError(f"{place}: {problem}", "see /openapi.json"))


async def _unrouted(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _answer(NotFoundError("no such place", "see /openapi.json"))
    return _answer(UsageError(str(error.detail), "see /openapi.json"), error.status_code)


async def _defect(request: Request, error: Exception) -> JSONResponse:
    log.error("a request met a defect", exc_info=error)
    return _answer(DualtrackError("the service met a defect", "its log tells more"))
