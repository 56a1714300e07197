"""Volumes that outlive containers, on a real engine: known for what they are, and cleared up by nobody else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.core.ids import new_id
from homeport.core.units import VolumeMount
from homeport.drivers.docker.address import EngineAddress
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.engine import Engine
from homeport.drivers.docker.kept import filters_of, volume_in, volume_name
from homeport.testing.containers import opened_driver
from homeport.testing.driver_suite import KEEP, end_of, unit_spec
from homeport.testing.engines import EngineProcess, engine_obstacle, running_engine

IMAGE = "docker.io/library/homeport-test:1"
OWNER = Owner(installation="kept", region="docker")


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    if cause := engine_obstacle():
        pytest.skip(cause)
    with running_engine() as running:
        running.make_image(IMAGE)
        yield running


async def test_a_volume_is_found_by_its_labels_and_not_taken_for_a_containers(
    engine: EngineProcess, tmp_path: Path
) -> None:
    volume = new_id("volume")
    data = VolumeMount(path="/data", name="data", size_mb=64, volume=volume)
    scratch = VolumeMount(path="/scratch", name="scratch", size_mb=64)
    unit = unit_spec(KEEP, image=IMAGE, volumes=(data, scratch))
    asked = Engine(EngineAddress(url=engine.url))
    try:
        async with opened_driver(OWNER, engine, tmp_path / "driver") as driver:
            await driver.start(unit)
            await end_of(driver, unit.id)
            await driver.forget(unit.id)
        async with opened_driver(OWNER, engine, tmp_path / "driver"):  # which sweeps what containers left
            (found,) = await asked.unused_volumes(filters_of(OWNER))
        assert (found["Name"], volume_in(found["Labels"])) == (volume_name(OWNER, volume), volume)
        assert await asked.unused_volumes(OWNER.filters) == [], "what began empty went with its container"
        async with opened_driver(OWNER, engine, tmp_path / "driver") as driver:
            await driver.discard_volume(volume)
        assert await asked.unused_volumes(filters_of(OWNER)) == []
    finally:
        await asked.close()
