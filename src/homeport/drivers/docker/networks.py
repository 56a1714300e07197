"""The engine's networks: one for each workspace, in which its containers are and nobody else's. Owned by the driver.

Containers of one network do not reach each other either: they meet at the gateway, where policies and keys hold. Made
when the first unit needs one, removed when no unit does.
"""

import asyncio
import logging
from collections.abc import Collection

from homeport.core.errors import NoCapacity
from homeport.drivers.docker.containers import LABEL, Owner
from homeport.drivers.docker.doors import Doors
from homeport.drivers.docker.engine import Engine, EngineError, Json

log = logging.getLogger(__name__)

_APART = "com.docker.network.bridge.enable_icc"


class Networks:
    """The networks of one owner on one engine."""

    def __init__(self, engine: Engine, owner: Owner, doors: Doors | None) -> None:
        """doors: None where programs cannot reach the gateway, such as on another machine."""
        self._engine = engine
        self._owner = owner
        self._doors = doors
        self._there: dict[str, str] = {}  # by name, this machine's address in it
        self._turn = asyncio.Lock()

    async def ensure(self, network: str) -> str | None:
        """Return when there is a network of that name: the address at which the gateway is reached from there, if it
        is. Raises `NoCapacity` when the engine has no addresses left."""
        async with self._turn:
            if network in self._there:
                return self._there[network] or None
            try:
                await self._engine.create_network(self._body(network))
            except EngineError as error:
                if error.status != 409:
                    raise NoCapacity(f"The engine makes no network for {network}: {error.message}") from error
            found = await self._engine.network(self._owner.network_name(network))
            await self._note(network, found)
            return self._there[network] or None

    def doubt(self) -> None:
        """Somebody else may have removed networks: look again before the next use."""
        self._there.clear()

    async def sweep(self, used: Collection[str]) -> None:
        """Remove ours that are not used. One that still holds a container stays until the next time."""
        async with self._turn:
            for found in await self._engine.networks(self._owner.filters):
                network = (found.get("Labels") or {}).get(f"{LABEL}workspace", "")
                if network in used:
                    await self._note(network, found)
                    continue
                if (address := self._there.pop(network, "")) and self._doors is not None:
                    self._doors.close(address)
                try:
                    await self._engine.remove_network(found["Name"])
                except EngineError as error:
                    log.info("the network %s stays: %s", found["Name"], error.message)

    async def _note(self, network: str, found: Json) -> None:
        """Remember that it is there, and open its door."""
        settings = (found.get("IPAM") or {}).get("Config") or ()
        address = next((one["Gateway"] for one in settings if one.get("Gateway")), "")
        self._there[network] = address if self._doors is not None else ""
        if address and self._doors is not None:
            await self._doors.open(address)

    def _body(self, network: str) -> Json:
        return {
            "Name": self._owner.network_name(network),
            "Driver": "bridge",
            "Labels": {**self._owner.labels, f"{LABEL}workspace": network},
            "Options": {_APART: "false"},
        }
