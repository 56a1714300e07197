"""Takes asynchronous calls: stores each on the server, then answers (edge process).

Envoy sends what is to be called asynchronously, already authenticated and with the path that the program shall see; the
header `x-hp-invoke` says for whom: `workspace/agents/name/trigger`, with `-` for `?async=true`. The answer is the
contract's `{"success": true}`, with status 200, and comes only once the call is durable.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import aiohttp
from aiohttp import web

from homeport.core.clock import Clock
from homeport.core.ids import new_id
from homeport.core.limits import MIB
from homeport.dataplane import headers
from homeport.dataplane.answers import (
    BAD_REQUEST,
    BUSY,
    ROUTE_NOT_FOUND,
    TOO_LARGE,
    UNAVAILABLE,
    WORKLOAD_NOT_FOUND,
)
from homeport.dataplane.internal import Batches, Internal, Refusal
from homeport.dataplane.passing import end_to_end
from homeport.dataplane.refusals import Refused
from homeport.invocations.handover import Message, Offer, Terms, Verdict

log = logging.getLogger(__name__)

PATIENCE_S = 10.0  # for a server that is being started again
BATCH = 200
BATCH_BYTES = 8 * MIB
HELD_BYTES = 128 * MIB  # of bodies that are being accepted, all together
HELD = 5000
PARAMETER = "async"
# The program's attempts have a length, a connection and a host of their own making.
_NOT_KEPT = frozenset({"content-length", "expect", "host", *headers.OF_CALLS})
_ANSWERS = {404: WORKLOAD_NOT_FOUND, 429: BUSY}


class Acceptance:
    """An aiohttp handler. `terms` are the operator's, None until the server has told them."""

    def __init__(self, internal: Internal, clock: Clock, accepted: Callable[[], None]) -> None:
        """`accepted` is called after each call that was stored."""
        self._internal = internal
        self._clock = clock
        self._held = self._held_bytes = 0
        self._batches: Batches[Offer, Verdict] = Batches(
            self._send, most=BATCH, most_bytes=BATCH_BYTES, size=lambda offer: len(offer.request.body)
        )
        self._accepted = accepted
        self.terms: Terms | None = None

    async def close(self) -> None:
        await self._batches.stop()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self._held += 1
        taken = [0]
        try:
            return await self._accept(request, taken)
        except Refused as refused:
            return refused.response(self._clock)
        finally:
            self._held -= 1
            self._held_bytes -= taken[0]

    async def _accept(self, request: web.Request, taken: list[int]) -> web.StreamResponse:
        if self._held > HELD or self.terms is None:
            raise Refused(replace(UNAVAILABLE, message="Calls cannot be accepted at the moment."))
        workspace, agent, trigger = _whose(request.headers[headers.INVOKE])
        body = await self._body(request, self.terms.body_bytes, taken)
        offer = Offer(
            id=new_id("inv", 16),
            workspace=workspace,
            agent=agent,
            trigger=trigger,
            method=request.method,
            path=_path(request.raw_path),
            request=Message(headers=_kept(request), body=body),
        )
        verdict = await self._verdict(offer)
        if verdict.status != 200:
            raise Refused(replace(_ANSWERS.get(verdict.status, BAD_REQUEST), message=verdict.reason))
        self._accepted()
        return web.json_response({"success": True}, headers={headers.INVOCATION_ID: offer.id})

    async def _verdict(self, offer: Offer) -> Verdict:
        try:
            return await self._batches.put(offer)
        except Refusal as refusal:
            raise Refused(replace(UNAVAILABLE, message=refusal.message)) from refusal
        except (aiohttp.ClientError, TimeoutError) as exc:
            # It may be stored all the same: the answer alone may be what was lost.
            message = "The server that stores calls does not answer."
            raise Refused(replace(UNAVAILABLE, message=message, may_have_run=True)) from exc

    async def _send(self, offers: Sequence[Offer]) -> Sequence[Verdict]:
        body = {"offers": [offer.to_json() for offer in offers]}
        found = await self._internal.ask("accept", body, PATIENCE_S)
        return [Verdict(**item) for item in found["answers"]]

    async def _body(self, request: web.Request, most: int, taken: list[int]) -> bytes:
        """The whole body. What is too large is refused before it is read, where its length is said."""
        too_large = Refused(replace(TOO_LARGE, message=f"An asynchronous call has at most {most} bytes of body."))
        if (request.content_length or 0) > most:
            raise too_large
        chunks = []
        async for chunk in request.content.iter_any():
            taken[0] += len(chunk)
            self._held_bytes += len(chunk)
            if taken[0] > most:
                raise too_large
            if self._held_bytes > HELD_BYTES:
                raise Refused(replace(UNAVAILABLE, message="Too many calls are being accepted already."))
            chunks.append(chunk)
        return b"".join(chunks)


def _whose(named: str) -> tuple[str, str, str]:
    parts = named.split("/", 3)
    if len(parts) != 4 or parts[1] != "agents":
        log.error("Envoy sent a header that cannot be read: %s", named)
        raise Refused(ROUTE_NOT_FOUND)
    workspace, _, agent, trigger = parts
    return workspace, agent, "" if trigger == headers.INVOKED_BY_PARAMETER else trigger


def _path(raw: str) -> str:
    """Without the parameter that is ours: the program sees what it would see of the same call made synchronously."""
    path, mark, query = raw.partition("?")
    kept = [part for part in query.split("&") if part.partition("=")[0] != PARAMETER]
    return f"{path}{mark if any(kept) else ''}{'&'.join(kept)}" if mark else path


def _kept(request: web.Request) -> tuple[tuple[str, str], ...]:
    """The headers for the program."""
    found = [(name, value) for name, value in end_to_end(request.headers).items() if name.lower() not in _NOT_KEPT]
    if "X-Forwarded-Host" not in request.headers:
        found.append(("X-Forwarded-Host", request.host))
    return tuple(found)
