"""Bodies of requests: how large they may be, and what counts as JSON.

The limit holds for each byte that arrives, whether or not the client says beforehand how many there will be. Shapes
are not looked at here: that is `homeport.wire`.
"""

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from homeport.api.errors import http_error_response
from homeport.core.errors import Invalid

UPLOADS = "/v0/homeport/uploads"

# Numbers that may be too large for a float: only then is it worth looking at every number again.
_PERHAPS_INFINITE = re.compile(rb"[eE]\+?\d{3}|\d{300}")


class BodyLimit:
    """Refuses with 413 what is larger than its limit. Archives have their own, and go to disk as they come."""

    def __init__(self, app: ASGIApp, body_bytes: int, upload_bytes: int) -> None:
        self._app = app
        self._body_bytes = body_bytes
        self._upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._upload_bytes if scope["path"].startswith(f"{UPLOADS}/") else self._body_bytes
        if _declared(scope) > limit:
            # Before anything is read: there is no need to carry what will be refused.
            await http_error_response(Request(scope), _too_large(limit))(scope, receive, send)
            return
        arrived = 0

        async def bounded() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > limit:
                raise _too_large(limit)
            return message

        await self._app(scope, bounded, send)


class JsonRoute(APIRoute):
    """A route whose body, if it has one, is JSON read by `parse_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            read = _JsonRequest(request.scope, request.receive)
            if self.body_field is not None:
                await read.json()  # here and not in the framework, which would replace our words
            return await handle(read)

        return handle_json


class _JsonRequest(Request):
    """A request that parses its body once."""

    async def json(self) -> Any:
        if not hasattr(self, "_parsed"):
            body = await self.body()
            kind = content_type(self)
            if body and kind != "application/json" and not kind.endswith("+json"):
                raise HTTPException(415, f"Content-Type must be application/json, not {kind[:80]!r}.")
            self._parsed = parse_json(body) if body else None
        return self._parsed


def content_type(request: Request) -> str:
    """The media type without its parameters. A body that does not say what it is counts as JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() or "application/json"


def parse_json(body: bytes) -> Any:
    """The value that `body` says.

    Raises `Invalid` for what is no JSON, and for what could be read but not be stored or answered with: NaN and
    infinities, halves of surrogate pairs, numbers of thousands of digits, and nesting deeper than 200.
    """
    try:
        value = from_json(body, allow_inf_nan=False)
        if _PERHAPS_INFINITE.search(body):
            json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise Invalid("body", f"must be valid JSON ({error})") from error
    return value


def _declared(scope: Scope) -> int:
    """What Content-Length says; 0 where it says nothing that can be relied on: then the bytes are counted."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:18])  # more digits than that are too large in any case
    return 0


def _too_large(limit: int) -> HTTPException:
    return HTTPException(
        413, f"The body is larger than {limit} bytes, the most that is accepted here ([limits] in config.toml)."
    )
