"""Policies over the API: the contract's own example, what acts of it, who uses it, what is left of one that is gone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from homeport.core.ids import Kind
from homeport.identity.principals import Role
from homeport.store.resources import SqlResources
from homeport.testing.control_plane import ControlPlane, running_control_plane

# The contract's example: a policy of type location that fills every part.
EXAMPLE: dict[str, Any] = {
    "flavors": [{"name": "t4", "type": "cpu"}],
    "locations": [{"name": "EU", "type": "continent"}],
    "maxTokens": {
        "granularity": "minute",
        "input": 10000,
        "output": 5000,
        "ratioInputOverOutput": 2,
        "step": 1,
        "total": 15000,
    },
    "resourceTypes": ["model"],
    "sandbox": False,
    "type": "location",
}
METADATA = {"name": "my-resource", "displayName": "My Resource", "labels": {}}
FRANCE = {"type": "location", "locations": [{"type": "country", "name": "FR"}]}
GERMANY = {"type": "location", "locations": [{"type": "country", "name": "de"}]}


async def make(plane: ControlPlane, name: str, spec: dict[str, Any]) -> httpx.Response:
    return await plane.api.post("/v0/policies", json={"metadata": {"name": name}, "spec": spec})


async def deploy(plane: ControlPlane, kind: str, name: str, *policies: str) -> httpx.Response:
    body = {"metadata": {"name": name}, "spec": {"policies": list(policies)}}
    return await plane.api.post(f"/v0/{kind}", params={"upload": "true"}, json=body)


async def test_the_contracts_example_is_stored_and_returned_whole(plane: ControlPlane) -> None:
    made = await plane.api.post("/v0/policies", json={"metadata": METADATA, "spec": EXAMPLE})
    assert made.status_code == 200, made.text
    assert made.json()["spec"] == EXAMPLE
    read = await plane.api.get("/v0/policies/my-resource")
    assert (read.json()["spec"], read.json()["metadata"]["displayName"]) == (EXAMPLE, "My Resource")


async def test_only_the_part_that_the_type_names_acts(plane: ControlPlane) -> None:
    everywhere = {**EXAMPLE, "resourceTypes": []}
    assert (await make(plane, "place", everywhere)).status_code == 200
    # The flavors ask for t4, which this machine does not have; of type location, the policy looks at places only.
    assert (await deploy(plane, "agents", "one", "place")).status_code == 200
    assert (await make(plane, "hardware", {**everywhere, "type": "flavor"})).status_code == 200
    refused = await deploy(plane, "agents", "two", "hardware")
    assert (refused.status_code, "flavor t4/cpu" in refused.json()["message"]) == (403, True)
    assert (await make(plane, "tokens", {**everywhere, "type": "maxToken"})).status_code == 200
    assert (await deploy(plane, "agents", "two", "tokens")).status_code == 200


@pytest.mark.parametrize(
    ("kind", "part"), [("location", "locations"), ("flavor", "flavors"), ("maxToken", "maxTokens")]
)
async def test_the_part_that_acts_must_not_be_empty(plane: ControlPlane, kind: str, part: str) -> None:
    empty: Any = {} if part == "maxTokens" else []
    for value in (empty, None):
        refused = await make(plane, "bad", {**EXAMPLE, "type": kind, part: value})
        assert refused.status_code == 400
        assert refused.json()["message"].startswith(f"spec.{part}: must not be empty when spec.type is {kind}")
    assert (await plane.api.get("/v0/policies/bad")).status_code == 404


async def test_an_attached_policy_that_is_gone_refuses_and_says_who_deleted_it_and_when(plane: ControlPlane) -> None:
    await make(plane, "here", GERMANY)
    await plane.make_job("bound", {"policies": ["here"]})
    assert (await deploy(plane, "agents", "bound", "here")).status_code == 200
    plane.clock.move(60)
    key = await plane.key(Role.ADMIN)
    assert (await plane.send(key, "DELETE", "/v0/policies/here")).status_code == 200
    refused = [
        await plane.api.post("/v0/jobs/bound/executions", json={}),
        await deploy(plane, "agents", "new", "here"),
        await plane.api.put("/v0/agents/bound", json={"metadata": {"name": "bound"}, "spec": {"policies": ["here"]}}),
    ]
    for answer in refused:
        assert answer.status_code == 403
        message = answer.json()["message"]
        assert message.startswith('Policy "here" (deleted by the admin (sa')
        assert "on 2026-" in message and message.endswith("Create it or take it out of spec.policies.")
    assert "deleted by" not in (await deploy(plane, "agents", "new", "never-was")).json()["message"]
    # A new policy of that name acts, and its predecessor is forgotten.
    await make(plane, "here", GERMANY)
    assert (await plane.api.post("/v0/jobs/bound/executions", json={})).status_code == 200


async def test_a_refusal_prints_the_line_that_the_operator_has_not_said(tmp_path: Any) -> None:
    async with running_control_plane(tmp_path / "data", "") as plane:
        await make(plane, "eu", {"type": "location", "locations": [{"type": "continent", "name": "eu"}]})
        refused = await deploy(plane, "agents", "one", "eu")
        assert refused.status_code == 403
        assert (
            'add to DATA/config.toml and start Homeport again:\n[regions.local]\ncontinent = "EU"'
            in refused.json()["message"]
        )


async def test_the_list_counts_the_users_of_each_policy_of_its_page(plane: ControlPlane) -> None:
    for number in range(5):
        await make(plane, f"p-{number}", GERMANY)
    for number in range(3):
        assert (await deploy(plane, "agents", f"a-{number}", "p-0", "p-3")).status_code == 200
    assert (await deploy(plane, "jobs", "j", "p-3")).status_code == 200
    counted: dict[str, dict[str, int]] = {}
    cursor = ""
    while True:
        query = {"limit": "2", "sort": "name:asc", **({"cursor": cursor} if cursor else {})}
        page = (await plane.api.get("/v0/policies", params=query)).json()
        counted |= {policy["metadata"]["name"]: policy["usage"] for policy in page["data"]}
        if not (cursor := page["meta"]["nextCursor"]):
            break
    nobody = {"agents": 0, "functions": 0, "jobs": 0, "models": 0, "sandboxes": 0}
    assert counted == {
        "p-0": {**nobody, "agents": 3},
        "p-1": nobody,
        "p-2": nobody,
        "p-3": {**nobody, "agents": 3, "jobs": 1},
        "p-4": nobody,
    }
    old = (await plane.api.get("/v0/policies", headers={"Blaxel-Version": "2026-04-16"})).json()
    assert {policy["metadata"]["name"]: policy["usage"] for policy in old} == counted


async def test_the_counts_read_no_workload(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(plane, "here", GERMANY)
    await deploy(plane, "agents", "one", "here")
    monkeypatch.setattr(SqlResources, "using_policy", lambda *_: pytest.fail("workloads were read"))
    asked: list[list[str]] = []
    count = SqlResources.count_policy_users

    def counted(self: SqlResources, workspace: str, policies: Sequence[str]) -> dict[str, dict[Kind, int]]:
        asked.append([*policies])
        return count(self, workspace, policies)

    monkeypatch.setattr(SqlResources, "count_policy_users", counted)
    await make(plane, "later", GERMANY)
    listed = (await plane.api.get("/v0/policies", params={"limit": "1", "sort": "name:asc"})).json()["data"]
    assert listed[0]["usage"]["agents"] == 1
    assert asked == [["here"]]


async def test_a_stored_policy_that_this_version_cannot_use_refuses(plane: ControlPlane) -> None:
    await make(plane, "odd", GERMANY)

    def spoil(tx: Any) -> None:
        stored = tx.resources.get("home", Kind.POLICY, "odd")
        twice = [{"type": "country", "name": "DE"}] * 2
        tx.resources.replace(replace(stored, spec={"type": "location", "locations": twice}), stored.generation)

    await plane.context.store.write(spoil)
    refused = await deploy(plane, "agents", "one", "odd")
    assert (refused.status_code, '"odd" cannot be used' in refused.json()["message"]) == (403, True)
