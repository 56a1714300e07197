"""The docker driver keeps the driver's contract on a real engine."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from homeport.drivers.contract import Driver
from homeport.drivers.docker.containers import Owner
from homeport.testing.containers import opened_driver
from homeport.testing.driver_suite import DriverSuite, VolumeSuite
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
    async with opened_driver(Owner(installation="test", region="docker"), engine, tmp_path / "driver") as driver:
        yield driver
    engine.remove_all()


class TestDockerDriver(DriverSuite, VolumeSuite):
    image = IMAGE
