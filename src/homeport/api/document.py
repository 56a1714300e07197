"""The OpenAPI document (`/v0/openapi.json`): what the framework finds in routes and bodies, in the contract's form.

The framework describes what is read and what is answered as two shapes; the contract has one for both, in which what
only the server sets is read-only. Paths are relative to a server address that ends in /v0. Which errors an operation
can answer with, and which scopes it needs, is said here for all of them. Describes; decides nothing.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from homeport.api.versions import KNOWN
from homeport.identity.roles import SCOPES, Role, scopes_of
from homeport.wire.errors import Error

Schema = dict[str, Any]
BASE = "/v0"
READS = "In"  # ends the names of shapes that are read
_REF = "#/components/schemas/"
_OF_THE_FRAMEWORK = ("HTTPValidationError", "ValidationError")

# What each operation needs, all of it; `test_the_document_says_the_scopes_that_are_asked_for` compares it with what is.
NEEDS: dict[str, tuple[str, ...]] = {
    "GetPolicyUsages": (
        "policies:get",
        "agents:list",
        "functions:list",
        "models:list",
        "sandboxes:list",
        "jobs:list",
    ),
    "ListJobExecutions": ("jobs:list",),
    "CreateJobExecution": ("jobs:create",),
    "GetJobExecution": ("jobs:get",),
    "DeleteJobExecution": ("jobs:delete",),
    "ListJobExecutionTasks": ("jobs:get",),
    "ListWorkspaces": ("workspaces:list",),
    "GetWorkspace": ("workspaces:get",),
    "GetWorkspaceServiceAccounts": ("workspaces:get",),
    # and all that the account, a member where nothing is said, may do itself
    "CreateWorkspaceServiceAccount": ("workspaces:update", *sorted(scopes_of(Role.MEMBER))),
    "UpdateWorkspaceServiceAccount": ("workspaces:update",),
    "DeleteWorkspaceServiceAccount": ("workspaces:update",),
    "ListApiKeysForServiceAccount": ("apiKey:list",),
    "CreateApiKeyForServiceAccount": ("apiKey:write",),
    "DeleteApiKeyForServiceAccount": ("apiKey:write",),
    "ListLocations": ("locations:list",),
    "GetConfiguration": ("configurations:list",),
    "ListSecrets": ("workspaces:get",),
    "GetSecret": ("workspaces:get",),
    "PutSecret": ("admin",),
    "DeleteSecret": ("admin",),
}
for _one, _many in (
    ("Agent", "agents"),
    ("Function", "functions"),
    ("Job", "jobs"),
    ("Policy", "policies"),
    ("Volume", "volumes"),
):
    NEEDS |= {f"{verb}{_one}": (f"{_many}:{verb.lower()}",) for verb in ("Create", "Get", "Update", "Delete")}
    NEEDS[f"List{_many.title()}"] = (f"{_many}:list",)
NEEDS["GetVolumeByExternalId"] = ("volumes:get",)
NEEDS |= {
    "ListImages": ("images:list",),
    "CreateImage": ("images:create",),
    "CleanupImages": ("images:delete",),
    "GetImage": ("images:get",),
    "DeleteImage": ("images:delete",),
    "DeleteImageTag": ("images:delete",),
}
NEEDS |= {
    "ListAgentRevisions": ("agents:list",),
    "ListFunctionRevisions": ("functions:get",),
    "ListJobRevisions": ("jobs:list",),
}
# Addresses without a key, or with a credential of their own.
OPEN_TAGS = frozenset({"oauth", "transfer"})

_MEANINGS = {
    400: "The request breaks a rule, which the message names",
    401: "No valid credential",
    403: "The credential may not do this, or a policy forbids it",
    404: "There is no such thing here",
    409: "The request contradicts the present state",
    413: "The body is too large",
    415: "The body is of another type",
    429: "A limit is reached",
    500: "Internal server error",
    503: "Not now; try again after Retry-After",
}


def document_of(app: FastAPI, base_url: str) -> Schema:
    """The document of `app` as seen from `base_url`, which is the gateway's address."""
    found: Schema = get_openapi(
        title=app.title, version=app.version, routes=app.routes, servers=[{"url": base_url + BASE}]
    )
    document = {**found, "paths": {path.removeprefix(BASE): item for path, item in found["paths"].items()}}
    for path, method, operation in operations_of(document):
        operation["summary"] = operation["summary"].removesuffix(" Route")
        operation["responses"] = _responses(path, method, operation)
        operation["security"] = _security(operation)
    components = {
        "schemas": _merged(found["components"]["schemas"] | {"Error": Error.model_json_schema()}),
        "parameters": {"BlaxelVersion": _version_parameter()},
        "securitySchemes": _security_schemes(base_url),
    }
    document["components"] = components
    document["security"] = [{"OAuth2": ["admin"]}, {"ApiKeyAuth": []}]
    named: Schema = _renamed(document, {name: name.removesuffix(READS) for name in found["components"]["schemas"]})
    return named


def operations_of(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    """Each (path, method, operation)."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in ("get", "put", "post", "delete", "patch", "head", "options"):
                yield path, method, operation


def _responses(path: str, method: str, operation: Schema) -> Schema:
    """What it answers when all is well, and every way in which it may not."""
    codes = {400, 401, 500, 503}
    if operation["tags"][0] not in OPEN_TAGS:
        codes.add(403)
    if "{" in path or operation.get("operationId") == "DryRunPolicy":  # which may name a policy to delete
        codes.add(404)
    if method != "get":
        codes |= {409, 413}
    if method in ("post", "put"):
        codes.add(415)
    if operation.get("operationId") == "CreateJobExecution":
        codes.add(429)
    told = {code: response for code, response in operation["responses"].items() if code != "422"}
    error = {"application/json": {"schema": {"$ref": f"{_REF}Error"}}}
    for code in sorted(codes - {int(code) for code in told}):
        told[str(code)] = {"description": _MEANINGS[code], "content": error}
    return told


def _security(operation: Schema) -> list[dict[str, list[str]]]:
    if operation["tags"][0] in OPEN_TAGS:
        return []
    return [{"OAuth2": list(NEEDS.get(operation.get("operationId", ""), ()))}, {"ApiKeyAuth": []}]


def _security_schemes(base_url: str) -> Schema:
    scopes = {scope: "" for scope in sorted(SCOPES)}
    credentials = {"tokenUrl": f"{base_url}{BASE}/oauth/token", "scopes": scopes}
    return {
        "OAuth2": {"type": "oauth2", "flows": {"clientCredentials": credentials}},
        "ApiKeyAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "API key or access token"},
    }


def _version_parameter() -> Schema:
    """Read by every operation, so named once."""
    return {
        "name": "Blaxel-Version",
        "in": "header",
        "required": False,
        "description": f"One of {', '.join(KNOWN)}; the first where absent. Lists are pages from 2026-04-28 on.",
        "schema": {"type": "string"},
    }


def _merged(schemas: Schema) -> Schema:
    """One shape for what is read and what is answered. What is only answered is read-only there; what is only
    answered anywhere is never null, because nulls are left out."""
    merged: Schema = {}
    for name, schema in schemas.items():
        base = name.removesuffix(READS)
        if name in _OF_THE_FRAMEWORK or (name == base and f"{name}{READS}" in schemas):
            continue
        shape = deepcopy(schema)
        if name == base:
            for key, field in shape.get("properties", {}).items():
                shape["properties"][key] = _never_null(field)
                shape["properties"][key].pop("default", None)  # an answer says what it says
        elif base in schemas:
            read = shape.setdefault("properties", {})
            for key, field in schemas[base].get("properties", {}).items():
                read.setdefault(key, {**_never_null(field), "readOnly": True})
        merged[base] = shape
    for schema in merged.values():
        for field in schema.get("properties", {}).values():
            if field.get("default", ...) is None:
                del field["default"]
    return merged


def _never_null(field: Schema) -> Schema:
    others = [one for one in field.get("anyOf", ()) if one != {"type": "null"}]
    if len(others) != 1 or len(field["anyOf"]) == 1:
        return field
    return {key: value for key, value in field.items() if key != "anyOf"} | others[0]


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """`value` with every reference to a shape under its new name."""
    if isinstance(value, dict):
        return {
            key: _REF + names[item.removeprefix(_REF)]
            if key == "$ref" and item.removeprefix(_REF) in names
            else _renamed(item, names)
            for key, item in value.items()
        }
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value
