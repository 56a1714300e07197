"""The gateway that is simulated: it takes what a server publishes a moment later, keeps it when the server dies, and
says of replicas that go when their requests have ended."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from homeport.dataplane.routes import Endpoint, Gateway
from homeport.dataplane.snapshot import Authority
from homeport.dataplane.xds import XdsServer
from homeport.testing.simulation.machine import Machine
from homeport.testing.simulation.scenario import FaultKind

TAKES_S = 0.01


class SimulatedGateway(XdsServer):
    """One server's side of it. `published` is called with each new picture; `alive` says whether the server lives."""

    def __init__(
        self,
        machine: Machine,
        alive: Callable[[], bool],
        published: Callable[[Gateway], None],
    ) -> None:
        super().__init__(Path("/nowhere"), Authority(edge_socket=Path("/nowhere"), issuer="", audience=""))
        self._machine = machine
        self._alive = alive
        self._tell = published
        self._version = 0
        self._picture: Gateway | None = None
        self._requests = machine.chance("requests")

    async def start(self) -> None:
        """Nothing connects."""

    async def stop(self) -> None:
        """Nothing is connected."""

    def publish(self, gateway: Gateway) -> int:
        if self._alive() and gateway != self._picture:
            self._picture = gateway
            self._version += 1
            self._tell(gateway)
        return self._version

    async def acknowledged(self, version: int, timeout_s: float) -> bool:
        return await self._answers(TAKES_S, timeout_s)

    async def drained(self, endpoints: Iterable[Endpoint], timeout_s: float) -> bool:
        return await self._answers(self._requests.choice((0.0, 1.0, 5.0, 100.0)), timeout_s)

    async def _answers(self, after_s: float, timeout_s: float) -> bool:
        """True once the gateway answers, `after_s` or later; False after `timeout_s`."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        await asyncio.sleep(min(after_s, timeout_s))
        while self._machine.active(FaultKind.ENVOY_AWAY) and loop.time() < ends_at:  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(0.5)
        return loop.time() < ends_at
