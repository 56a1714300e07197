"""The OpenAPI document: whole, in the contract's form, and true about what is enforced elsewhere."""

import re
from typing import Any

import pytest

from homeport.api.document import BASE, NEEDS, OPEN_TAGS, operations_of
from homeport.api.unserved import router as unserved
from homeport.identity.principals import Role
from homeport.identity.roles import SCOPES
from homeport.testing.control_plane import ControlPlane


@pytest.fixture
async def document(plane: ControlPlane) -> dict[str, Any]:
    answer = await plane.http.get("/v0/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


async def test_every_operation_has_a_name_errors_and_security(document: dict[str, Any]) -> None:
    names = []
    for path, method, operation in operations_of(document):
        names.append(operation["operationId"])
        assert {"200", "400", "401", "500"} <= set(operation["responses"]), (method, path)
        assert "422" not in operation["responses"]
        assert ("404" in operation["responses"]) or "{" not in path
        assert (operation["security"] == []) == (operation["tags"][0] in OPEN_TAGS), path
    assert len(names) == len(set(names)) and not [name for name in names if "_" in name]


async def test_what_a_body_names_may_be_missing_too(plane: ControlPlane, document: dict[str, Any]) -> None:
    answer = await plane.api.post("/v0/homeport/policies/dry-run", json={"name": "nobody", "delete": True})
    assert str(answer.status_code) in document["paths"]["/homeport/policies/dry-run"]["post"]["responses"]


async def test_every_reference_leads_somewhere_and_no_shape_is_left_from_the_framework(
    document: dict[str, Any],
) -> None:
    schemas = document["components"]["schemas"]

    def check(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                assert value["$ref"].removeprefix("#/components/schemas/") in schemas, value
            for item in value.values():
                check(item)
        elif isinstance(value, list):
            for item in value:
                check(item)

    check(document)
    assert not {"HTTPValidationError", "ValidationError"} & set(schemas)
    assert not [name for name in schemas if name.endswith("In")]


async def test_what_is_read_and_answered_is_one_shape_with_read_only_fields(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for kind in ("Agent", "Job", "Policy"):
        assert schemas[kind]["required"] == ["metadata", "spec"]
    for field in ("events", "status"):
        assert schemas["Agent"]["properties"][field]["readOnly"] is True
    metadata = schemas["Metadata"]
    assert metadata["required"] == ["name"]
    assert {name for name, field in metadata["properties"].items() if field.get("readOnly")} == {
        *("createdAt", "updatedAt", "createdBy", "updatedBy", "workspace", "url")
    }


async def test_lists_document_their_parameters_as_the_contract_does(document: dict[str, Any]) -> None:
    def parameters(path: str) -> dict[str, Any]:
        return {one["name"]: one["schema"] for one in document["paths"][path]["get"]["parameters"]}

    agents = parameters("/agents")
    assert set(agents) == {"cursor", "limit", "sort", "q", "anchor", "status"}
    assert (agents["limit"]["minimum"], agents["limit"]["maximum"], agents["limit"]["default"]) == (1, 200, 50)
    assert agents["sort"]["enum"] == ["createdAt:desc", "createdAt:asc", "name:asc", "name:desc"]
    assert set(parameters("/policies")) == {"cursor", "limit", "sort", "q", "anchor"}
    executions = parameters("/jobs/{jobId}/executions")
    assert (executions["limit"]["maximum"], executions["limit"]["default"], executions["offset"]["default"]) == (
        100,
        20,
        0,
    )


async def test_the_document_says_the_scopes_that_are_asked_for(plane: ControlPlane, document: dict[str, Any]) -> None:
    """A key with just these is let in, and one that lacks one of them is not."""
    by_name = {operation["operationId"]: (path, method) for path, method, operation in operations_of(document)}
    assert set(NEEDS) <= set(by_name), "every row of the table is an operation"
    for name, scopes in NEEDS.items():
        path, method = by_name[name]
        at = BASE + re.sub(r"\{\w+\}", "one", path.replace("{workspaceName}", "home"))
        body = {"metadata": {"name": "one"}, "spec": {"type": "flavor", "flavors": [{"name": "x86"}]}, "name": "one"}
        body |= {"value": "one", "resourceType": "agent"}
        sent = {"json": body} if method in ("post", "put") else {}
        assert (await plane.send(await plane.key(Role.ADMIN, scopes), method, at, **sent)).status_code != 403, name
        for scope in scopes:
            lacking = sorted(SCOPES - {scope} - {"jobs:run", "jobs:create", "jobs:delete"})
            if scope not in lacking:
                answer = await plane.send(await plane.key(Role.ADMIN, lacking), method, at, **sent)
                assert answer.status_code == 403, (name, scope)


async def test_what_is_not_served_is_not_documented(document: dict[str, Any]) -> None:
    assert not {route.path.removeprefix(BASE) for route in unserved.routes} & set(document["paths"])  # type: ignore[attr-defined]
