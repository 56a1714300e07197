"""Serves the supervisor on a unix socket that only its owner may open. Started by `main`; the shapes that travel are
in `homeport.node.protocol`. Checks no rights beyond the socket's mode.
"""

import asyncio
import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from homeport.core.clock import parse_timestamp
from homeport.core.errors import HomeportError, Internal
from homeport.core.ids import UnitId
from homeport.core.service import Background
from homeport.core.units import UnitSpec
from homeport.node import protocol
from homeport.node.supervisor import Supervisor

log = logging.getLogger(__name__)


class Server:
    """The node's door. A service: start, then stop."""

    def __init__(self, socket: Path, supervisor: Supervisor, info: dict[str, Any]) -> None:
        self._socket = socket
        self._supervisor = supervisor
        self._info = info
        self._server: asyncio.Server | None = None
        self._background = Background()
        self._connections: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Take the socket's place, whoever had it: the node's lock says that the owner is gone."""
        self._socket.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            path = str(self._socket)
            self._server = await asyncio.start_unix_server(self._serve, path, limit=protocol.LINE_BYTES)
        finally:
            os.umask(before)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._background.stop()
            for writer in [*self._connections]:
                writer.transport.abort()
            self._socket.unlink(missing_ok=True)
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= protocol.CONNECTIONS:
            writer.close()
            return
        self._connections.add(writer)
        try:
            while line := await reader.readline():
                request = json.loads(line)
                if request["method"] == "exits":
                    await self._follow(request["params"]["after"], reader, writer)
                    break
                await self._answer(request, writer)
        except (OSError, ValueError) as error:
            log.debug("a connection ended: %s", error)
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _follow(self, after: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send ends until the caller goes away, which shows as the end of what it sends."""
        stream = self._background.spawn("exits", self._send_exits(after, writer))
        try:
            await reader.read()
        finally:
            stream.cancel()

    async def _send_exits(self, after: int, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            async for end in self._supervisor.exits(after):
                await _send(writer, {"exit": protocol.exit_to_json(end)})

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        method, params = request["method"], request.get("params", {})
        try:
            answer = {"result": await self._call(method, params)}
        except HomeportError as error:
            answer = {"error": protocol.error_to_json(error)}
        except Exception as error:
            log.exception("the request %s failed", method)
            answer = {"error": protocol.error_to_json(Internal(detail=repr(error)))}
        await _send(writer, answer)

    async def _call(self, method: str, params: dict[str, Any]) -> Any:
        supervisor = self._supervisor
        match method:
            case "start":
                return (await supervisor.start(UnitSpec.from_json(params["spec"]))).to_json()
            case "stop" | "freeze" | "thaw" | "signal":
                return await self._act(method, UnitId(params["unit"]), params)
            case "status":
                status = supervisor.status(UnitId(params["unit"]))
                return status.to_json() if status else None
            case "units":
                return [status.to_json() for status in supervisor.units()]
            case "listening":
                return sorted(supervisor.listening(UnitId(params["unit"])))
            case "log":
                limit = min(params["limit"], protocol.LOG_LINES)
                lines = supervisor.log(UnitId(params["unit"]), params["offset"], limit)
                return [protocol.line_to_json(line) for line in lines]
            case "log_before":
                limit = min(params["limit"], protocol.LOG_LINES)
                lines = supervisor.log_before(UnitId(params["unit"]), parse_timestamp(params["before"]), limit)
                return [protocol.line_to_json(line) for line in lines]
            case "forget":
                return await supervisor.forget(UnitId(params["unit"]))
            case "discard_volume":
                return supervisor.discard_volume(params["volume"])
            case "info":
                return self._info
        raise Internal(detail=f"unknown method {method!r}")

    async def _act(self, method: str, unit: UnitId, params: dict[str, Any]) -> None:
        """What is done to a unit that runs."""
        match method:
            case "stop":
                self._supervisor.stop(unit, params["grace_s"])
            case "freeze":
                await self._supervisor.freeze(unit)
            case "thaw":
                self._supervisor.thaw(unit)
            case "signal":
                self._supervisor.signal(unit, params["number"])


async def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
    await writer.drain()
