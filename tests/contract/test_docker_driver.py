"""The docker driver keeps the driver's contract on a real engine."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from homeport.drivers.contract import Driver
from homeport.drivers.docker.address import EngineAddress
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.driver import DockerDriver
from homeport.drivers.docker.engine import Engine
from homeport.testing.driver_suite import DriverSuite
from homeport.testing.engines import EngineProcess, engine_obstacle, running_engine

IMAGE = "docker.io/library/homeport-test:1"


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    if cause := engine_obstacle():
        pytest.skip(cause)
    with running_engine() as running:
        running.make_image(IMAGE)
        yield running


@pytest.fixture
async def driver(engine: EngineProcess, tmp_path: Path) -> AsyncIterator[Driver]:
    driver = DockerDriver(
        Engine(EngineAddress(url=engine.url)), Owner(installation="test", region="docker"), tmp_path / "driver"
    )
    await driver.open()
    yield driver
    await driver.close()
    engine.remove_all()


class TestDockerDriver(DriverSuite):
    image = IMAGE
