"""Every operation of the public contract has an answer: served, an empty list, or 404 with the reason."""

import re
from collections.abc import Iterator

import pytest

from homeport.testing.control_plane import HOME, ControlPlane

# Path and methods, as the contract has them. G, P, U, D: GET, POST, PUT, DELETE.
SERVED = """
/agents GP|/agents/{agentName} GUD|/agents/{agentName}/revisions G
/configuration G|/locations G|/publicIps G
/functions GP|/functions/{functionName} GUD|/functions/{functionName}/revisions G
/images GPD|/images/{resourceType}/{imageName} GD|/images/{resourceType}/{imageName}/tags/{tagName} D
/jobs GP|/jobs/{jobId} GUD|/jobs/{jobId}/revisions G|/jobs/{jobId}/executions GP
/jobs/{jobId}/executions/{executionId} GD|/jobs/{jobId}/executions/{executionId}/tasks G
/policies GP|/policies/{policyName} GUD|/policies/{policyName}/usages G
/service_accounts GP|/service_accounts/{clientId} UD|/service_accounts/{clientId}/api_keys GP
/service_accounts/{clientId}/api_keys/{apiKeyId} D
/volumes GP|/volumes/{volumeName} GUD|/volumes/by-external-id/{externalId} G
/workspaces G|/workspaces/{workspaceName} G
"""
EMPTY_PAGES = "/applications|/drives|/models|/sandboxes"
EMPTY_LISTS = """
/customdomains|/egressgateways|/egressips|/integrations/connections|/mcp/hub|/pending-image-shares|/sandbox/hub
/templates|/users|/volume_templates|/vpcs
"""
NOT_SERVED = """
/applications P|/applications/{n} GUD|/applications/{n}/customdomains P|/applications/{n}/revisions G
/customdomains P|/customdomains/{n} GUD|/customdomains/{n}/share GP|/customdomains/{n}/share/{w} D
/customdomains/{n}/verify P
/drives P|/drives/{n} GUD|/drives/{n}/access-token P|/drives/by-external-id/{id} G
/egressgateways/usage G|/features/{key} G
/images/{t}/{n}/share GP|/images/{t}/{n}/share/{w} D
/integrations/{n} G|/integrations/connections P|/integrations/connections/{n} GUD
/integrations/connections/{n}/endpointConfigurations G|/integrations/connections/{n}/models G
/integrations/connections/{n}/models/{id} G
/models P|/models/{n} GUD|/models/{n}/revisions G
/pending-image-shares/{id}/accept P|/pending-image-shares/{id}/decline P
/sandboxes P|/sandboxes/{n} GUD|/sandboxes/{n}/fork P|/sandboxes/by-external-id/{id} G|/sandboxes/{n}/previews GP
/sandboxes/{n}/previews/{p} GUD|/sandboxes/{n}/previews/{p}/tokens GP|/sandboxes/{n}/previews/{p}/tokens/{t} D
/sandboxes/{n}/schedule-executions G|/sandboxes/{n}/schedules GP|/sandboxes/{n}/schedules/{id} GUD
/sandboxes/{n}/snapshots GP|/sandboxes/{n}/snapshots/{id} D
/templates/{n} G|/users P|/users/{who} UD
/volume_templates P|/volume_templates/{n} GUD|/volume_templates/{n}/versions/{v} D
/vpcs P|/vpcs/{n} GD|/vpcs/{n}/egressgateways GP|/vpcs/{n}/egressgateways/{g} GD|/vpcs/{n}/egressgateways/{g}/ips GP
/vpcs/{n}/egressgateways/{g}/ips/{ip} GD
/workspaces P|/workspaces/{n} UD|/workspaces/{n}/leave D|/workspaces/availability P
"""
PUBLIC = {"/changelog": {"entries": []}, "/drives/jwks.json": {"keys": []}}
METHODS = {"G": "GET", "P": "POST", "U": "PUT", "D": "DELETE"}


def paths(table: str) -> list[str]:
    return [entry.strip() for entry in re.split(r"[|\n]", table) if entry.strip()]


def operations(table: str) -> Iterator[tuple[str, str]]:
    for entry in paths(table):
        path, _, letters = entry.partition(" ")
        for letter in letters:
            yield METHODS[letter], path


def test_the_tables_hold_the_whole_contract() -> None:
    lists = [*paths(EMPTY_PAGES), *paths(EMPTY_LISTS), *PUBLIC, "/features"]
    every = [*operations(SERVED), *operations(NOT_SERVED), *(("GET", path) for path in lists)]
    assert len(every) == len(set(every)) == 159


async def call(plane: ControlPlane, method: str, path: str, key: str | None, version: str = "2026-04-28"):  # type: ignore[no-untyped-def]
    at = "/v0" + re.sub(r"\{\w+\}", "one", path.replace("{workspaceName}", HOME))
    headers = {"Blaxel-Version": version, **({"Authorization": key} if key else {})}
    return await plane.http.request(method, at, headers=headers, json={} if method in ("POST", "PUT") else None)


async def test_what_is_served_is_documented_under_its_path(plane: ControlPlane) -> None:
    documented = plane.app.openapi()["paths"]
    for method, path in operations(SERVED):
        if path != "/publicIps":
            assert method.lower() in documented[path], (method, path)


async def test_what_is_not_served_is_401_without_a_key_and_404_with_the_reason(plane: ControlPlane) -> None:
    key = plane.api.headers["Authorization"]
    for method, path in operations(NOT_SERVED):
        assert (await call(plane, method, path, None)).status_code == 401, (method, path)
        answer = await call(plane, method, path, key)
        assert (answer.status_code, answer.json()["error"]) == (404, "NotFound"), (method, path)
        assert "not served by this version" in answer.json()["message"]
        assert (await call(plane, method, path, key, "1999-01-01")).json()["error"] == "invalid_api_version"


@pytest.mark.parametrize("version", ["2026-04-28", "2026-04-16", ""])
async def test_lists_of_what_is_not_served_are_empty(plane: ControlPlane, version: str) -> None:
    key = plane.api.headers["Authorization"]
    page = {"data": [], "meta": {"hasMore": False, "nextCursor": "", "total": 0}}
    for path in [*paths(EMPTY_PAGES), *paths(EMPTY_LISTS)]:
        assert (await call(plane, "GET", path, None, version)).status_code == 401, path
        answer = await call(plane, "GET", path, key, version)
        paged = path in paths(EMPTY_PAGES) and version == "2026-04-28"
        assert (answer.status_code, answer.json()) == (200, page if paged else []), path
    assert (await call(plane, "GET", "/features", key, version)).json() == {"features": {}}


async def test_what_the_contract_shows_to_anybody_needs_no_key(plane: ControlPlane) -> None:
    for path, body in PUBLIC.items():
        answer = await call(plane, "GET", path, None)
        assert (answer.status_code, answer.json()) == (200, body)
