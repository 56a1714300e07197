"""Explanations show every step; a dry run says what a change of a policy would do, and changes nothing."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from homeport.identity.principals import Role
from homeport.testing.control_plane import PLACE, ControlPlane, running_control_plane

HERE = {"type": "location", "locations": [{"type": "country", "name": "DE"}]}
FRANCE = {"type": "location", "locations": [{"type": "country", "name": "fr"}]}
DRY_RUN = "/v0/homeport/policies/dry-run"


async def make(plane: ControlPlane, name: str, spec: dict[str, Any]) -> None:
    answer = await plane.api.post("/v0/policies", json={"metadata": {"name": name}, "spec": spec})
    assert answer.status_code == 200, answer.text


async def deploy(plane: ControlPlane, kind: str, name: str, *policies: str, **spec: Any) -> httpx.Response:
    body = {"metadata": {"name": name}, "spec": {"policies": list(policies), **spec}}
    return await plane.api.post(f"/v0/{kind}", params={"upload": "true"}, json=body)


async def explain(plane: ControlPlane, kind: str, name: str) -> dict[str, Any]:
    answer = await plane.api.get(f"/v0/homeport/explain/{kind}/{name}")
    assert answer.status_code == 200, answer.text
    explained: dict[str, Any] = answer.json()
    return explained


def sentences(explained: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(step["subject"], step["verdict"], step["sentence"]) for step in explained["steps"]]


async def dry_run(plane: ControlPlane, **body: Any) -> dict[str, Any]:
    answer = await plane.api.post(DRY_RUN, json=body)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


async def test_every_step_of_a_decision_is_shown(tmp_path: Path) -> None:
    said = f'{PLACE}location = "Berlin"\naliases = ["us-pdx-1"]\n'
    async with running_control_plane(tmp_path / "data", said) as plane:
        await make(plane, "here", {**HERE, "flavors": [{"name": "t4", "type": "gpu"}], "resourceTypes": ["agent"]})
        await make(plane, "models", {**FRANCE, "resourceTypes": ["model"]})
        await make(plane, "tokens", {"type": "maxToken", "maxTokens": {"granularity": "day", "total": 9}})
        wanted = {"region": "us-pdx-1", "flavors": [{"name": "x86", "type": "cpu"}]}
        assert (await deploy(plane, "agents", "one", "here", "models", "tokens", **wanted)).status_code == 200
        explained = await explain(plane, "agent", "one")
        assert sentences(explained) == [
            (
                "policy here",
                "limits",
                'Policy "here" allows only country DE. Its spec.flavors is kept without effect.',
            ),
            (
                "policy models",
                "ignored",
                'Policy "models" is ignored: it acts on model, and this is a workload of kind agent.',
            ),
            (
                "policy tokens",
                "limits",
                'Policy "tokens" allows only 9 total tokens every day. Nothing spends tokens in this version, '
                "which has no model gateway: the limit is kept, not enforced.",
            ),
            (
                "region local",
                "states",
                "The operator says of region local: country DE, continent EU, location Berlin. "
                "Its aliases us-pdx-1 are only names: no policy looks at them.",
            ),
            ("region local", "allows", "Region local is country DE: allowed."),
            ("region local", "allows", "In region local, flavor x86/cpu is allowed (no flavor policy)."),
            ("spec.region", "limits", "The workload asks for region us-pdx-1, an alias of region local."),
            ("spec.flavors", "limits", "The workload asks for flavor x86/cpu."),
            ("placement", "allows", "Placed in region local on flavor x86/cpu: it is pinned there."),
        ]
        assert (explained["outcome"], explained["plan"]) == ("allowed", {"region": "local", "flavor": "x86/cpu"})
        newest = explained["newestRevision"]
        assert (newest["region"], newest["flavor"], newest["state"], newest["allowed"]) == (
            "local",
            "x86/cpu",
            "uploading",
            True,
        )


async def test_a_placement_that_is_no_longer_allowed_is_shown(plane: ControlPlane) -> None:
    await make(plane, "moving", HERE)
    await deploy(plane, "agents", "one", "moving")
    await plane.api.put("/v0/policies/moving", json={"metadata": {"name": "moving"}, "spec": FRANCE})
    explained = await explain(plane, "agents", "one")
    assert (explained["outcome"], explained["newestRevision"]["allowed"]) == ("refused", False)
    assert explained["refusal"]["policies"] == ["moving"]


async def test_a_pin_to_a_region_that_is_gone_is_explained_not_an_error(tmp_path: Path) -> None:
    async with running_control_plane(tmp_path / "data", f'{PLACE}aliases = ["us-pdx-1"]\n') as plane:
        assert (await deploy(plane, "agents", "one", region="us-pdx-1")).status_code == 200
    async with running_control_plane(tmp_path / "data", PLACE) as plane:
        explained = await explain(plane, "agent", "one")
        assert explained["outcome"] == "refused"
        last = explained["steps"][-1]
        assert (last["subject"], last["hint"].endswith('aliases = ["us-pdx-1"]')) == ("spec.region", True)


async def test_a_policy_explains_what_acts_and_whom_it_binds(plane: ControlPlane) -> None:
    await make(plane, "here", {**HERE, "maxTokens": {"granularity": "day", "total": 1}, "resourceTypes": ["agent"]})
    await make(plane, "abroad", FRANCE)
    await deploy(plane, "agents", "a", "here")
    await deploy(plane, "jobs", "j", "here")
    body = {"metadata": {"name": "other"}, "spec": HERE}
    await plane.api.post("/v0/policies", json=body)
    await deploy(plane, "agents", "b", "here", "other")
    await plane.api.put("/v0/policies/other", json={**body, "spec": {"type": "flavor", "flavors": [{"name": "t4"}]}})
    explained = await explain(plane, "policy", "here")
    shown = [sentence for _, _, sentence in sentences(explained)]
    assert shown[:3] == [
        "It is of type location: it allows only country DE.",
        "It acts on the workloads that name it, of job, agent.",
        "Its spec.maxTokens is kept without effect.",
    ]
    assert "Region local is country DE: allowed." in shown
    users = {(user["kind"], user["name"]): user["outcome"] for user in explained["users"]}
    assert users == {("agent", "a"): "allowed", ("agent", "b"): "refused", ("job", "j"): "allowed"}
    assert (explained["usersTotal"], explained["outcome"]) == (3, "refused")
    unused = await explain(plane, "policies", "abroad")
    assert (unused["users"], unused["usersTotal"], unused["outcome"]) == ([], 0, "allowed")


async def test_token_limits_are_said_not_to_be_enforced(plane: ControlPlane) -> None:
    await make(plane, "tokens", {"type": "maxToken", "maxTokens": {"granularity": "hour", "step": 2, "input": 5}})
    shown = [sentence for _, _, sentence in sentences(await explain(plane, "policy", "tokens"))]
    assert "It is of type maxToken: it allows only 5 input tokens every 2 hours." in shown
    assert any("kept, not enforced" in sentence for sentence in shown)


async def test_a_policy_that_is_gone_says_so(plane: ControlPlane) -> None:
    await make(plane, "here", HERE)
    await plane.api.delete("/v0/policies/here")
    answer = await plane.api.get("/v0/homeport/explain/policy/here")
    assert answer.status_code == 404
    assert "deleted it on 2026-" in answer.json()["message"]


async def test_a_dry_run_says_which_workloads_a_change_would_refuse_and_stores_nothing(plane: ControlPlane) -> None:
    await make(plane, "place", HERE)
    for number in range(3):
        await deploy(plane, "agents", f"a-{number}", "place")
    await deploy(plane, "jobs", "j", "place")
    await deploy(plane, "agents", "free")
    result = await dry_run(plane, metadata={"name": "place"}, spec=FRANCE)
    assert (result["change"], result["outcome"]) == ("update", "refuses")
    assert [(one["kind"], one["name"]) for one in result["refused"]] == [
        ("agent", "a-0"),
        ("agent", "a-1"),
        ("agent", "a-2"),
        ("job", "j"),
    ]
    assert (result["refusedTotal"], result["allowedTotal"], result["unaffected"]) == (4, 0, 0)
    assert 'Policy "place" allows only country FR' in result["refused"][0]["sentence"]
    assert result["refused"][0]["hint"].startswith('Change policy "place"')
    # A change that allows more affects nobody.
    wider = {"type": "location", "locations": [*HERE["locations"], *FRANCE["locations"]]}
    result = await dry_run(plane, metadata={"name": "place"}, spec=wider)
    assert (result["outcome"], result["unaffected"], result["refused"]) == ("safe", 4, [])
    # Deleting it does not open: what names it is refused.
    result = await dry_run(plane, name="place", delete=True)
    assert (result["change"], result["refusedTotal"]) == ("delete", 4)
    assert (await plane.api.get("/v0/policies/place")).json()["spec"] == HERE
    assert (await deploy(plane, "agents", "more", "place")).status_code == 200


async def test_a_dry_run_says_what_would_be_allowed_again(plane: ControlPlane) -> None:
    await make(plane, "place", HERE)
    await deploy(plane, "agents", "a", "place")
    await plane.api.delete("/v0/policies/place")
    result = await dry_run(plane, metadata={"name": "place"}, spec=HERE)
    assert (result["change"], result["outcome"], result["allowedTotal"]) == ("create", "safe", 1)
    assert result["allowed"][0]["sentence"].startswith('Refused now: Policy "place" (deleted by')
    result = await dry_run(plane, metadata={"name": "place"}, spec=FRANCE)
    assert (result["allowedTotal"], result["unaffected"], result["refusedAnyway"]) == (0, 1, 1)


async def test_a_new_policy_is_tried_on_all_as_if_attached(plane: ControlPlane) -> None:
    await make(plane, "place", HERE)
    await deploy(plane, "agents", "a", "place")
    await deploy(plane, "agents", "b")
    await deploy(plane, "jobs", "j")
    new = {"type": "location", "locations": FRANCE["locations"], "resourceTypes": ["agent"]}
    alone = await dry_run(plane, metadata={"name": "new"}, spec=new)
    assert (alone["change"], alone["unaffected"], alone["refusedTotal"]) == ("create", 0, 0)
    result = await dry_run(plane, metadata={"name": "new"}, spec=new, attach=True)
    # With the policy that it has, `a` may run in either country: policies of one type are united.
    assert [one["name"] for one in result["refused"]] == ["b", "j"]
    assert result["unaffected"] == 1


async def test_a_change_that_moves_workloads_says_where_to(tmp_path: Path) -> None:
    said = '[regions.local]\nflavors = ["x86/cpu", "t4/gpu"]\n'
    async with running_control_plane(tmp_path / "data", said) as plane:
        await make(plane, "hardware", {"type": "flavor", "flavors": [{"name": "x86"}]})
        await deploy(plane, "agents", "a", "hardware")
        gpu = {"type": "flavor", "flavors": [{"type": "gpu"}]}
        result = await dry_run(plane, metadata={"name": "hardware"}, spec=gpu)
        (moved,) = result["moved"]
        assert moved["sentence"] == "Would be placed in region local on t4/gpu, not in region local on x86/cpu."
        assert result["outcome"] == "safe"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "metadata: is required, or name"),
        ({"metadata": {"name": "p"}}, "spec: is required unless delete is true"),
        ({"name": "UPPER", "delete": True}, "name:"),
        ({"metadata": {"name": "p"}, "name": "q", "spec": HERE}, "name: must be metadata.name"),
        ({"name": "p", "delete": True, "attach": True}, "attach: must not be true"),
        ({"name": "p", "delete": "yes"}, "delete: must be true or false"),
        ({"name": "p", "spec": {"type": "location"}}, "spec.locations: must not be empty"),
        ({"name": "p", "spec": {"type": "colour"}}, "spec.type: must be one of"),
        ([], "body: must be an object"),
    ],
)
async def test_a_dry_run_that_makes_no_sense_is_refused_by_field(plane: ControlPlane, body: Any, named: str) -> None:
    answer = await plane.api.post(DRY_RUN, json=body)
    assert (answer.status_code, answer.json()["message"].startswith(named)) == (400, True), answer.text


async def test_the_deletion_of_what_is_not_there_is_404(plane: ControlPlane) -> None:
    answer = await plane.api.post(DRY_RUN, json={"name": "p", "delete": True})
    assert answer.status_code == 404


async def test_members_may_ask_and_programs_may_not(plane: ControlPlane) -> None:
    body = {"metadata": {"name": "p"}, "spec": HERE}
    assert (await plane.send(await plane.key(Role.MEMBER), "POST", DRY_RUN, json=body)).status_code == 200
    assert (await plane.send(await plane.key(Role.WORKLOAD), "POST", DRY_RUN, json=body)).status_code == 403


async def test_another_workspace_is_neither_seen_nor_judged(plane: ControlPlane) -> None:
    await make(plane, "place", HERE)
    await deploy(plane, "agents", "a", "place")
    away = await plane.key(Role.ADMIN, workspace="away")
    body = {"metadata": {"name": "place"}, "spec": FRANCE, "attach": True}
    result = (await plane.send(away, "POST", DRY_RUN, json=body)).json()
    assert (result["change"], result["refusedTotal"], result["unaffected"]) == ("create", 0, 0)
