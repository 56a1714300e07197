"""Errors to status codes, in one place, in the contract's shape (public API reference)."""

import errno
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from homeport.api.versions import UnknownVersion
from homeport.core.errors import HomeportError, Internal, Unavailable
from homeport.wire.errors import Error
from homeport.wire.invalid import invalid_from_items

log = logging.getLogger(__name__)

METHODS = ("DELETE", "GET", "POST", "PUT")  # those of the contract
PATH_SHOWN = 200  # characters of an unknown address that its refusal repeats

_REASONS = {404: "NotFound", 405: "MethodNotAllowed", 413: "TooLarge", 415: "UnsupportedMediaType"}


def install_error_handlers(app: FastAPI) -> None:
    """Give every failure the contract's body. Only what nobody foresaw becomes a 500, and its detail stays here."""
    app.add_exception_handler(HomeportError, _on_homeport_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_unforeseen)


def error_response(error: HomeportError) -> JSONResponse:
    body = Error(code=error.status, error=error.reason, message=error.for_caller())
    headers = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status in (409, 500):
        # Clients would repeat the POST: in vain after a conflict, and twice done where the failure came late.
        headers["x-should-retry"] = "false"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body.model_dump(), status_code=error.status, headers=headers)


def http_error_response(request: Request, error: HTTPException) -> JSONResponse:
    """The answer to what the framework refuses: an unknown address or method, an unreadable body."""
    reason = _REASONS.get(error.status_code, "Rejected")
    body = Error(code=error.status_code, error=reason, message=_sentence(request, error))
    headers = {"Allow": ", ".join(_methods(request))} if error.status_code == 405 else error.headers
    return JSONResponse(body.model_dump(), status_code=error.status_code, headers=headers)


def _methods(request: Request) -> list[str]:
    """What is served at the address: the framework tells only what the first route of several takes."""
    routes = request.app.routes
    served = (
        method for method in METHODS if any(_takes(route, {**request.scope, "method": method}) for route in routes)
    )
    return list(served)


def _takes(route: BaseRoute, scope: Scope) -> bool:
    return route.matches(scope)[0] is Match.FULL


async def _on_homeport_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HomeportError)
    if isinstance(error, Unavailable):
        log.warning("%s %s: %s %s", request.method, request.scope["path"], error.message, error.detail)
    elif error.status >= 500:
        log.error("%s %s: %s %s", request.method, request.scope["path"], error.message, error.detail, exc_info=error)
    if isinstance(error, UnknownVersion):
        return JSONResponse(Error(error="invalid_api_version", message=error.message).to_json(), status_code=400)
    if isinstance(error, Internal):
        return error_response(Internal())
    return error_response(error)


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return error_response(invalid_from_items([{**item, "loc": _location(item)} for item in error.errors()]))


def _location(item: Mapping[str, Any]) -> tuple[int | str, ...]:
    """The path without its first part, which says body, query, path or header: callers know where they put what they
    sent. Where the body is no JSON at all, the number that follows is no element's."""
    return () if item["type"] == "json_invalid" else tuple(item["loc"])[1:]


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return http_error_response(request, error)


def _sentence(request: Request, error: HTTPException) -> str:
    if error.status_code in (404, 405):
        return f"{request.method} {request.scope['path'][:PATH_SHOWN]} is not served by this version."
    return str(error.detail)


async def _on_unforeseen(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        log.warning("%s %s: too many open files", request.method, request.scope["path"])
        return error_response(Unavailable("The server has too many files open.", hint="Try again in a moment."))
    log.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    return error_response(Internal())
