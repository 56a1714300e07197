"""WebSockets through the activator: messages are passed both ways until one side ends (edge process).

Called by `activator` when the first request to a workload without a replica is a WebSocket. The program is connected
first, so that its choice of subprotocol and its refusal reach the client.
"""

import logging

import aiohttp
from aiohttp import WSMessage, WSMsgType, web
from multidict import CIMultiDict
from yarl import URL

from homeport.core.service import Background

log = logging.getLogger(__name__)

MESSAGE_BYTES = 16 * 1024 * 1024  # a message is whole in memory here, unlike in Envoy; a larger one ends the tunnel
_CODE_WENT_AWAY = 1001

# Part of a handshake; each side makes its own.
_HANDSHAKE = ("sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol")

Side = aiohttp.ClientWebSocketResponse | web.WebSocketResponse


def is_websocket(request: web.Request) -> bool:
    """Whether the request asks to become a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def tunnel(
    session: aiohttp.ClientSession, request: web.Request, url: URL, sent: CIMultiDict[str], idle_s: float
) -> web.StreamResponse:
    """Connect to the program at `url` with the headers `sent`, then join the two. Returns when both have ended, and
    ends them when the program has sent nothing for `idle_s` seconds.

    Raises aiohttp's ClientConnectorError while nothing is lost. A program that refuses the handshake gives its status.
    """
    protocols = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()]
    for name in _HANDSHAKE:
        sent.popall(name, None)
    try:
        program = await session.ws_connect(
            url,
            headers=sent,
            protocols=protocols,
            autoping=False,
            autoclose=False,
            max_msg_size=MESSAGE_BYTES,
            timeout=aiohttp.ClientWSTimeout(ws_receive=idle_s, ws_close=10),
        )
    except aiohttp.WSServerHandshakeError as exc:
        return web.Response(status=exc.status, text=exc.message)
    async with program:
        client = web.WebSocketResponse(
            protocols=[program.protocol] if program.protocol else (),
            autoping=False,
            autoclose=False,
            compress=False,
            max_msg_size=MESSAGE_BYTES,
        )
        await client.prepare(request)
        await _join(client, program)
        return client


async def _join(client: web.WebSocketResponse, program: aiohttp.ClientWebSocketResponse) -> None:
    background = Background()
    back = background.spawn("websocket to client", _pass_on(program, client))
    try:
        await _pass_on(client, program)
        await back  # each side's closing has been passed on, so the other ends too
    finally:
        await background.stop()


async def _pass_on(source: Side, target: Side) -> None:
    """Pass messages on until `source` ends, then end `target`."""
    while True:
        try:
            message: WSMessage = await source.receive()
        except TimeoutError:
            log.info("a WebSocket was quiet for too long and is closed")
            await target.close(code=_CODE_WENT_AWAY)
            return
        try:
            if not await _pass_one(message, target):
                return
        except ConnectionError:
            await source.close(code=_CODE_WENT_AWAY)
            return


async def _pass_one(message: WSMessage, target: Side) -> bool:
    """False for the last message of a side."""
    if message.type is WSMsgType.TEXT:
        await target.send_str(message.data)
    elif message.type is WSMsgType.BINARY:
        await target.send_bytes(message.data)
    elif message.type is WSMsgType.PING:
        await target.ping(message.data)
    elif message.type is WSMsgType.PONG:
        await target.pong(message.data)
    elif message.type is WSMsgType.CLOSE:
        await target.close(code=message.data or 1000, message=(message.extra or "").encode())
        return False
    else:  # CLOSING, CLOSED, ERROR
        await target.close(code=_CODE_WENT_AWAY)
        return False
    return True
