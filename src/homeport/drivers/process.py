"""The process driver: speaks to the node over its unix socket. Used by the server's loops and by the runner.

It keeps nothing of its own: every answer is the node's. Connections are opened when needed and again after the node
has come back. Starts no node; `homeport up` does.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

from homeport.core.clock import timestamp
from homeport.core.errors import DriverUnavailable, Invalid
from homeport.core.ids import UnitId
from homeport.core.units import LogLine, UnitExit, UnitSpec, UnitStatus
from homeport.node import protocol

CALLS = 32  # at once; more callers wait for their turn
CALL_TIMEOUT_S = 30.0  # a start waits up to 20 s for the sandbox
RETRY_S = (0.05, 1.0)  # between attempts to reach a node that is away: doubling from the first to the second

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ProcessDriver:
    """Implements `homeport.drivers.contract.Driver` on the node behind `socket`."""

    name = "process"

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._idle: list[_Connection] = []
        self._turns = asyncio.Semaphore(CALLS)

    async def start(self, spec: UnitSpec) -> UnitStatus:
        if spec.image is not None:
            raise Invalid("image", "must be absent: this region runs programs")
        return UnitStatus.from_json(await self._call("start", spec=spec.to_json()))

    async def stop(self, unit: UnitId, grace_s: float) -> None:
        await self._call("stop", unit=unit, grace_s=grace_s)

    async def status(self, unit: UnitId) -> UnitStatus | None:
        found = await self._call("status", unit=unit)
        return UnitStatus.from_json(found) if found else None

    async def units(self) -> list[UnitStatus]:
        return [UnitStatus.from_json(found) for found in await self._call("units")]

    async def listening(self, unit: UnitId) -> frozenset[int]:
        return frozenset(await self._call("listening", unit=unit))

    async def listening_inside(self, unit: UnitId) -> frozenset[int]:
        return frozenset()  # programs share this machine's loopback

    async def freeze(self, unit: UnitId) -> None:
        await self._call("freeze", unit=unit)

    async def thaw(self, unit: UnitId) -> None:
        await self._call("thaw", unit=unit)

    async def signal(self, unit: UnitId, number: int) -> None:
        await self._call("signal", unit=unit, number=number)

    async def exits(self, after: int) -> AsyncIterator[UnitExit]:
        """Follows across restarts of the node: it waits while the node is away and goes on where it stood."""
        wait_s = RETRY_S[0]
        while True:
            try:
                async for end in self._follow(after):
                    after, wait_s = end.seq, RETRY_S[0]
                    yield end
            except DriverUnavailable:
                pass
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_S[1])

    async def log(self, unit: UnitId, offset: int, limit: int) -> list[LogLine]:
        lines = await self._call("log", unit=unit, offset=offset, limit=limit)
        return [protocol.line_from_json(line) for line in lines]

    async def log_before(self, unit: UnitId, before: datetime, limit: int) -> list[LogLine]:
        lines = await self._call("log_before", unit=unit, before=timestamp(before), limit=limit)
        return [protocol.line_from_json(line) for line in lines]

    async def forget(self, unit: UnitId) -> None:
        await self._call("forget", unit=unit)

    async def discard_volume(self, volume: str) -> None:
        await self._call("discard_volume", volume=volume)

    async def info(self) -> dict[str, Any]:
        """How the node contains units: see `homeport.node.facts.facts`."""
        found = await self._call("info")
        assert isinstance(found, dict)
        return found

    async def close(self) -> None:
        while self._idle:
            _, writer = self._idle.pop()
            writer.close()

    async def _call(self, method: str, **params: Any) -> Any:
        async with self._turns:
            connection, fresh = await self._connection()
            try:
                answer = await self._ask(connection, method, params)
            except DriverUnavailable:
                await self.close()  # the others lead to the same node that went away
                if fresh:
                    raise  # else the node was restarted; every request may be repeated, a start too
                connection, _ = await self._connection()
                answer = await self._ask(connection, method, params)
            self._idle.append(connection)
        if "error" in answer:
            raise protocol.error_from_json(answer["error"])
        return answer["result"]

    async def _connection(self) -> tuple[_Connection, bool]:
        """An idle connection or a fresh one, and whether it is fresh."""
        while self._idle:
            connection = self._idle.pop()
            if not connection[0].at_eof() and not connection[1].is_closing():
                return connection, False
            connection[1].close()
        try:
            return await asyncio.open_unix_connection(str(self._socket), limit=protocol.LINE_BYTES), True
        except OSError as error:
            raise DriverUnavailable(detail=f"node socket {self._socket}: {error}") from error

    async def _ask(self, connection: _Connection, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """One request and its answer; a connection on which this fails or is cancelled is of no more use."""
        reader, writer = connection
        try:
            writer.write(json.dumps({"method": method, "params": params}).encode() + b"\n")
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await writer.drain()
                line = await reader.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("the node closed the connection")
            answer = json.loads(line)
            assert isinstance(answer, dict)
            return answer
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            writer.close()
            raise DriverUnavailable(detail=f"node request {method}: {error}") from error
        except asyncio.CancelledError:
            writer.close()
            raise

    async def _follow(self, after: int) -> AsyncIterator[UnitExit]:
        """The ends as one connection brings them; raises `DriverUnavailable` when it breaks."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=protocol.LINE_BYTES)
        except OSError as error:
            raise DriverUnavailable(detail=f"node socket {self._socket}: {error}") from error
        try:
            writer.write(json.dumps({"method": "exits", "params": {"after": after}}).encode() + b"\n")
            while (line := await reader.readline()).endswith(b"\n"):
                yield protocol.exit_from_json(json.loads(line)["exit"])
        except (OSError, ValueError) as error:
            raise DriverUnavailable(detail=f"node exits: {error}") from error
        finally:
            writer.close()
