"""The engine's networks: one for each workspace, in which its containers are and nobody else's. Owned by the driver.

Containers of one network do not reach each other either: they meet at the gateway, where policies and keys hold. Made
when the first unit needs one, removed when no unit does.
"""

import asyncio
import logging
from collections.abc import Collection

from homeport.core.errors import NoCapacity
from homeport.drivers.docker.containers import LABEL, Owner
from homeport.drivers.docker.engine import Engine, EngineError, Json

log = logging.getLogger(__name__)

_APART = "com.docker.network.bridge.enable_icc"


class Networks:
    """The networks of one owner on one engine."""

    def __init__(self, engine: Engine, owner: Owner) -> None:
        self._engine = engine
        self._owner = owner
        self._there: set[str] = set()
        self._turn = asyncio.Lock()

    async def ensure(self, network: str) -> None:
        """Return when there is a network of that name. Raises `NoCapacity` when the engine has no addresses left."""
        async with self._turn:
            if network in self._there:
                return
            try:
                await self._engine.create_network(self._body(network))
            except EngineError as error:
                if error.status != 409:
                    raise NoCapacity(f"The engine makes no network for {network}: {error.message}") from error
            self._there.add(network)

    def doubt(self) -> None:
        """Somebody else may have removed networks: look again before the next use."""
        self._there.clear()

    async def sweep(self, used: Collection[str]) -> None:
        """Remove ours that are not used. One that still holds a container stays until the next time."""
        async with self._turn:
            for found in await self._engine.networks(self._owner.filters):
                network = (found.get("Labels") or {}).get(f"{LABEL}workspace", "")
                if network in used:
                    continue
                self._there.discard(network)
                try:
                    await self._engine.remove_network(found["Name"])
                except EngineError as error:
                    log.info("the network %s stays: %s", found["Name"], error.message)

    def _body(self, network: str) -> Json:
        return {
            "Name": self._owner.network_name(network),
            "Driver": "bridge",
            "Labels": {**self._owner.labels, f"{LABEL}workspace": network},
            "Options": {_APART: "false"},
        }
