"""Regions over the API: aliases, what a request for another one is told, and limits of the operator's own."""

from pathlib import Path
from typing import Any

import httpx

from homeport.testing.control_plane import PLACE, ControlPlane, running_control_plane

ALIASED = f'{PLACE}aliases = ["us-pdx-1"]\n'


async def deploy(plane: ControlPlane, name: str, **spec: Any) -> httpx.Response:
    body = {"metadata": {"name": name}, "spec": spec}
    return await plane.api.post("/v0/agents", params={"upload": "true"}, json=body)


async def test_an_unknown_region_is_400_with_the_line_that_would_make_it_this_machine(plane: ControlPlane) -> None:
    answer = await deploy(plane, "pinned", region="us-pdx-1")
    assert answer.status_code == 400
    message = answer.json()["message"]
    assert message.startswith("spec.region: must be a region of this installation: local, or auto (got 'us-pdx-1').")
    assert message.endswith('[regions.local]\naliases = ["us-pdx-1"]')


async def test_an_alias_is_accepted_and_comes_back_as_it_was_sent(tmp_path: Path) -> None:
    async with running_control_plane(tmp_path / "data", ALIASED) as plane:
        for number, region in enumerate(("us-pdx-1", "US-PDX-1", "auto", "local")):
            answer = await deploy(plane, f"pinned-{number}", region=region)
            assert answer.status_code == 200, answer.text
            assert answer.json()["spec"]["region"] == region


async def test_a_policy_judges_the_place_and_never_the_alias(tmp_path: Path) -> None:
    async with running_control_plane(tmp_path / "data", ALIASED) as plane:
        us = {"type": "location", "locations": [{"type": "country", "name": "us"}]}
        eu = {"type": "location", "locations": [{"type": "continent", "name": "eu"}]}
        for name, spec in (("us", us), ("eu", eu)):
            assert (
                await plane.api.post("/v0/policies", json={"metadata": {"name": name}, "spec": spec})
            ).status_code == 200
        refused = await deploy(plane, "american", region="us-pdx-1", policies=["us"])
        assert (refused.status_code, "country US" in refused.json()["message"]) == (403, True)
        assert (await deploy(plane, "european", region="us-pdx-1", policies=["eu"])).status_code == 200


async def test_the_operators_limits_hold(tmp_path: Path) -> None:
    async with running_control_plane(tmp_path / "data", "[limits]\nbody_mb = 1\nupload_mb = 2\n") as plane:
        large = {"metadata": {"name": "large", "labels": {"x": "y" * 2**20}}, "spec": {}}
        assert (await plane.api.post("/v0/agents", params={"upload": "true"}, json=large)).status_code == 413
        address = (await deploy(plane, "small")).headers["X-Blaxel-Upload-Url"]
        assert (await plane.http.put(address, content=bytes(2**21 + 1))).status_code == 413
        assert "zip" in (await plane.http.put(address, content=bytes(2**21))).json()["message"]
