"""What tests of the docker driver on a real engine share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from homeport.drivers.docker.address import EngineAddress
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.driver import DockerDriver
from homeport.drivers.docker.engine import Engine
from homeport.testing.engines import EngineProcess


@asynccontextmanager
async def opened_driver(owner: Owner, engine: EngineProcess, folder: Path) -> AsyncIterator[DockerDriver]:
    """A driver of `owner`'s on the engine, open; its containers outlive it."""
    driver = DockerDriver(Engine(EngineAddress(url=engine.url)), owner, folder)
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()
