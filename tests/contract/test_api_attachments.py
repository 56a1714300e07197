"""Attaching volumes to agents: where they must be, who has them, and until when."""

from dataclasses import replace
from typing import Any

from httpx import Response

from homeport.core.ids import Kind, ReplicaId
from homeport.core.service import Wakeup
from homeport.reconcile.volumes import Volumes
from homeport.store.contract import Transaction
from homeport.testing.control_plane import HOME, PLACE, ControlPlane, running_control_plane
from homeport.testing.factories import make_replica
from homeport.testing.scripted_driver import ScriptedDriver
from homeport.workloads.states import ReplicaState, RevisionState

UPLOAD = {"upload": "true"}
TWO_REGIONS = PLACE + 'aliases = ["here"]\n[regions.engines]\ndriver = "docker"\nengine = "unix:///run/none.sock"\n'
SHARED = {"homeport.dev/shared": "true"}


async def volume(plane: ControlPlane, name: str = "data", **more: Any) -> None:
    body = {"metadata": {"name": name, "labels": more.pop("labels", {})}, "spec": {"size": 10, **more}}
    answer = await plane.api.post("/v0/volumes", json=body)
    assert answer.status_code == 200, answer.text


async def deploy(plane: ControlPlane, name: str, *volumes: str, region: Any = "local", **more: Any) -> Response:
    """The answer to an order of an agent with these volumes."""
    mounted = [{"name": one, "mountPath": f"/{one}", **more.pop("mount", {})} for one in volumes]
    body = {"metadata": {"name": name}, "spec": {"region": region, "volumes": mounted, **more}}
    answer = await plane.api.put(f"/v0/agents/{name}", params=UPLOAD, json=body)
    if answer.status_code == 404:
        answer = await plane.api.post("/v0/agents", params=UPLOAD, json=body)
    return answer


async def holder(plane: ControlPlane, name: str = "data") -> str | None:
    found: str | None = (await plane.api.get(f"/v0/volumes/{name}")).json()["state"].get("attachedTo")
    return found


async def look(plane: ControlPlane, driver: ScriptedDriver | None = None) -> None:
    """A pass of the loop."""
    drivers = {"local": driver or ScriptedDriver()}
    await Volumes(plane.context.store, plane.clock, drivers, Wakeup()).look()


async def test_a_volume_that_does_not_exist_is_named(plane: ControlPlane) -> None:
    answer = await deploy(plane, "one", "nothing")
    assert answer.status_code == 400 and answer.json()["error"] == "Invalid"
    message = answer.json()["message"]
    assert message.startswith("spec.volumes[0].name: must be a volume of this workspace (got 'nothing')")
    assert "Create it first" in message
    assert (await plane.api.get("/v0/agents/one")).status_code == 404


async def test_an_agent_must_be_where_its_volumes_are(tmp_path: Any) -> None:
    async with running_control_plane(tmp_path / "data", TWO_REGIONS) as plane:
        plane.context.drivers["docker.engines"] = ScriptedDriver()  # type: ignore[index]
        await volume(plane, region="engines")
        none = await deploy(plane, "one", "data", region=None)
        assert none.status_code == 400 and none.json()["message"].startswith("spec.region: must be given with volumes")
        other = await deploy(plane, "one", "data", region="here")
        assert other.status_code == 400
        assert "'data' is in 'engines', and this would run in 'local'" in other.json()["message"]
        assert await holder(plane) is None


async def test_a_volume_has_one_workload_at_a_time(plane: ControlPlane) -> None:
    await volume(plane)
    assert (await deploy(plane, "one", "data")).status_code == 200
    taken = await deploy(plane, "two", "data")
    assert (taken.status_code, taken.json()["error"]) == (409, "VOLUME_ALREADY_ATTACHED")
    assert "spec.volumes[0].name: the volume 'data' is attached to agent 'one'" in taken.json()["message"]
    assert (await plane.api.get("/v0/agents/two")).status_code == 404
    assert (await deploy(plane, "one", "data")).status_code == 200, "its own it may have again"
    assert await holder(plane) == "agent:one"


async def test_all_volumes_of_an_order_are_attached_or_none(plane: ControlPlane) -> None:
    await volume(plane, "free")
    await volume(plane, "taken")
    assert (await deploy(plane, "one", "taken")).status_code == 200
    assert (await deploy(plane, "two", "free", "taken")).status_code == 409
    assert await holder(plane, "free") is None


async def test_a_volume_is_free_once_no_running_revision_has_it(plane: ControlPlane) -> None:
    await volume(plane)
    await deploy(plane, "one", "data")
    first = await plane.serve(Kind.AGENT, "one")
    assert (await deploy(plane, "one")).status_code == 200  # without it, and the old one serves until then
    assert await holder(plane) == "agent:one"
    assert (await deploy(plane, "two", "data")).status_code == 409

    def supersede(tx: Transaction) -> None:
        stored = tx.revisions.get(first.id)
        assert stored is not None
        assert tx.revisions.replace_if_state(replace(stored, state=RevisionState.SUPERSEDED), stored.state)
        tx.replicas.insert(make_replica(first, id=ReplicaId("rep-1"), state=ReplicaState.DRAINING))

    await plane.context.store.write(supersede)
    assert await holder(plane) == "agent:one", "a replica of it is left"
    await plane.context.store.write(lambda tx: tx.replicas.delete(ReplicaId("rep-1")))
    assert await holder(plane) is None
    assert (await deploy(plane, "two", "data")).status_code == 200
    assert await holder(plane) == "agent:two"


async def test_the_loop_writes_down_that_a_volume_is_free(plane: ControlPlane) -> None:
    await volume(plane)
    await deploy(plane, "one", "data")
    await look(plane)
    assert await holder(plane) == "agent:one"
    assert (await deploy(plane, "one")).status_code == 200
    await plane.context.store.write(_forget_older_revisions)
    await look(plane)
    events = (await plane.api.get("/v0/volumes/data")).json()["events"]
    assert [event["reason"] for event in events] == ["Created", "Attached", "Freed"]
    assert await plane.context.store.read(lambda tx: tx.volumes.attached()) == []


async def test_the_loop_removes_the_content_before_the_record(plane: ControlPlane) -> None:
    await volume(plane)
    uid = await plane.context.store.read(lambda tx: tx.resources.get(HOME, Kind.VOLUME, "data").uid)  # type: ignore[union-attr]
    assert (await plane.api.delete("/v0/volumes/data")).status_code == 200
    driver = ScriptedDriver()
    driver.available = False
    await look(plane, driver)
    assert (await plane.api.get("/v0/volumes/data")).json()["status"] == "DELETING", "the driver is away"
    driver.available = True
    for _ in range(2):
        await look(plane, driver)
    assert driver.discarded == [uid]
    assert (await plane.api.get("/v0/volumes/data")).status_code == 404


async def test_a_volume_to_which_is_written_has_one_replica(plane: ControlPlane) -> None:
    await volume(plane)
    for key in ("minScale", "maxScale"):
        answer = await deploy(plane, "one", "data", runtime={key: 2})
        assert answer.status_code == 400
        message = answer.json()["message"]
        assert message.startswith(f"spec.runtime.{key}: must not exceed 1 with a volume that is written to")
        assert "'data'" in message and "homeport.dev/shared" in message
    scale = {"minScale": 2, "maxScale": 3}
    assert (await deploy(plane, "one", "data", runtime=scale, mount={"readOnly": True})).status_code == 200
    await volume(plane, "common", labels=SHARED)
    assert (await deploy(plane, "two", "common", runtime=scale)).status_code == 200
    assert (await deploy(plane, "three", runtime=scale)).status_code == 200


async def test_a_job_takes_only_what_begins_empty(plane: ControlPlane) -> None:
    await volume(plane)
    for mounted in ({"type": "persistent"}, {}):
        body = {"region": "local", "volumes": [{"name": "data", "mountPath": "/d", "sizeMb": 1, **mounted}]}
        answer = await plane.api.post(
            "/v0/jobs", params=UPLOAD, json={"metadata": {"name": "sums"}, "spec": body}
        )  # fmt: skip
        assert answer.status_code == 400 and answer.json()["message"].startswith("spec.volumes[0].type: ")
    scratch = {"name": "s", "mountPath": "/", "type": "ephemeral", "sizeMb": 100}
    await plane.make_job("sums", {"volumes": [scratch]})
    assert (await plane.api.get("/v0/jobs/sums")).json()["spec"]["volumes"] == [scratch]


def _forget_older_revisions(tx: Transaction) -> None:
    agent = tx.resources.get(HOME, Kind.AGENT, "one")
    assert agent is not None
    for revision in tx.revisions.of(agent.uid)[1:]:
        tx.revisions.delete(revision.id)
