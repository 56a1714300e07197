"""What functions have of their own: how they speak MCP, and what older clients call them."""

import json
from typing import Any

import pytest

from homeport.core.fields import IGNORED_HEADER
from homeport.testing.control_plane import ControlPlane

UPLOAD = {"upload": "true"}


async def create(plane: ControlPlane, spec: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The function as stored, and the fields that have no effect."""
    body = {"metadata": {"name": "tools"}, "spec": spec}
    answer = await plane.api.post("/v0/functions", params=UPLOAD, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json(), [one["field"] for one in json.loads(answer.headers.get(IGNORED_HEADER, "[]"))]


@pytest.mark.parametrize("transport", ["http-stream", "websocket"])
async def test_the_transport_is_one_of_two_and_kept(plane: ControlPlane, transport: str) -> None:
    made, ignored = await create(plane, {"runtime": {"transport": transport}})
    assert (made["spec"]["runtime"]["transport"], ignored) == (transport, [])
    refused = await plane.api.put(
        "/v0/functions/tools", json={"metadata": {"name": "tools"}, "spec": {"runtime": {"transport": "stdio"}}}
    )
    assert refused.status_code == 400
    assert refused.json()["message"].startswith("spec.runtime.transport: ")


async def test_what_older_clients_call_a_function_is_no_news(plane: ControlPlane) -> None:
    made, ignored = await create(plane, {"type": "mcp", "runtime": {"type": "mcp"}})
    assert (made["spec"]["type"], ignored) == ("mcp", [])
    _, ignored = (await plane.api.delete("/v0/functions/tools"), [])
    other = {"metadata": {"name": "other"}, "spec": {"type": "rest", "runtime": {"type": "grpc"}}}
    answer = await plane.api.post("/v0/functions", params=UPLOAD, json=other)
    told = {one["field"]: one["why"] for one in json.loads(answer.headers[IGNORED_HEADER])}
    assert told == dict.fromkeys(("spec.type", "spec.runtime.type"), "every function is an MCP server")


async def test_a_policy_that_names_functions_binds_them_and_no_agents(plane: ControlPlane) -> None:
    rule = {
        "type": "location",
        "resourceTypes": ["function"],
        "locations": [{"type": "country", "name": "JP"}],
    }
    made = await plane.api.post("/v0/policies", json={"metadata": {"name": "far"}, "spec": rule})
    assert made.status_code == 200, made.text
    body = {"metadata": {"name": "tools"}, "spec": {"policies": ["far"]}}
    refused = await plane.api.post("/v0/functions", params=UPLOAD, json=body)
    assert refused.status_code == 403 and "far" in refused.json()["message"]
    assert (await plane.api.get("/v0/functions/tools")).status_code == 404
    assert (await plane.api.post("/v0/agents", params=UPLOAD, json=body)).status_code == 200
