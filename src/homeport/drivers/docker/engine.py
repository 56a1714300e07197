"""The Docker Engine API, as much of it as the driver needs: a dozen calls over HTTP, which Docker and Podman serve.

It knows no units. What the engine refuses is an `EngineError` with the engine's own words; an engine that does not
answer, or not as an engine does, is `DriverUnavailable`. The calls are the same in every version of the API from 1.40
(Docker 19.03) on; the engine's own version is asked for once and used, since new engines refuse old versions.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import IO, Any

import aiohttp

from homeport.core.errors import DriverMissing, DriverUnavailable
from homeport.drivers.docker.address import EngineAddress

OLDEST_API = (1, 40)
CALL_TIMEOUT_S = 60.0  # a create or start on a machine in great trouble; ordinarily 0.1 s
SILENT_S = 0.3  # until an engine that has not begun to tell its events is asked for all containers
ANSWER_TIMEOUT_S = 10.0  # for what costs the engine nothing: one that takes longer hangs
CONNECT_TIMEOUT_S = 15.0  # ssh needs a second or two
EVENT_BYTES = 1024 * 1024  # of one event: its attributes hold every label
_VERSION = "/version"  # the one path without a version before it
_FRAME = 8  # bytes of the header before each line of a log

Json = dict[str, Any]


class EngineError(Exception):
    """The engine said no. `status` is HTTP's; `message` the engine's, for people."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class Engine:
    """One engine. Connects when it is first asked, and again after the engine was away."""

    def __init__(self, address: EngineAddress) -> None:
        self.address = address
        self._session: aiohttp.ClientSession | None = None
        self._version: str | None = None
        self._machine: tuple[str, str] | None = None
        self._reading: set[aiohttp.ClientResponse] = set()

    async def close(self) -> None:
        """Give up every call that is under way; the next one connects anew."""
        session, self._session, self._version = self._session, None, None
        for response in self._reading:  # the session does not wake who reads from it
            response.content.set_exception(aiohttp.ClientConnectionError("given up"))
        if session is not None:
            await session.close()

    # The engine itself

    async def version(self) -> Json:
        return await self._object(_VERSION, total_s=ANSWER_TIMEOUT_S)

    async def info(self) -> Json:
        return await self._object("/info", total_s=ANSWER_TIMEOUT_S)

    async def machine(self) -> tuple[str, str]:
        """The system and what the engine calls its architecture, such as `linux` and `x86_64`. Asked for once: engines
        start programs to answer `info`."""
        if self._machine is None:
            info = await self.info()
            self._machine = str(info.get("OSType") or "linux"), str(info.get("Architecture", ""))
        return self._machine

    async def is_stopping(self) -> bool:
        """Whether it takes no new connection. An engine that was asked to stop goes on with those that it has while it
        ends its containers."""
        fresh = Engine(self.address)
        try:
            await fresh.version()
        except DriverUnavailable:
            return True
        finally:
            await fresh.close()
        return False

    async def events(self, labels: Iterable[str]) -> AsyncGenerator[Json, None]:
        """What happens to containers with all these labels from now on. The first thing that comes is `{}`: from then
        on nothing is missed, unless it is Podman, which begins its answer with the first event. Raises
        `DriverUnavailable` when the engine goes away."""
        filters = {"type": ["container"], "label": [*labels]}
        params = {"filters": json.dumps(filters)}
        async with AsyncExitStack() as stack:
            call = self._open("GET", "/events", params=params, total_s=None)
            opening = asyncio.ensure_future(stack.enter_async_context(call))
            try:
                await asyncio.wait([opening], timeout=SILENT_S)
                if opening.done():
                    opening.result()
                yield {}
                response = await opening
            finally:
                opening.cancel()
            async for line in _lines(response):
                yield self._parsed(line)
        raise self._away(EOFError("it closed the stream of events"))

    # Containers

    async def create(self, name: str, body: Json) -> str:
        """The id of a new container. EngineError 409: the name is taken; 404: there is no such image."""
        found = await self._json("POST", "/containers/create", params={"name": name}, body=body)
        return str(found["Id"])

    async def start(self, container: str) -> None:
        """Start it. Nothing where it runs already; EngineError where its command cannot be started."""
        await self._json("POST", f"/containers/{container}/start")

    async def kill(self, container: str, signal: str) -> None:
        """Signal its first process. EngineError 404 or 409 where there is none."""
        await self._json("POST", f"/containers/{container}/kill", params={"signal": signal})

    async def pause(self, container: str) -> None:
        """Freeze its processes. EngineError 409 where it is paused or does not run."""
        await self._json("POST", f"/containers/{container}/pause")

    async def unpause(self, container: str) -> None:
        """EngineError where it is not paused."""
        await self._json("POST", f"/containers/{container}/unpause")

    async def inspect(self, container: str) -> Json | None:
        """All that the engine knows of it, or None where there is no such container."""
        return await self._object_or_none(f"/containers/{container}/json")

    async def containers(self, labels: Iterable[str]) -> list[Json]:
        """Every container with all these labels, ended ones too."""
        params = {"all": "1", "filters": json.dumps({"label": [*labels]})}
        return await self._list("/containers/json", params)

    async def written_bytes(self, container: str) -> int:
        """The size of its writable layer, for which the engine walks through it."""
        found = await self._json("GET", f"/containers/{container}/json", params={"size": "1"})
        return int(found.get("SizeRw") or 0)

    async def remove(self, container: str) -> None:
        """Kill it if it runs; remove it with its writable layer, its log and its anonymous volumes."""
        await self._delete(f"/containers/{container}", {"force": "1", "v": "1"})

    async def log(self, container: str, since_ns: int, tail: int | None) -> AsyncIterator[tuple[str, bytes]]:
        """The stream's name and the line, which begins with its time, of what was printed at or after `since_ns`;
        with `tail`, of the last so many lines only."""
        since = f"{since_ns // 10**9}.{since_ns % 10**9:09d}"
        params = {"stdout": "1", "stderr": "1", "timestamps": "1", "since": since}
        params["tail"] = "all" if tail is None else str(tail)
        try:
            async with self._open("GET", f"/containers/{container}/logs", params=params) as response:
                async for stream, line in _frames(response):
                    yield stream, line
        except EngineError as error:
            if error.status != 404:
                raise

    # Images

    async def image(self, name: str) -> Json | None:
        """What the engine knows of an image, or None where it has none of that name."""
        return await self._object_or_none(f"/images/{name}/json")

    async def image_ids(self) -> frozenset[str]:
        """Of every image that it has, with a name or without."""
        return frozenset(image_id(found["Id"]) for found in await self.images())

    async def remove_image(self, name: str) -> None:
        """Take the name from an image, and the image away where that was its last; or, by its id, one without names.
        EngineError 409 where a container needs it. Its parents stay: they are the engine's, such as its cache."""
        await self._delete(f"/images/{name}", {"noprune": "1"})

    async def pull(self, name: str, tag: str, headers: dict[str, str]) -> AsyncIterator[Json]:
        """Pull `name` at `tag`, which may be a digest; what the engine says on the way, with `error` where it fails."""
        params = {"fromImage": name, "tag": tag}
        async with self._open("POST", "/images/create", params=params, headers=headers, total_s=None) as response:
            async for line in _lines(response):
                yield self._parsed(line)

    async def images(self) -> list[Json]:
        """Every image, those below others too."""
        return list(await self._json("GET", "/images/json", params={"all": "1"}))

    async def build(self, params: dict[str, str], headers: dict[str, str], context: Path) -> AsyncGenerator[Json, None]:
        """Build the context, a tar; what the engine says on the way, with `error` where it fails. It gives up the build
        when this is closed. EngineError 400: the Dockerfile cannot be read."""
        headers = {"Content-Type": "application/x-tar", **headers}
        # Of a known length: an engine that waits for the end of the request does not see that nobody listens any more.
        with context.open("rb") as body:
            sent = self._open("POST", "/build", params=params, body=body, headers=headers, total_s=None)
            async with sent as response:
                async for line in _lines(response):
                    yield self._parsed(line)

    # Volumes

    async def unused_volumes(self, labels: Iterable[str]) -> list[Json]:
        """Those with all these labels that no container has."""
        params = {"filters": json.dumps({"label": [*labels], "dangling": ["true"]})}
        found = await self._json("GET", "/volumes", params=params)
        return list((found or {}).get("Volumes") or ())

    async def remove_volume(self, name: str) -> None:
        """EngineError 409 where a container has it."""
        await self._delete(f"/volumes/{name}")

    # Networks

    async def networks(self, labels: Iterable[str]) -> list[Json]:
        return await self._list("/networks", {"filters": json.dumps({"label": [*labels]})})

    async def network(self, name: str) -> Json:
        return await self._object(f"/networks/{name}")

    async def create_network(self, body: Json) -> None:
        """EngineError 409: there is one of that name."""
        await self._json("POST", "/networks/create", body={"CheckDuplicate": True, **body})

    async def remove_network(self, name: str) -> None:
        """EngineError 403 or 409 where containers are still in it."""
        await self._delete(f"/networks/{name}")

    # HTTP

    async def _object(self, path: str, *, total_s: float = CALL_TIMEOUT_S) -> Json:
        found = await self._json("GET", path, total_s=total_s)
        if not isinstance(found, dict):
            raise self._away(ValueError(f"{path} is no object"))
        return found

    async def _object_or_none(self, path: str) -> Json | None:
        """None where there is no such thing."""
        try:
            return await self._object(path)
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    async def _list(self, path: str, params: dict[str, str]) -> list[Json]:
        found = await self._json("GET", path, params=params)
        if found is not None and not isinstance(found, list):
            raise self._away(ValueError(f"{path} is no list"))
        return found or []

    async def _delete(self, path: str, params: dict[str, str] | None = None) -> None:
        """Nothing where it is gone already."""
        try:
            await self._json("DELETE", path, params=params)
        except EngineError as error:
            if error.status != 404:
                raise

    async def _json(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Json | None = None,
        total_s: float = CALL_TIMEOUT_S,
    ) -> Any:
        async with self._open(method, path, params=params, body=body, total_s=total_s) as response:
            text = await response.read()
            return self._parsed(text) if text else None

    def _parsed(self, text: bytes) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise self._away(error) from error

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Json | IO[bytes] | None = None,
        headers: dict[str, str] | None = None,
        total_s: float | None = CALL_TIMEOUT_S,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response whose status says yes; its body is still to be read."""
        prefix = "" if path == _VERSION else f"/v{await self._api_version()}"
        timeout = aiohttp.ClientTimeout(total=total_s, connect=CONNECT_TIMEOUT_S)
        url = f"{self.address.base}{prefix}{path}"
        try:
            session = self._open_session()
            sent: dict[str, Any] = {"json": body} if body is None or isinstance(body, dict) else {"data": body}
            request = session.request(method, url, params=params, headers=headers, timeout=timeout, **sent)
            async with request as response:
                self._reading.add(response)
                try:
                    if response.status >= 400:
                        raise EngineError(response.status, _message(await response.read()))
                    yield response
                finally:
                    self._reading.discard(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            raise self._away(error) from error

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=self.address.connector(), read_bufsize=EVENT_BYTES)
        return self._session

    async def _api_version(self) -> str:
        if self._version is None:
            said = str((await self.version()).get("ApiVersion", "0.0"))
            if _numbers(said) < OLDEST_API:
                oldest = ".".join(map(str, OLDEST_API))
                raise DriverMissing(
                    f"The engine at {self.address.url} is too old: it serves version {said} of the Docker API, and "
                    f"Homeport needs {oldest} or later."
                )
            self._version = said
        return self._version

    def _away(self, error: Exception) -> DriverUnavailable:
        self._version = self._machine = None  # another one may come up in its place
        return DriverUnavailable(
            f"The engine at {self.address.url} does not answer{_cause(error)}.",
            detail=f"{type(error).__name__}: {error}",
        )


def _cause(error: Exception) -> str:
    """Why it does not, where that tells people what to do."""
    known = {
        FileNotFoundError: ": there is no such socket",
        ConnectionRefusedError: ": nobody listens there",
        PermissionError: ": Homeport may not open its socket",
        TimeoutError: " in time",
        ValueError: " as an engine does",
    }
    found = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return next((words for kind, words in known.items() if isinstance(found, kind)), "")


def _numbers(version: str) -> tuple[int, ...]:
    """`1.41` as numbers; what is none counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))


def image_id(said: str) -> str:
    """Podman says it without the name of the algorithm."""
    return said if said.startswith("sha256:") else f"sha256:{said}"


def _message(body: bytes) -> str:
    try:
        found = json.loads(body)
        return str(found.get("message") or found.get("cause") or found)
    except (ValueError, AttributeError):
        return body.decode(errors="replace").strip()


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    while line := await response.content.readline():
        if line.strip():
            yield line


async def _frames(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, bytes]]:
    """Each line of a log, of which a header of eight bytes tells stream and length."""
    while True:
        try:
            header = await response.content.readexactly(_FRAME)
            line = await response.content.readexactly(int.from_bytes(header[4:], "big"))
        except asyncio.IncompleteReadError:
            return
        yield ("stderr" if header[0] == 2 else "stdout"), line.removesuffix(b"\n")
