"""Policies bind: at deployment, at execution, and every refusal can be understood."""

from typing import Any

from homeport.testing.system import System

PROGRAM = {"main.py": "print('done')"}
TASK = {"tasks": [{}]}


def attach(system: System, name: str, spec: dict[str, Any]) -> None:
    answer = system.api.post("/policies", json={"metadata": {"name": name}, "spec": spec})
    assert answer.status_code == 200, answer.text


def test_a_deployment_outside_the_policy_is_refused_and_leaves_nothing(system: System) -> None:
    attach(system, "eu", {"type": "location", "locations": [{"type": "continent", "name": "eu"}]})
    answer = system.accept("agents", "abroad", {"policies": ["eu"]})
    assert answer.status_code == 403
    message = answer.json()["message"]
    for part in ('"eu"', "continent EU", "local (continent unknown", "[regions.local]", 'continent = "EU"'):
        assert part in message, message
    assert system.api.get("/agents/abroad").status_code == 404
    system.api.delete("/policies/eu")


def test_flavors_decide_too_and_types_intersect(system: System) -> None:
    attach(system, "gpu-only", {"type": "flavor", "flavors": [{"name": "t4", "type": "gpu"}]})
    attach(
        system,
        "cpu-too",
        {"type": "flavor", "flavors": [{"name": "x86", "type": "cpu"}, {"name": "arm", "type": "cpu"}]},
    )
    attach(system, "here", {"type": "location", "locations": [{"type": "location", "name": "local"}]})
    assert system.accept("jobs", "hardware", {"policies": ["gpu-only"]}).status_code == 403
    assert system.accept("jobs", "hardware", {"policies": ["here", "gpu-only"]}).status_code == 403
    # Two policies of one type are united.
    assert system.accept("jobs", "hardware", {"policies": ["here", "gpu-only", "cpu-too"]}).status_code == 200
    system.remove("jobs", "hardware")
    for name in ("gpu-only", "cpu-too", "here"):
        assert system.api.delete(f"/policies/{name}").status_code == 200


def test_a_policy_that_changes_refuses_the_next_execution_and_explain_says_why(system: System) -> None:
    here = {"type": "location", "locations": [{"type": "location", "name": "local"}]}
    attach(system, "moving", here)
    system.deploy("jobs", "bound", PROGRAM, {"policies": ["moving"], "runtime": {"memory": 128}})
    assert system.execute("bound", [{}])["status"] == "succeeded"
    elsewhere = {"type": "location", "locations": [{"type": "country", "name": "FR"}]}
    body = {"metadata": {"name": "moving"}, "spec": elsewhere}
    assert system.api.put("/policies/moving", json=body).status_code == 200
    refused = system.api.post("/jobs/bound/executions", json=TASK)
    assert (refused.status_code, "country FR" in refused.json()["message"]) == (403, True)
    explained = system.command("explain", "job", "bound")
    assert explained.returncode == 3
    assert "country FR" in explained.stdout and "refuses" in explained.stdout
    assert system.api.get("/policies").json()["data"][0]["usage"]["jobs"] == 1
    # A policy that is gone does not open.
    system.api.delete("/policies/moving")
    assert system.api.post("/jobs/bound/executions", json=TASK).status_code == 403
    system.remove("jobs", "bound")


def test_policies_that_could_not_decide_are_refused_by_field(system: System) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"type": "location"}, "spec.locations"),
        ({"type": "location", "locations": []}, "spec.locations"),
        ({"type": "location", "locations": [{"type": "planet", "name": "mars"}]}, "spec.locations[0].type"),
        ({"type": "colour"}, "spec.type"),
        ({"type": "flavor", "flavors": [{"type": "tpu"}]}, "spec.flavors[0].type"),
        (
            {"type": "maxToken", "maxTokens": {"granularity": "year", "step": 1, "total": 5}},
            "spec.maxTokens.granularity",
        ),
    )
    for spec, field in cases:
        answer = system.api.post("/policies", json={"metadata": {"name": "bad"}, "spec": spec})
        assert (answer.status_code, answer.json()["message"].split(":")[0]) == (400, field), answer.text
    for name in ("UPPER", "-x", "x" * 50, ""):
        answer = system.api.post("/policies", json={"metadata": {"name": name}, "spec": {}})
        assert answer.status_code == 400, name


def test_a_region_that_does_not_exist_is_named_with_those_that_do(system: System) -> None:
    answer = system.accept("agents", "pinned", {"region": "mars-1"})
    assert answer.status_code == 400
    assert "spec.region" in answer.json()["message"] and "local" in answer.json()["message"]


def test_a_source_that_this_version_does_not_take_is_refused_with_those_it_does(system: System) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "spec"),
        ({"runtime": {"image": "x:1"}}, "spec.runtime.image"),
        ({"repository": {"type": "github"}}, "spec"),
    )
    for spec, field in cases:
        answer = system.api.post("/agents", json={"metadata": {"name": "sourceless"}, "spec": spec})
        assert answer.status_code == 400, answer.text
        assert answer.json()["message"].startswith(f"{field}:"), answer.text
        assert "homeport deploy" in answer.json()["message"]


def test_kinds_that_are_not_served_have_empty_lists_and_say_so_otherwise(system: System) -> None:
    assert system.api.get("/models").json() == {"data": [], "meta": {"hasMore": False, "nextCursor": "", "total": 0}}
    answer = system.api.get("/models/gpt")
    assert (answer.status_code, "not served by this version" in answer.json()["message"]) == (404, True)
    answer = system.api.get("/no/such/thing")
    assert (answer.status_code, set(answer.json())) == (404, {"code", "error", "message"})


def test_versions_of_the_contract_shape_lists(system: System) -> None:
    old = system.api.get("/policies", headers={"Blaxel-Version": "2026-04-16"})
    assert isinstance(old.json(), list)
    unknown = system.api.get("/policies", headers={"Blaxel-Version": "2020-01-01"})
    assert (unknown.status_code, unknown.json()["error"]) == (400, "invalid_api_version")


def test_lists_are_paged_and_cursors_are_bound_to_their_query(system: System) -> None:
    here = {"type": "location", "locations": [{"type": "location", "name": "local"}]}
    names = [f"page-{number}" for number in range(5)]
    for name in names:
        attach(system, name, here)
    seen: list[str] = []
    cursor = ""
    while True:
        query = {"limit": "2", "sort": "name:asc", "q": "page-", **({"cursor": cursor} if cursor else {})}
        page = system.api.get("/policies", params=query).json()
        seen += [policy["metadata"]["name"] for policy in page["data"]]
        cursor = page["meta"]["nextCursor"]
        assert page["meta"]["hasMore"] == bool(cursor)
        if not cursor:
            break
        other = system.api.get("/policies", params={**query, "cursor": cursor, "sort": "name:desc"})
        assert other.status_code == 400
    assert seen == names
    for name in names:
        system.api.delete(f"/policies/{name}")
