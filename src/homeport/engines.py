"""The container engines of the operator's configuration, each as a driver and as a store of images. Called by the
server at its start."""

import asyncio
import hashlib
import os
from pathlib import Path

from homeport.build.images import ImageBuilder
from homeport.configuration import DOCKER, Configuration, RegionTable
from homeport.core.clock import Clock
from homeport.drivers.docker.address import EngineAddress, TlsFiles
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.driver import DockerDriver
from homeport.drivers.docker.engine import Engine
from homeport.drivers.docker.images import Images
from homeport.settings import DataDir


class Engines:
    """`drivers` by region. `port` is the gateway's."""

    def __init__(self, configuration: Configuration, data: DataDir, port: int) -> None:
        self._data = data
        self._engines = {
            name: Engine(_address(table)) for name, table in configuration.regions.items() if table.driver == DOCKER
        }
        installation = installation_name(data.root)
        self.drivers = {
            name: DockerDriver(
                engine, Owner(installation=installation, region=name), data.engine(name), gateway_port=port
            )
            for name, engine in self._engines.items()
        }

    def builder(self, clock: Clock, timeout_s: float) -> ImageBuilder | None:
        """What resolves images; None where there is no engine."""
        images = {name: Images(engine) for name, engine in self._engines.items()}
        return ImageBuilder(self._data.builds, self._data.bundles, images, clock, timeout_s) if images else None

    async def open(self) -> None:
        """Take up what runs on them. One that does not answer is tried again and holds up nobody."""
        await asyncio.gather(*(driver.open() for driver in self.drivers.values()))


def installation_name(root: Path) -> str:
    """Names this installation on an engine that others may use, too."""
    return hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]


def _address(table: RegionTable) -> EngineAddress:
    tls = None
    if table.engine_ca and table.engine_cert and table.engine_key:
        tls = TlsFiles(ca=Path(table.engine_ca), cert=Path(table.engine_cert), key=Path(table.engine_key))
    return EngineAddress(url=table.engine or "", tls=tls)
