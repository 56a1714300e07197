"""The xDS server: hands the gateway's resources to Envoy (delta ADS) and receives its load reports (LRS).

A service of the server process, on a unix socket. The routes loop calls `publish`; whoever takes a replica away calls
`acknowledged` and `drained`. Envoy keeps its last configuration while this server is gone, and because versions are
hashes of content, an Envoy that comes back to a new server gets only what differs.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.load_stats.v3 import lrs_pb2_grpc

from homeport.core.clock import Clock, SystemClock
from homeport.core.errors import Internal
from homeport.core.service import Background
from homeport.dataplane.changes import Changes
from homeport.dataplane.load import LoadReports
from homeport.dataplane.routes import Door, Endpoint, Gateway
from homeport.dataplane.session import EnvoySession, Published
from homeport.dataplane.snapshot import Authority, Snapshots

log = logging.getLogger(__name__)

STOP_GRACE_S = 0.5  # streams of xDS have no end of their own
REQUEST_BYTES = 64 * 1024 * 1024  # an Envoy that comes back lists all that it holds: about 100 bytes a resource


class XdsServer:
    """The control plane's side of Envoy. Nothing is sent before the first `publish`: an Envoy that starts meanwhile
    does not listen yet, one that runs keeps what it has."""

    def __init__(
        self,
        socket: Path,
        authority: Authority,
        clock: Clock | None = None,
        served: Callable[[], None] = lambda: None,
    ) -> None:
        """served: called when an Envoy has taken what it needs to listen."""
        self._socket = socket
        self._served = served
        self._snapshots = Snapshots(authority)
        self._gateway: Gateway | None = None
        self._doors: frozenset[Door] = frozenset()
        self._published: Published | None = None
        self._changes = Changes()
        self._sessions: set[EnvoySession] = set()
        self._loads = LoadReports(clock or SystemClock())
        self._server: Any = None

    async def start(self) -> None:
        if self._server is not None:
            return
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", REQUEST_BYTES)])
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(_Discovery(self), server)
        lrs_pb2_grpc.add_LoadReportingServiceServicer_to_server(self._loads, server)
        try:
            server.add_insecure_port(f"unix:{self._socket}")
        except RuntimeError as exc:
            raise Internal(detail=f"cannot listen on {self._socket}: {exc}") from exc
        await server.start()
        self._server = server

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(STOP_GRACE_S)

    @property
    def rejected(self) -> dict[str, str]:
        """Why Envoy refuses resources, by type and name; empty when all is well. Always a bug of ours."""
        return {name: reason for session in self._sessions for name, reason in session.rejected().items()}

    @property
    def connected(self) -> int:
        """How many Envoys are connected."""
        return len(self._sessions)

    @property
    def serves(self) -> bool:
        """Whether an Envoy has taken what it needs to listen: until then no program reaches the gateway."""
        return any(_has_answered(session) for session in self._sessions)

    def publish(self, gateway: Gateway) -> int:
        """Make `gateway` what Envoy shall serve, and return its version. Returns at once; equal gateways share a
        version. Versions begin at 1 with each start of the server. Raises `Internal` for two routes at one address."""
        self._gateway = gateway
        snapshot = self._snapshots.build(gateway, self._doors)
        if self._published is None or snapshot != self._published.snapshot:
            version = self._published.version + 1 if self._published else 1
            self._published = Published(version=version, snapshot=snapshot)
            self._changes.notify()
        return self._published.version

    async def open_doors(self, doors: frozenset[Door], timeout_s: float) -> bool:
        """Have the gateway listen at `doors` besides its own address, and nowhere else; see `acknowledged`. Before the
        first `publish` they are only remembered: they go out with it."""
        self._doors = doors
        if self._gateway is None:
            return False
        return await self.acknowledged(self.publish(self._gateway), timeout_s)

    async def acknowledged(self, version: int, timeout_s: float) -> bool:
        """True once every connected Envoy has acknowledged everything up to `version`. False if one refuses a part of
        it, and after `timeout_s` seconds.

        While none is connected this waits: an Envoy that only lost its connection still serves what it had, so
        silence is no acknowledgement.
        """

        def decided() -> bool:
            applied = bool(self._sessions) and all(session.applied >= version for session in self._sessions)
            return applied or any(session.refused >= version for session in self._sessions)

        reached = await self._changes.until(decided, timeout_s)
        return reached and all(session.applied >= version for session in self._sessions)

    def in_flight(self, address: str, port: int) -> int | None:
        """Requests in progress at a replica, a second or two ago; None while no Envoy reports."""
        return self._loads.in_flight(address, port)

    async def drained(self, endpoints: Iterable[Endpoint], timeout_s: float) -> bool:
        """Call it once the endpoints' draining is acknowledged. True when a report made entirely after that shows no
        request at them; False after `timeout_s` seconds."""
        return await self._loads.drained(endpoints, timeout_s)

    async def serve(self, requests: AsyncIterator[Any], context: Any) -> None:
        """One stream of one Envoy, until either side ends it."""
        await self._changes.until(lambda: self._published is not None, None)
        session = EnvoySession(self._newest, self._changes)
        self._sessions.add(session)
        background = Background()
        background.spawn("xds sender", _send(session, context))
        background.spawn("xds follower", session.follow())
        background.spawn("xds first answer", self._tell_once_served(session))
        try:
            async for request in requests:
                await session.receive(request)
        finally:
            self._sessions.discard(session)
            self._changes.notify()
            await background.stop()

    async def _tell_once_served(self, session: EnvoySession) -> None:
        await self._changes.until(lambda: _has_answered(session), None)
        self._served()

    def _newest(self) -> Published:
        if self._published is None:
            raise Internal(detail="a stream was served before anything was published")
        return self._published


def _has_answered(session: EnvoySession) -> bool:
    return session.applied > 0 or session.refused > 0


class _Discovery(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    """The gRPC service: nothing but the hand-over."""

    def __init__(self, server: XdsServer) -> None:
        self._server = server

    async def DeltaAggregatedResources(self, request_iterator: AsyncIterator[Any], context: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await self._server.serve(request_iterator, context)


async def _send(session: EnvoySession, context: Any) -> None:
    while True:
        await context.write(await session.queue.get())
