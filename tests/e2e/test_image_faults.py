"""What goes wrong with images and engines, on a real engine: what is told, and that nothing is left."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from homeport.core.errors import DriverUnavailable
from homeport.core.ids import UnitId
from homeport.core.units import Outcome, UnitSpec, UnitState
from homeport.drivers.docker.address import EngineAddress
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.driver import DockerDriver
from homeport.drivers.docker.engine import Engine
from homeport.drivers.docker.lives import ENGINE_ENDED
from homeport.testing.driver_suite import RUN, end_of, eventually, unit_spec
from homeport.testing.engines import EngineProcess, engine_obstacle, running_engine

IMAGE = "docker.io/library/homeport-faults:1"
OWNER = Owner(installation="faults", region="docker")


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    if cause := engine_obstacle():
        pytest.skip(cause)
    with running_engine() as running:
        running.make_image(IMAGE)
        yield running


@pytest.fixture
def folder(engine: EngineProcess, tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "driver"
    with suppress(Exception):
        engine.remove_all()


@asynccontextmanager
async def opened(engine: EngineProcess, folder: Path) -> AsyncIterator[DockerDriver]:
    driver = DockerDriver(Engine(EngineAddress(url=engine.url)), OWNER, folder)
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


def container(argv: tuple[str, ...], **more: object) -> UnitSpec:
    return unit_spec(argv, **{"image": IMAGE, **more})


def shell(script: str, **more: object) -> UnitSpec:
    return container(("/bin/sh", "-c", script), **more)


async def outcome_of(driver: DockerDriver, unit: UnitId) -> Outcome:
    outcome = (await end_of(driver, unit)).status.outcome
    assert outcome is not None
    return outcome


async def answers(driver: DockerDriver, wanted: bool = True) -> bool:
    try:
        await driver.units()
    except DriverUnavailable:
        return not wanted
    return wanted


async def test_containers_that_end_with_their_engine_say_so_and_others_do_not(
    engine: EngineProcess, folder: Path
) -> None:
    if not engine.own:
        pytest.skip("the engine is not the test's to stop")
    async with opened(engine, folder) as driver:
        for stop in (engine.kill, engine.stop_engine):
            mine, ended = container(RUN, network="acme"), shell("kill -9 $$")
            await driver.start(mine)
            await driver.start(ended)
            assert ENGINE_ENDED not in (await outcome_of(driver, ended.id)).reason
            await asyncio.to_thread(stop)
            await eventually(lambda: answers(driver, False))
            await asyncio.to_thread(engine.start)
            outcome = await outcome_of(driver, mine.id)
            assert not outcome.succeeded and ENGINE_ENDED in outcome.reason, outcome
            await eventually(lambda: answers(driver))
            assert (await driver.start(container(RUN, network="acme"))).state is UnitState.RUNNING
