"""Volumes: what is answered, what grows, what is fixed, and what an operator's bounds refuse."""

import os
from typing import Any

import pytest
from httpx import Response

os.environ["DO_NOT_TRACK"] = "1"  # before the import, which else reports to its vendor

from blaxel.core.client import models as sdk

from homeport.core.errors import DiskFull
from homeport.core.ids import Kind
from homeport.identity.principals import Role
from homeport.testing.control_plane import AWAY, HOME, PLACE, ControlPlane, running_control_plane

UPLOAD = {"upload": "true"}
BOUNDS = PLACE + 'aliases = ["us-pdx-1"]\n[volumes]\nvolume_mb = 100\nworkspace_mb = 150\nephemeral_mb = 50\n'


async def create(plane: ControlPlane, name: str = "one", size: int = 64, **metadata: Any) -> Response:
    body = {"metadata": {"name": name, **metadata}, "spec": {"size": size, "region": "local"}}
    return await plane.api.post("/v0/volumes", json=body)


async def made(plane: ControlPlane, name: str = "one", size: int = 64, **metadata: Any) -> dict[str, Any]:
    answer = await create(plane, name, size, **metadata)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def put(plane: ControlPlane, spec: dict[str, Any], name: str = "one", **metadata: Any) -> Response:
    return await plane.api.put(f"/v0/volumes/{name}", json={"metadata": {"name": name, **metadata}, "spec": spec})


async def agent_with(plane: ControlPlane, volume: str, name: str = "user", **more: Any) -> Response:
    spec = {"region": "local", "volumes": [{"name": volume, "mountPath": "/data"}], **more}
    return await plane.api.post("/v0/agents", params=UPLOAD, json={"metadata": {"name": name}, "spec": spec})


async def test_a_volume_grows_and_never_shrinks(plane: ControlPlane) -> None:
    await made(plane, size=64)
    grown = await put(plane, {"size": 128, "region": None, "template": None})  # as the public SDK writes what is unset
    assert (grown.status_code, grown.json()["spec"]) == (200, {"size": 128, "region": "local"})
    for size in (127, 1):
        answer = await put(plane, {"size": size})
        assert answer.status_code == 400
        assert answer.json()["message"] == f"spec.size: may only grow; it is 128 MB (got {size})."
    assert (await put(plane, {})).json()["spec"]["size"] == 128, "what is left out stays"
    assert (await put(plane, {"size": 128})).status_code == 200


async def test_a_size_that_is_left_out_is_the_sdks(plane: ControlPlane) -> None:
    answer = await plane.api.post("/v0/volumes", json={"metadata": {"name": "one"}, "spec": {}})
    assert answer.json()["spec"] == {"size": 1024, "region": "local"}


async def test_a_template_is_refused_because_there_are_none(plane: ControlPlane) -> None:
    body = {"metadata": {"name": "one"}, "spec": {"template": "mine:latest"}}
    answer = await plane.api.post("/v0/volumes", json=body)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("spec.template: must be absent: volume templates are not served")
    await made(plane)
    assert (await put(plane, {"template": "mine:1"})).status_code == 400
    assert (await plane.api.get("/v0/volume_templates")).json() == []


async def test_what_happened_to_a_volume_is_told(plane: ControlPlane) -> None:
    await made(plane)
    plane.clock.move(60)
    await put(plane, {"size": 100})
    await put(plane, {"size": 100}, displayName="no news")
    read = sdk.Volume.from_dict((await plane.api.get("/v0/volumes/one")).json())
    assert [(event.status, event.type_, event.message) for event in read.events] == [
        ("DEPLOYED", "volume", "Created with 64 MB in region local"),
        ("DEPLOYED", "volume", "Grown from 64 MB to 100 MB"),
    ]
    assert read.events[0].time < read.events[1].time


async def test_what_has_a_volume_is_shown(plane: ControlPlane) -> None:
    await made(plane)
    assert "attachedTo" not in (await plane.api.get("/v0/volumes/one")).json()["state"]
    assert (await agent_with(plane, "one")).status_code == 200
    read = sdk.Volume.from_dict((await plane.api.get("/v0/volumes/one")).json())
    assert read.state.attached_to == "agent:user"
    (listed,) = (await plane.api.get("/v0/volumes")).json()["data"]
    assert listed["state"] == {"attachedTo": "agent:user"}


async def test_a_volume_that_goes_says_so(plane: ControlPlane) -> None:
    await made(plane)
    plane.clock.move(60)
    for _ in range(2):
        gone = await plane.api.delete("/v0/volumes/one")
        assert (gone.status_code, gone.json()["status"]) == (200, "DELETING")
        assert gone.json()["terminatedAt"] == gone.json()["metadata"]["updatedAt"]
        assert gone.json()["events"][-1]["message"] == "Deletion requested"
    assert (await put(plane, {"size": 100})).status_code == 409
    refused = await agent_with(plane, "one")
    assert (refused.status_code, refused.json()["error"]) == (409, "Conflict")
    again = await create(plane)
    assert (again.status_code, again.json()["error"]) == (409, "VOLUME_ALREADY_EXISTS")


async def test_a_volume_that_is_attached_cannot_be_deleted(plane: ControlPlane) -> None:
    await made(plane)
    assert (await agent_with(plane, "one")).status_code == 200
    answer = await plane.api.delete("/v0/volumes/one")
    assert (answer.status_code, answer.json()["error"]) == (409, "VOLUME_ALREADY_ATTACHED")
    assert "attached to agent 'user'" in answer.json()["message"] and answer.headers["x-should-retry"] == "false"
    assert (await plane.api.get("/v0/volumes/one")).json()["status"] == "DEPLOYED"


async def test_whether_a_volume_is_shared_is_settled_while_it_is_attached(plane: ControlPlane) -> None:
    await made(plane)
    assert (await put(plane, {}, labels={"homeport.dev/shared": "true"})).status_code == 200
    assert (await put(plane, {})).status_code == 200
    assert (await agent_with(plane, "one")).status_code == 200
    answer = await put(plane, {}, labels={"homeport.dev/shared": "true"})
    assert (answer.status_code, answer.json()["error"]) == (409, "VOLUME_ALREADY_ATTACHED")
    assert (await put(plane, {}, labels={"homeport.dev/shared": "false", "a": "b"})).status_code == 200


async def test_lists_are_short_and_found_by_the_callers_own_id(plane: ControlPlane) -> None:
    await made(plane, "one", externalId="mine", displayName="First", labels={"team": "blue"})
    plane.clock.move(1)
    await made(plane, "two", externalId="mine")
    plane.clock.move(1)
    await made(plane, "three")
    page = await plane.api.get("/v0/volumes", params={"externalId": "mine"})
    listed = sdk.VolumeList.from_dict(page.json())
    assert [one.metadata.name for one in listed.data] == ["two", "one"] and listed.meta.total == 3
    first = page.json()["data"][1]
    assert set(first) == {"metadata", "spec", "state", "status"} and first["status"] == "DEPLOYED"
    assert set(first["metadata"]) == {"name", "displayName", "externalId", "createdAt", "updatedAt"}
    assert first["spec"] == {"region": "local", "size": 64}
    for query, names in (
        ({"q": "blue"}, ["one"]),
        ({"q": "FIR"}, ["one"]),
        ({"status": "deployed"}, ["three", "two", "one"]),
        ({"status": "deleting"}, []),
        ({"anchor": "end", "limit": 1}, ["one"]),
    ):
        found = (await plane.api.get("/v0/volumes", params=query)).json()
        assert [one["metadata"]["name"] for one in found["data"]] == names, query
    cut = (await plane.api.get("/v0/volumes", params={"externalId": "mine", "limit": 1})).json()["meta"]["nextCursor"]
    assert (await plane.api.get("/v0/volumes", params={"cursor": cut, "limit": 1})).status_code == 400
    bare = await plane.api.get("/v0/volumes", headers={"Blaxel-Version": ""})
    assert [one["metadata"]["name"] for one in bare.json()] == ["three", "two", "one"]


async def test_the_newest_one_that_stays_answers_for_an_external_id(plane: ControlPlane) -> None:
    await made(plane, "one", externalId="mine")
    plane.clock.move(1)
    await made(plane, "two", externalId="mine")
    address = "/v0/volumes/by-external-id/mine"
    assert (await plane.api.get(address)).json()["metadata"]["name"] == "two"
    await plane.api.delete("/v0/volumes/two")
    assert (await plane.api.get(address)).json()["metadata"]["name"] == "one"
    answer = await plane.api.get("/v0/volumes/by-external-id/nobodys")
    assert (answer.status_code, answer.json()["error"]) == (404, "NotFound") and "'nobodys'" in answer.json()["message"]


async def test_another_workspace_sees_and_takes_nothing(plane: ControlPlane) -> None:
    await made(plane, externalId="mine")
    key = await plane.key(Role.ADMIN, workspace=AWAY)
    assert (await plane.send(key, "GET", "/v0/volumes")).json()["data"] == []
    for method, path in (("GET", "one"), ("DELETE", "one"), ("GET", "by-external-id/mine")):
        assert (await plane.send(key, method, f"/v0/volumes/{path}")).status_code == 404
    spec = {"region": "local", "volumes": [{"name": "one", "mountPath": "/data"}]}
    body = {"metadata": {"name": "thief"}, "spec": spec}
    taken = await plane.send(key, "POST", "/v0/agents", params=UPLOAD, json=body)
    assert taken.status_code == 400 and taken.json()["message"].startswith("spec.volumes[0].name: ")


async def test_what_an_operator_bounds_is_403_with_the_key_to_change(tmp_path: Any) -> None:
    async with running_control_plane(tmp_path / "data", BOUNDS) as plane:
        large = await create(plane, size=101)
        assert (large.status_code, large.json()["error"]) == (403, "Denied")
        assert "may have 100 MB at most (got 101)" in large.json()["message"]
        assert "volume_mb of [volumes]" in large.json()["message"]
        await made(plane, "one", 90)
        full = await create(plane, "two", 61)
        assert full.status_code == 403 and "150 MB at most in all; the others have 90 MB" in full.json()["message"]
        await made(plane, "two", 60)
        assert (await put(plane, {"size": 91})).status_code == 403
        assert (await plane.api.get("/v0/volumes/one")).json()["spec"]["size"] == 90
        mine = await plane.send(
            await plane.key(Role.ADMIN, workspace=AWAY), "POST", "/v0/volumes",
            json={"metadata": {"name": "theirs"}, "spec": {"size": 100}},
        )  # fmt: skip
        assert mine.status_code == 200, "a workspace's bound is its own"
        scratch = {"name": "s", "mountPath": "/s", "type": "ephemeral", "sizeMb": 51}
        body = {"metadata": {"name": "user"}, "spec": {"volumes": [scratch]}}
        for kind in ("agents", "jobs"):
            answer = await plane.api.post(f"/v0/{kind}", params=UPLOAD, json=body)
            assert answer.status_code == 403 and "ephemeral_mb of [volumes]" in answer.json()["message"]


async def test_where_volumes_are_off_none_is_created(tmp_path: Any) -> None:
    async with running_control_plane(tmp_path / "data", PLACE + "[volumes]\nenabled = false\n") as plane:
        answer = await create(plane)
        assert (answer.status_code, answer.json()["error"]) == (403, "Denied")
        assert "Volumes are off in this installation" in answer.json()["message"]


async def test_a_volume_is_where_its_alias_says_and_stays_there(tmp_path: Any) -> None:
    async with running_control_plane(tmp_path / "data", BOUNDS) as plane:
        body = {"metadata": {"name": "one"}, "spec": {"size": 10, "region": "us-pdx-1"}}
        assert (await plane.api.post("/v0/volumes", json=body)).json()["spec"]["region"] == "us-pdx-1"
        place = await plane.context.store.read(
            lambda tx: tx.volumes.of([tx.resources.get(HOME, Kind.VOLUME, "one").uid])  # type: ignore[union-attr]
        )
        assert [one.region for one in place.values()] == ["local"]
        assert (await put(plane, {"region": "local"})).status_code == 200
        assert (await agent_with(plane, "one")).status_code == 200


async def test_a_full_disk_takes_no_volume(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    await made(plane)

    def full() -> None:
        raise DiskFull("The disk is full.")

    monkeypatch.setattr(type(plane.context.space), "require", lambda _: full())
    for answer in (await create(plane, "two"), await put(plane, {"size": 100})):
        assert (answer.status_code, answer.json()["error"]) == (503, "DiskFull")
    assert (await put(plane, {}, labels={"a": "b"})).status_code == 200
    assert (await plane.api.delete("/v0/volumes/one")).status_code == 200
