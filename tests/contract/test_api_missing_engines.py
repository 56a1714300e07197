"""What the API says where an engine is configured and cannot be used. Small engines stand for those that answer."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeport.drivers.docker.address import EngineAddress
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.driver import DockerDriver
from homeport.drivers.docker.engine import Engine
from homeport.testing.control_plane import ControlPlane, running_control_plane

IMAGE = {"runtime": {"image": "hello:1"}}


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    """One region whose engine's socket is not there."""
    url = f"unix://{tmp_path}/none.sock"
    said = f'[regions.docks]\ndriver = "docker"\nengine = "{url}"\n'
    driver = DockerDriver(Engine(EngineAddress(url=url)), Owner(installation="x", region="docks"), tmp_path / "driver")
    async with running_control_plane(tmp_path / "data", said) as running:
        await driver.open()
        running.context.drivers[driver.name] = driver  # type: ignore[index]
        yield running
        await driver.close()


async def test_an_image_is_refused_at_once_where_the_engine_is_missing_and_nothing_is_stored(
    plane: ControlPlane,
) -> None:
    for kind in ("agents", "jobs"):
        answer = await plane.api.post(f"/v0/{kind}", json={"metadata": {"name": "adrift"}, "spec": IMAGE})
        assert answer.status_code == 400
        message = answer.json()["message"]
        for part in ("spec.runtime.image", "docks", "none.sock does not answer: there is no such socket", "hello:1"):
            assert part in message
        assert "homeport deploy -d" in message and "spec.repository.url" in message
        assert (await plane.api.get(f"/v0/{kind}/adrift")).status_code == 404


async def test_programs_are_deployed_though_an_engine_is_missing(plane: ControlPlane) -> None:
    body = {"metadata": {"name": "walker"}, "spec": {}}
    answer = await plane.api.post("/v0/agents", params={"upload": "true"}, json=body)
    assert answer.status_code == 200, answer.text


async def test_the_status_names_the_engine_and_why(plane: ControlPlane) -> None:
    notes = (await plane.api.get("/v0/homeport/status")).json()["notes"]
    assert any("docker.docks" in note and "there is no such socket" in note for note in notes), notes
