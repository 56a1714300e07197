"""The edge's way to the server's internal socket, with patience: a server that died is back within seconds."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import aiohttp

from homeport.core.clock import Clock
from homeport.core.service import Background

log = logging.getLogger(__name__)

TIMEOUT_S = 40  # of one request: the store may make a writer wait for half a minute
PAUSE_S = 0.2  # between two attempts to reach a server that is away

T = TypeVar("T")
R = TypeVar("R")


class Refusal(Exception):
    """The server answered, and not with what was asked for."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Internal:
    """A client session on the socket. `connect` before use."""

    def __init__(self, socket: Path, clock: Clock) -> None:
        self._socket = socket
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def connect(self) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path=str(self._socket), limit=0),
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            )

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ask(self, what: str, body: Mapping[str, Any], patience_s: float = 0) -> dict[str, Any]:
        """The server's answer. Raises `Refusal`, or `aiohttp.ClientError` or `TimeoutError` where there is none, after
        trying for `patience_s`."""
        deadline = self._clock.monotonic() + patience_s
        content = json.dumps(body).encode()
        while True:
            try:
                return await self._ask(what, content)
            except (aiohttp.ClientError, TimeoutError):
                if self._clock.monotonic() >= deadline:
                    raise
                await asyncio.sleep(PAUSE_S)

    async def _ask(self, what: str, content: bytes) -> dict[str, Any]:
        if self._session is None:
            raise aiohttp.ClientConnectionError("not connected")
        async with self._session.post(f"http://internal/internal/invocations/{what}", data=content) as response:
            found: dict[str, Any] = await response.json()
        if response.status != 200:
            raise Refusal(response.status, str(found.get("message") or found.get("error") or response.status))
        return found


class Batches(Generic[T, R]):
    """Items of many, sent together: what comes while one batch is under way makes the next. So the busier it is, the
    less each costs, and nobody waits for a timer."""

    def __init__(
        self,
        send: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        most: int,
        most_bytes: int,
        size: Callable[[T], int],
    ) -> None:
        self._send = send
        self._most = most
        self._most_bytes = most_bytes
        self._size = size
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._background = Background()

    async def put(self, item: T) -> R:
        """What `send` answered for the item; raises what it raised."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if not self._background.active:
            self._background.spawn("batches", self._run())
        return await future

    async def stop(self) -> None:
        await self._background.stop()
        for _, future in self._waiting:
            future.cancel()

    async def _run(self) -> None:
        while self._waiting:
            batch = self._take()
            try:
                answers = await self._send([item for item, _ in batch])
            except Exception as error:  # each caller hears of it
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    def _take(self) -> list[tuple[T, "asyncio.Future[R]"]]:
        batch: list[tuple[T, asyncio.Future[R]]] = []
        size = 0
        while self._waiting and len(batch) < self._most:
            size += self._size(self._waiting[0][0])
            if batch and size > self._most_bytes:
                break
            batch.append(self._waiting.pop(0))
        return batch
