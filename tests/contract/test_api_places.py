"""Locations and configuration: the operator's word, in the contract's shape, read by the public SDK."""

from pathlib import Path
from typing import Any

import pytest
from blaxel.core.client import models as sdk

from homeport.core.errors import DriverUnavailable
from homeport.testing.control_plane import ControlPlane, running_control_plane

SAID = (
    '[regions.local]\ncountry = "us"\ncontinent = "na"\nlocation = "Portland"\n'
    'aliases = ["us-pdx-1"]\nflavors = ["x86/cpu"]\n'
)


async def test_two_names_of_one_machine_are_said_to_be_the_same(tmp_path: Path) -> None:
    async with running_control_plane(tmp_path / "data", SAID) as plane:
        local, alias = (await plane.api.get("/v0/locations")).json()
        assert local == {
            "region": "local",
            "status": "healthy",
            "flavors": [{"name": "x86", "type": "cpu"}],
            "country": "US",
            "continent": "NA",
            "location": "Portland",
        }
        assert alias == {**local, "region": "us-pdx-1", "sameAs": "local"}
        read = sdk.LocationResponse.from_dict(alias)
        assert (read.region, read.country, read.flavors[0].name) == ("us-pdx-1", "US", "x86")


async def test_the_configuration_has_the_places_of_this_installation(tmp_path: Path) -> None:
    async with running_control_plane(tmp_path / "data", SAID) as plane:
        found = (await plane.api.get("/v0/configuration")).json()
        assert found["continents"] == [{"name": "NA", "displayName": "North America"}]
        assert found["countries"] == [{"name": "US", "displayName": "US"}]
        assert (found["detectedRegion"], found["privateLocations"]) == ("local", [{"name": "local"}])
        local, alias = found["regions"]
        assert (local["name"], local["location"], "sameAs" in local) == ("local", "Portland", False)
        assert (alias["name"], alias["sameAs"], alias["mk31Available"]) == ("us-pdx-1", "local", False)
        read = sdk.Configuration.from_dict(found)
        assert [region.name for region in read.regions] == ["local", "us-pdx-1"]


async def test_what_nobody_has_said_is_left_out(tmp_path: Path) -> None:
    async with running_control_plane(tmp_path / "data", "") as plane:
        (local,) = (await plane.api.get("/v0/locations")).json()
        assert not {"country", "continent", "location"} & set(local)
        found = (await plane.api.get("/v0/configuration")).json()
        assert (found["continents"], found["countries"]) == ([], [])


async def test_a_machine_whose_processes_nobody_owns_is_unhealthy(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> dict[str, Any]:
        raise DriverUnavailable()

    (driver,) = plane.context.drivers.values()
    monkeypatch.setattr(driver, "info", away)
    (local,) = (await plane.api.get("/v0/locations")).json()
    assert local["status"] == "unhealthy"


async def test_public_addresses_are_not_known(plane: ControlPlane) -> None:
    answer = await plane.api.get("/v0/publicIps")
    assert (answer.status_code, "not served by this version" in answer.json()["message"]) == (404, True)
