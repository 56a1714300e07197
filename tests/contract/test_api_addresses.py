"""What an order says of addresses: triggers, paths with one owner each, stickiness; and what is refused of it."""

from typing import Any

import pytest
from httpx import Response

from homeport.identity.principals import Role
from homeport.store.contract import Transaction
from homeport.testing.control_plane import AWAY, ControlPlane
from homeport.testing.factories import make_workspace

UPLOAD = {"upload": "true"}
Spec = dict[str, Any]


def http(path: str | None = None, **more: Any) -> Spec:
    settings = {key: more.pop(key) for key in ("authenticationType", "retry", "timeout") if key in more}
    return {"type": "http", "configuration": {**({"path": path} if path else {}), **settings}, **more}


async def create(plane: ControlPlane, name: str, *triggers: Spec, **more: Any) -> Response:
    body = {"metadata": {"name": name, **more.pop("metadata", {})}, "spec": {"triggers": [*triggers], **more}}
    return await plane.api.post("/v0/agents", params=UPLOAD, json=body)


async def update(plane: ControlPlane, name: str, *triggers: Spec) -> Response:
    body = {"metadata": {"name": name}, "spec": {"triggers": [*triggers]}}
    return await plane.api.put(f"/v0/agents/{name}", params=UPLOAD, json=body)


def refused(answer: Response, field: str) -> str:
    assert answer.status_code == 400, answer.text
    message = str(answer.json()["message"])
    assert field in message, message
    return message


@pytest.mark.parametrize(
    "path", ["webhook", "/webhook", "/webhook/", "hooks/a/b.c~d_e-f", "agents/one/async", "agents/one"]
)
async def test_a_path_is_taken_with_and_without_slashes_at_its_ends(plane: ControlPlane, path: str) -> None:
    answer = await create(plane, "one", http(path))
    assert answer.status_code == 200, answer.text
    assert answer.json()["spec"]["triggers"][0]["configuration"]["path"] == path


@pytest.mark.parametrize(
    "path",
    [
        *("a b", "a//b", "a/../b", "a/./b", "a?b=c", "a#b", "a%2fb", "é", "x" * 201, "/../v0"),
        *("agents", "agents/other", "agents/other/x", "agents/one-more", "functions/one", "jobs/x", "models/x"),
        *("sandboxes/x", "applications/x"),
    ],
)
async def test_a_path_of_another_form_or_under_a_reserved_name_is_refused(plane: ControlPlane, path: str) -> None:
    message = refused(await create(plane, "one", http("fine"), http(path)), "spec.triggers[1].configuration.path")
    assert "must" in message
    assert (await plane.api.get("/v0/agents/one")).status_code == 404


@pytest.mark.parametrize(
    ("trigger", "field"),
    [
        (http("a", authenticationType="open"), "configuration.authenticationType"),
        (http("a", retry=-1), "configuration.retry"),
        (http("a", retry=101), "configuration.retry"),
        (http("a", timeout=0), "configuration.timeout"),
        (http("a", timeout=901), "configuration.timeout"),
        (http("a", timeout="16m"), "configuration.timeout"),
        (http("a", timeout="soon"), "configuration.timeout"),
        (http("a", id="two words"), "id"),
        (http("a", id="x" * 64), "id"),
        (http("a", type="grpc"), "type"),
        (http("a", enabled="yes"), "enabled"),
    ],
)
async def test_a_bad_setting_of_a_trigger_is_refused_by_its_field(
    plane: ControlPlane, trigger: Spec, field: str
) -> None:
    refused(await create(plane, "one", trigger), f"triggers[0].{field}")


async def test_settings_of_a_trigger_are_kept_as_they_were_sent(plane: ControlPlane) -> None:
    sent = http("a", authenticationType="blaxel", retry=5, timeout="15m", id="mine", enabled=True)
    answer = await create(plane, "one", sent)
    assert answer.status_code == 200 and answer.json()["spec"]["triggers"] == [sent]


async def test_a_configuration_that_a_manifest_writes_as_a_list_of_one_is_that_one(plane: ControlPlane) -> None:
    trigger = {"type": "http", "configuration": [{"path": "a"}]}
    answer = await create(plane, "one", trigger)
    assert answer.json()["spec"]["triggers"] == [{"id": "http-1", "type": "http", "configuration": {"path": "a"}}]


async def test_ids_are_made_are_unique_and_stay_the_same(plane: ControlPlane) -> None:
    triggers = [http("a"), http("b", id="http-1"), http("c", id="mine"), http("d", id="mine")]
    for answer in (await create(plane, "one", *triggers), await update(plane, "one", *triggers)):
        ids = [trigger["id"] for trigger in answer.json()["spec"]["triggers"]]
        assert ids == ["http-2", "http-1", "mine", "mine-2"]
    again = answer.json()["spec"]["triggers"]
    assert (await update(plane, "one", *again)).json()["spec"]["triggers"] == again


async def test_a_path_has_one_owner_and_a_second_is_told_whose_it_is(plane: ControlPlane) -> None:
    assert (await create(plane, "one", http("/hooks/a"), http("off", enabled=False))).status_code == 200
    for path in ("hooks/a", "hooks/a/b", "hooks", "off"):
        answer = await create(plane, "two", http(path))
        assert answer.status_code == 409, path
        assert "'one'" in answer.text and "spec.triggers[0].configuration.path" in answer.text
        assert (await plane.api.get("/v0/agents/two")).status_code == 404
    assert (await create(plane, "two", http("hooks/b"), http("hooks/ab"))).status_code == 200
    assert (await update(plane, "two", http("hooks/a"))).status_code == 409
    assert (await update(plane, "one", http("/hooks/a/"))).status_code == 200  # its own
    assert (await update(plane, "one")).status_code == 200
    assert (await update(plane, "two", http("hooks/a"))).status_code == 200  # free since


async def test_two_triggers_of_one_agent_do_not_share_a_path(plane: ControlPlane) -> None:
    refused(await create(plane, "one", http("a"), http("/a/")), "spec.triggers[1].configuration.path")


async def test_other_workspaces_have_paths_of_their_own(plane: ControlPlane) -> None:
    assert (await create(plane, "one", http("hook"))).status_code == 200
    key = await plane.key(Role.ADMIN, workspace=AWAY)
    body = {"metadata": {"name": "two"}, "spec": {"triggers": [http("hook")]}}
    assert (await plane.send(key, "POST", "/v0/agents", params=UPLOAD, json=body)).status_code == 200


@pytest.mark.parametrize("ttl", [-1, 30 * 24 * 3600 + 1, "60", True])
async def test_a_bad_time_of_stickiness_is_refused(plane: ControlPlane, ttl: Any) -> None:
    refused(await create(plane, "one", revision={"stickySessionTtl": ttl}), "stickySessionTtl")


async def test_affinity_is_asked_for_by_a_label_with_one_value(plane: ControlPlane) -> None:
    wrong = {"labels": {"homeport.dev/affinity": "replcia"}}
    refused(await create(plane, "one", metadata=wrong), "metadata.labels.homeport.dev/affinity")
    right = {"labels": {"homeport.dev/affinity": "replica"}}
    assert (await create(plane, "one", metadata=right)).status_code == 200


async def test_every_address_is_told_with_who_may_call_it(plane: ControlPlane) -> None:
    later = {"id": "later", "type": "http-async", "configuration": {"path": "agents/one/later"}}
    await create(plane, "one", http("hook", authenticationType="public"), http("off", enabled=False), later)
    answer = await plane.api.get("/v0/homeport/addresses/agents/one")
    base = "http://127.0.0.1:8080/home"
    assert answer.json()["data"] == [
        {"url": f"{base}/agents/one", "public": False, "asynchronous": False},
        {"url": "http://agt-one-home.localhost:8080", "public": False, "asynchronous": False},
        {"url": f"{base}/agents/one/later", "public": False, "asynchronous": True, "trigger": "later"},
        {"url": f"{base}/hook", "public": True, "asynchronous": False, "trigger": "http-1"},
    ]
    assert "note" not in answer.json()
    assert (await plane.api.get("/v0/homeport/addresses/agents/none")).status_code == 404


async def test_an_agent_without_a_host_name_is_told_why(plane: ControlPlane) -> None:
    def add(tx: Transaction) -> None:
        tx.identities.add_workspace(make_workspace("my-home"))

    await plane.context.store.write(add)
    answer = await create(plane, "one-my")
    (event,) = [one for one in answer.json()["events"] if one["reason"] == "NoHostName"]
    assert "could also mean a workload of another workspace" in event["message"]
    told = (await plane.api.get("/v0/homeport/addresses/agents/one-my")).json()
    assert len(told["data"]) == 1 and told["note"] == event["message"]
