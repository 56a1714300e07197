"""The container engines of the operator's configuration, each as a driver and as a store of images. Called by the
server at its start.

    python -m homeport.engines --data DIR

ends every container of the installation, with its grace, and writes down how: what `homeport down` does once the server
has stopped, since containers live on without it.
"""

import argparse
import asyncio
import hashlib
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from homeport.build.dockerfiles import DockerfileBuilder, EngineBuilders, Yard
from homeport.build.images import ImageBuilder
from homeport.configuration import DOCKER, Configuration, RegionTable, read_configuration
from homeport.core import log as logs
from homeport.core.clock import Clock
from homeport.core.errors import HomeportError, Unavailable
from homeport.core.limits import MIB
from homeport.dataplane.routes import Door, door_name
from homeport.drivers.contract import Driver
from homeport.drivers.docker.address import EngineAddress, TlsFiles
from homeport.drivers.docker.cache import LayerCache
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.driver import DockerDriver
from homeport.drivers.docker.engine import Engine
from homeport.drivers.docker.images import Images
from homeport.drivers.docker.networks import Bridge
from homeport.drivers.docker.outside import Remote
from homeport.settings import DataDir

log = logging.getLogger(__name__)

STOP_GRACE_S = 10.0  # as the node gives its programs at its stop
STOP_BOUND_S = 30.0  # for all of it, with an engine in trouble
DOOR_WAIT_S = 10.0  # for the gateway to listen in a new network; it takes milliseconds
EVERYWHERE = "0.0.0.0"  # who listens there needs no further address


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAt:
    """Where this machine's gateway listens. `open_doors` has it listen at further addresses, and at no others of that
    kind; False where that is not certain after so many seconds. `refused`: what Envoy refuses, and why."""

    host: str
    port: int
    open_doors: Callable[[frozenset[Door], float], Awaitable[bool]]
    refused: Callable[[], Mapping[str, str]]


class RegionDoors:
    """Has the gateway listen at the bridges of one region, besides those of all others, which are in `bridges`."""

    def __init__(self, gateway: GatewayAt, region: str, bridges: dict[str, Collection[Bridge]]) -> None:
        self._gateway = gateway
        self._region = region
        self._bridges = bridges

    async def open(self, bridges: Collection[Bridge]) -> None:
        self._bridges[self._region] = [*bridges]
        doors = frozenset(
            Door(address=bridge.address, subnet=bridge.subnet, port=self._gateway.port)
            for known in self._bridges.values()
            for bridge in known
            if self._gateway.host not in (EVERYWHERE, bridge.address)
        )
        if not await self._gateway.open_doors(doors, DOOR_WAIT_S):
            log.info("the gateway may not listen yet in every network of the region %s", self._region)

    def trouble(self) -> str | None:
        refused = self._gateway.refused()
        known = (f"Listener {door_name(bridge.address)}" for bridge in self._bridges.get(self._region, ()))
        return "; ".join(refused[name] for name in known if name in refused) or None


class Engines:
    """`engines`, their `images` and `drivers` by region. `gateway`: None while there is none."""

    def __init__(self, configuration: Configuration, data: DataDir, gateway: GatewayAt | None = None) -> None:
        self._data = data
        self.engines = {
            name: engine_of(table) for name, table in configuration.regions.items() if table.driver == DOCKER
        }
        self.images = {name: Images(engine) for name, engine in self.engines.items()}
        installation = installation_name(data.root)
        bridges: dict[str, Collection[Bridge]] = {}
        self.drivers = {
            name: DockerDriver(
                engine,
                Owner(installation=installation, region=name),
                data.engine(name),
                doors=RegionDoors(gateway, name, bridges) if gateway and engine.address.local else None,
                remote=_remote(configuration.regions[name]),
            )
            for name, engine in self.engines.items()
        }

    def builders(self, driver: Driver, clock: Clock, configuration: Configuration) -> EngineBuilders | None:
        """What makes bundles of images; None where there is no engine. `driver` prints the logs of builds."""
        if not self.engines:
            return None
        images = self.images
        limits, most_bytes = configuration.limits, configuration.builds.engine_cache_mb * MIB
        yards = {}
        folders: dict[str, Path] = {}  # regions of one engine share what is known of its layers
        for name, engine in self.engines.items():
            owner = self.drivers[name].owner
            folder = folders.setdefault(engine.address.url, self._data.engine(name) / "layers")
            cache = LayerCache(engine, owner, folder, most_bytes)
            yards[name] = Yard(engine=engine, owner=owner, images=images[name], cache=cache)
        return EngineBuilders(
            images=ImageBuilder(self._data.builds, self._data.bundles, images, clock, limits.build_timeout_s),
            dockerfiles=DockerfileBuilder(self._data, driver, yards, clock, limits),
        )

    async def open(self) -> None:
        """Take up what runs on them. One that does not answer is tried again and holds up nobody."""
        await asyncio.gather(*(driver.open() for driver in self.drivers.values()))


def installation_name(root: Path) -> str:
    """Names this installation on an engine that others may use, too."""
    return hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]


def engine_of(table: RegionTable) -> Engine:
    """The engine that a region stands for."""
    tls = None
    if table.engine_ca and table.engine_cert and table.engine_key:
        tls = TlsFiles(ca=Path(table.engine_ca), cert=Path(table.engine_cert), key=Path(table.engine_key))
    return Engine(EngineAddress(url=table.engine or "", tls=tls))


def _remote(table: RegionTable) -> Remote | None:
    if not table.programs_at:
        return None
    return Remote(programs_at=table.programs_at, gateway_url=table.gateway_url)


async def end_all(driver: DockerDriver) -> bool:
    """Ask every living unit to end, and wait for that; whether all have."""
    await driver.open()
    try:
        async with asyncio.timeout(STOP_BOUND_S):
            living = {unit.id for unit in await driver.units() if unit.state.alive}
            for unit in living:
                await driver.stop(unit, STOP_GRACE_S)
            async with aclosing(driver.exits(0)) as ends:
                while living:
                    living.discard((await anext(ends)).status.id)
        return True
    except (TimeoutError, Unavailable) as error:
        print(f"in region {driver.owner.region}: {str(error) or 'they do not end'}".rstrip("."), flush=True)
        return False
    finally:
        await driver.close()


def main(words: Sequence[str] | None = None) -> int:
    """The exit code is 1 where containers may still run; why, each region says in a line."""
    parser = argparse.ArgumentParser(prog="python -m homeport.engines", description="Ends every container.")
    parser.add_argument("--data", type=Path, required=True, help="the data directory")
    data = DataDir(parser.parse_args(words).data)
    logs.configure("engines")

    async def run() -> list[bool]:
        engines = Engines(read_configuration(data.config), data)
        return await asyncio.gather(*(end_all(driver) for driver in engines.drivers.values()))

    try:
        return 0 if all(asyncio.run(run())) else 1
    except HomeportError as error:
        print(error.for_caller().rstrip("."), flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
