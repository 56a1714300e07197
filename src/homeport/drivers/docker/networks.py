"""The engine's networks: one for each workspace, in which its containers are and nobody else's. Owned by the driver.

Containers of one network do not reach each other either: they meet at the gateway, where policies and keys hold. Made
when the first unit needs one, removed when no unit does.

Where the engine is this machine's, this machine has an address in each network, and there the gateway listens. Which
those are is kept in a file: a server that starts while the engine is away must not have the gateway close them.
"""

import asyncio
import contextlib
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from homeport.core.errors import NoCapacity
from homeport.core.private import replace_text
from homeport.drivers.docker.containers import LABEL, Owner
from homeport.drivers.docker.engine import Engine, EngineError, Json

log = logging.getLogger(__name__)

_APART = "com.docker.network.bridge.enable_icc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """This machine's address in a network, and the network's own (CIDR)."""

    address: str
    subnet: str


class Doors(Protocol):
    """Whoever has the gateway listen at bridges."""

    async def open(self, bridges: Collection[Bridge]) -> None:
        """Listen at these and no others, if they are new; returns once it does, or after a bounded wait."""
        ...

    def trouble(self) -> str | None:
        """At which it does not listen and why, or None."""
        ...


class Networks:
    """The networks of one owner on one engine."""

    def __init__(self, engine: Engine, owner: Owner, file: Path, doors: Doors | None) -> None:
        """file: where the bridges are kept. doors: None where no gateway listens at them."""
        self._engine = engine
        self._owner = owner
        self._file = file
        self._doors = doors
        self._there: set[str] = set()
        self._held: Counter[str] = Counter()
        self._bridges: dict[str, Bridge] = {}
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Take up what the file says."""
        with contextlib.suppress(FileNotFoundError):
            try:
                known = json.loads(self._file.read_text())
                self._bridges = {name: Bridge(**bridge) for name, bridge in known.items()}
            except (ValueError, TypeError, AttributeError) as error:
                log.warning("%s cannot be read, the engine tells it anew: %s", self._file, error)
        await self._tell()

    @asynccontextmanager
    async def holding(self, network: str) -> AsyncIterator[str | None]:
        """While the block runs there is a network of that name: the address at which the gateway is reached from there,
        if it is. Raises `NoCapacity` when the engine has no addresses left."""
        self._held[network] += 1
        try:
            yield await self._ensure(network)
        finally:
            self._held[network] -= 1

    async def _ensure(self, network: str) -> str | None:
        async with self._turn:
            if network not in self._there:
                try:
                    await self._engine.create_network(self._body(network))
                except EngineError as error:
                    if error.status != 409:
                        raise NoCapacity(f"The engine makes no network for {network}: {error.message}") from error
                await self._keep({**self._bridges, **self._note(network, await self._look(network))})
            bridge = self._bridges.get(network)
            return bridge.address if bridge and self._doors else None

    async def _look(self, network: str) -> Json:
        return await self._engine.network(self._owner.network_name(network))

    def doubt(self) -> None:
        """Somebody else may have removed networks: look again before the next use."""
        self._there.clear()

    async def sweep(self, used: Callable[[], Collection[str]]) -> None:
        """Remove ours that are not used. One that still holds a container stays until the next time."""
        async with self._turn:
            bridges: dict[str, Bridge] = {}
            present = await self._engine.networks(self._owner.filters)
            self._there.clear()  # an engine that lost its data has none of them any more
            for found in present:
                network = (found.get("Labels") or {}).get(f"{LABEL}workspace", "")
                if network in used() or self._held[network] or not await self._remove(found["Name"]):
                    bridges |= self._note(network, found)
            await self._keep(bridges)

    async def _remove(self, name: str) -> bool:
        try:
            await self._engine.remove_network(name)
        except EngineError as error:
            log.info("the network %s stays: %s", name, error.message)
            return False
        return True

    def _note(self, network: str, found: Json) -> dict[str, Bridge]:
        """Remember that it is there; its bridge by its name, if this machine is in it."""
        self._there.add(network)
        if not self._engine.address.local:
            return {}
        settings = (found.get("IPAM") or {}).get("Config") or ()
        bridges = [
            Bridge(address=one["Gateway"], subnet=one["Subnet"])
            for one in settings
            if one.get("Gateway") and one.get("Subnet")
        ]
        return {network: bridges[0]} if bridges else {}

    async def _keep(self, bridges: dict[str, Bridge]) -> None:
        if bridges == self._bridges:
            return
        self._bridges = bridges
        text = json.dumps({name: asdict(bridge) for name, bridge in bridges.items()})
        try:
            await asyncio.to_thread(replace_text, self._file, text, self._file.with_suffix(".new"))
        except OSError as error:  # of use at the next start only
            log.warning("%s cannot be written: %s", self._file, error)
        await self._tell()

    async def _tell(self) -> None:
        if self._doors is not None:
            await self._doors.open(self._bridges.values())

    def _body(self, network: str) -> Json:
        return {
            "Name": self._owner.network_name(network),
            "Driver": "bridge",
            "Labels": {**self._owner.labels, f"{LABEL}workspace": network},
            "Options": {_APART: "false"},
        }
