"""The activator: takes the requests of workloads that have no replica, asks for one, and forwards (edge process).

Envoy sends it what no replica can take, already authenticated and with the path that the program shall see; the
header `x-hp-workload` says for whom. It holds a request until the server has a replica, then streams both ways. It
decides nothing about scaling, and keeps nothing: the body stays in the socket until there is somebody to read it.

The server's side of the agreement, on its internal socket:

    POST /internal/activate {"workspace", "kind", "name", "revision"}     kind is singular, as in `Kind`
    200 {"address", "port"}     a replica is ready; answered at once or after a wait of up to ACTIVATE_TIMEOUT_S
    503 {"reason"}              none will be ready in time; the reason is one sentence for the caller
    404 {"reason"}              there is no such workload or revision any more
"""

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
from aiohttp import web
from yarl import URL

from homeport.core import measures
from homeport.core.clock import Clock
from homeport.core.ids import Kind
from homeport.core.limits import CallLimits
from homeport.dataplane import headers
from homeport.dataplane.answers import (
    BROKEN,
    MODELS_NOT_SERVED,
    ROUTE_NOT_FOUND,
    SILENT,
    TOO_SLOW,
    UNAVAILABLE,
    WORKLOAD_NOT_FOUND,
)
from homeport.dataplane.passing import end_to_end
from homeport.dataplane.refusals import Refused
from homeport.dataplane.tunnel import is_websocket, tunnel

log = logging.getLogger(__name__)

HELD_REQUESTS = 1000  # each holds two sockets and at most 128 kB of body in the reader's buffer: 128 MB in all
ACTIVATE_TIMEOUT_S = 30  # what the server may take
ANSWER_MARGIN_S = 5  # and this much more before we give up on it
CONNECT_TIMEOUT_S = 5
CONNECT_ATTEMPTS = 2  # a replica may end between the server's answer and our connection
CHUNK_BYTES = 64 * 1024
_UNBOUNDED = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S)  # an asynchronous call: its maker ends it in time


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """For whom a request is."""

    workspace: str
    kind: Kind
    name: str
    revision: str

    @classmethod
    def parse(cls, text: str) -> "Target":
        """From `workspace/kinds/name/revision`. Raises ValueError for anything else."""
        workspace, plural, name, revision = text.split("/")
        kind = next((kind for kind in Kind if kind.plural == plural), None)
        if kind is None:
            raise ValueError(f"no kind has the plural {plural!r}")
        return cls(workspace=workspace, kind=kind, name=name, revision=revision)


class Activator:
    """An aiohttp handler for every path. Use `connect` before and `close` after serving."""

    def __init__(self, internal_socket: Path, clock: Clock, calls: CallLimits | None = None) -> None:
        self._internal_socket = internal_socket
        self._clock = clock
        self._calls = calls or CallLimits()
        self._bounded = aiohttp.ClientTimeout(
            total=self._calls.total_s, sock_connect=CONNECT_TIMEOUT_S, sock_read=self._calls.idle_s
        )
        self._holding = 0
        self._control: aiohttp.ClientSession | None = None
        self._programs: aiohttp.ClientSession | None = None

    async def connect(self) -> None:
        """Make the client sessions; they connect when used. Safe to repeat."""
        if self._control is not None:
            return
        # No limits of connections: HELD_REQUESTS bounds both.
        self._control = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(self._internal_socket), limit=0),
            timeout=aiohttp.ClientTimeout(total=ACTIVATE_TIMEOUT_S + ANSWER_MARGIN_S),
        )
        self._programs = aiohttp.ClientSession(
            # One request a connection: a program that is frozen or replaced later must not be met through an old one.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=self._bounded,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        for session in (self._control, self._programs):
            if session is not None:
                await session.close()
        self._control = self._programs = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; every failure before the program's answer is told in the gateway's envelope."""
        try:
            return await self._serve(request)
        except Refused as refused:
            return refused.response(self._clock)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        named = request.headers.get(headers.WORKLOAD)
        if named is None:
            segments = request.path.split("/")
            raise Refused(MODELS_NOT_SERVED if segments[2:3] == ["models"] else ROUTE_NOT_FOUND)
        try:
            target = Target.parse(named)
        except ValueError as exc:
            log.error("Envoy sent a workload header that cannot be read: %s", exc)
            raise Refused(ROUTE_NOT_FOUND) from exc
        if self._holding >= HELD_REQUESTS:
            measures.ACTIVATIONS.labels(target.workspace, "refused").inc()
            raise Refused(replace(UNAVAILABLE, message="Too many requests wait for a replica already."))
        self._holding += 1
        measures.HELD.inc()
        outcome = "gone"
        try:
            answer = await self._forward(request, target)
            outcome = "forwarded"
            return answer
        except Refused:
            outcome = "refused"
            raise
        finally:
            self._holding -= 1
            measures.HELD.dec()
            measures.ACTIVATIONS.labels(target.workspace, outcome).inc()

    async def _forward(self, request: web.Request, target: Target) -> web.StreamResponse:
        for attempt in range(1, CONNECT_ATTEMPTS + 1):
            began = self._clock.monotonic()
            url = await self._activate(request, target)
            measures.ACTIVATION_SECONDS.labels(target.workspace).observe(self._clock.monotonic() - began)
            try:
                if is_websocket(request):
                    sent = end_to_end(request.headers)
                    return await tunnel(self._session(), request, url, sent, self._calls.websocket_idle_s)
                return await self._exchange(request, url)
            except aiohttp.ClientConnectorError as exc:
                # Nothing of the request has been read yet, so it can be sent again.
                log.warning("the replica of %s at %s refused the connection (attempt %d)", target, url, attempt)
                last = exc
        raise Refused(UNAVAILABLE) from last

    async def _activate(self, request: web.Request, target: Target) -> URL:
        """Where the request shall go, once a replica is there. The path is passed on byte for byte."""
        if self._control is None:
            raise Refused(UNAVAILABLE)
        wanted = {"workspace": target.workspace, "kind": target.kind, "name": target.name, "revision": target.revision}
        try:
            async with self._control.post("http://internal/internal/activate", json=wanted) as response:
                found = await response.json()
                if response.status == 200:
                    return URL(f"http://{found['address']}:{found['port']}{request.raw_path}", encoded=True)
                reason = str(found.get("reason") or UNAVAILABLE.message)
        except TimeoutError as exc:
            raise Refused(replace(UNAVAILABLE, message="No replica was ready in time.")) from exc
        except (aiohttp.ClientError, json.JSONDecodeError, KeyError) as exc:
            log.warning("the server did not say where %s is: %s", target, exc)
            raise Refused(replace(UNAVAILABLE, message="The server that starts replicas does not answer.")) from exc
        if response.status == 404:
            raise Refused(replace(WORKLOAD_NOT_FOUND, message=reason))
        raise Refused(replace(UNAVAILABLE, message=reason))

    async def _exchange(self, request: web.Request, url: URL) -> web.StreamResponse:
        try:
            async with self._session().request(
                request.method,
                url,
                headers=end_to_end(request.headers),
                data=_body(request) if request.body_exists else None,
                allow_redirects=False,
                timeout=_UNBOUNDED if headers.INVOCATION_ID in request.headers else self._bounded,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            ) as upstream:
                return await _relay(request, upstream)
        except aiohttp.ClientConnectorError:
            raise
        except aiohttp.SocketTimeoutError as exc:
            raise Refused(SILENT) from exc
        except TimeoutError as exc:
            raise Refused(TOO_SLOW) from exc
        except aiohttp.ClientError as exc:
            raise Refused(BROKEN) from exc

    def _session(self) -> aiohttp.ClientSession:
        if self._programs is None:
            raise Refused(UNAVAILABLE)
        return self._programs


async def _relay(request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    """Pass the program's answer on as it comes. Once it has begun, a failure can only cut it off."""
    response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
    response.headers.extend(end_to_end(upstream.headers))
    await response.prepare(request)
    try:
        async for chunk in upstream.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
    except (aiohttp.ClientError, TimeoutError) as exc:
        log.warning("the program's answer to %s broke off: %s", request.path, exc)
        if request.transport is not None:
            request.transport.abort()  # a clean end would tell the client that the answer is complete
    return response


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_chunked(CHUNK_BYTES):
        yield chunk
