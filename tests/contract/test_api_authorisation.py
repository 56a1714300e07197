"""Who may do what: every route has a case here, and a route without one fails the first test."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from homeport.core.ids import WORKLOADS, new_id
from homeport.core.units import Outcome
from homeport.identity.keys import GATEWAY_AUDIENCE, TASK_AUDIENCE, UPLOAD_AUDIENCE, Claims
from homeport.identity.principals import Role
from homeport.identity.roles import SCOPES, scopes_of
from homeport.store.contract import Transaction
from homeport.testing.control_plane import AWAY, HOME, ControlPlane
from homeport.testing.factories import make_finish

Route = tuple[str, str]

# Anybody may call these. The last four carry a credential of their own.
PUBLIC: set[Route] = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/v0/openapi.json"),
    ("HEAD", "/v0/openapi.json"),
    ("POST", "/oauth/token"),
    ("POST", "/v0/oauth/token"),
    ("GET", "/.well-known/openid-configuration"),
    ("GET", "/v0/.well-known/openid-configuration"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/v0/.well-known/jwks.json"),
    ("GET", "/v0/changelog"),
    ("GET", "/v0/drives/jwks.json"),
    ("PUT", "/v0/homeport/uploads/{token}"),
    ("GET", "/v0/homeport/task-data/{token}"),
}

# A kind that is not served says so to every key.
ANY_KEY: set[Route] = {
    ("POST", "/v0/workspaces"),
    ("POST", "/v0/workspaces/availability"),
    ("PUT", "/v0/workspaces/{workspaceName}"),
    ("DELETE", "/v0/workspaces/{workspaceName}"),
    ("DELETE", "/v0/workspaces/{workspaceName}/leave"),
}

# The scopes that each route needs, all of them. In a tuple of alternatives, one of them.
Needs = Sequence[str | tuple[str, ...]]
NEEDS: dict[Route, Needs] = {
    ("GET", "/v0/volumes"): ["volumes:list"],
    ("POST", "/v0/volumes"): ["volumes:create"],
    ("GET", "/v0/volumes/{volumeName}"): ["volumes:get"],
    ("PUT", "/v0/volumes/{volumeName}"): ["volumes:update"],
    ("DELETE", "/v0/volumes/{volumeName}"): ["volumes:delete"],
    ("GET", "/v0/volumes/by-external-id/{externalId}"): ["volumes:get"],
    ("GET", "/v0/policies"): ["policies:list"],
    ("POST", "/v0/policies"): ["policies:create"],
    ("GET", "/v0/policies/{policyName}"): ["policies:get"],
    ("PUT", "/v0/policies/{policyName}"): ["policies:update"],
    ("DELETE", "/v0/policies/{policyName}"): ["policies:delete"],
    ("GET", "/v0/policies/{policyName}/usages"): [
        "policies:get",
        "agents:list",
        "functions:list",
        "models:list",
        "sandboxes:list",
        "jobs:list",
    ],
    ("GET", "/v0/homeport/explain/{kind}/{name}"): ["agents:get"],
    ("POST", "/v0/homeport/policies/dry-run"): ["policies:get", "agents:list", "functions:list", "jobs:list"],
    ("GET", "/v0/homeport/addresses/{kind}/{name}"): ["agents:get"],
    ("GET", "/v0/homeport/logs/{kind}/{name}"): ["agents:get"],
    ("GET", "/v0/homeport/executions/{executionId}/history"): ["jobs:get"],
    ("GET", "/v0/homeport/executions/{executionId}/verification"): ["jobs:get"],
    ("GET", "/v0/homeport/invocations"): ["agents:list"],
    ("GET", "/v0/homeport/invocations/{invocationId}"): ["agents:get"],
    ("POST", "/v0/homeport/invocations/{invocationId}/replay"): ["agents:get", "agents:run"],
    ("POST", "/v0/homeport/invocations/{invocationId}/cancel"): ["agents:update"],
    ("POST", "/v0/homeport/agents/{agentName}/callback-secret"): ["agents:update"],
    ("GET", "/v0/homeport/status"): ["agents:list", "functions:list", "jobs:list"],
    ("GET", "/v0/homeport/events"): ["agents:list", "functions:list", "jobs:list"],
    ("GET", "/v0/homeport/metrics"): ["agents:list", "functions:list", "jobs:list"],
    ("GET", "/v0/locations"): ["locations:list"],
    ("GET", "/v0/configuration"): ["configurations:list"],
    ("GET", "/v0/publicIps"): ["admin"],
    ("GET", "/v0/homeport/secrets"): ["workspaces:get"],
    ("GET", "/v0/homeport/secrets/{name}"): ["workspaces:get"],
    ("PUT", "/v0/homeport/secrets/{name}"): ["admin"],
    ("DELETE", "/v0/homeport/secrets/{name}"): ["admin"],
    ("GET", "/v0/homeport/registries"): ["workspaces:get"],
    ("GET", "/v0/homeport/registries/{registry}"): ["workspaces:get"],
    ("PUT", "/v0/homeport/registries/{registry}"): ["admin"],
    ("DELETE", "/v0/homeport/registries/{registry}"): ["admin"],
    ("GET", "/v0/homeport/rollouts/{kind}/{name}"): ["agents:get"],
    ("POST", "/v0/homeport/rollouts/{kind}/{name}/promote"): ["agents:update"],
    ("POST", "/v0/homeport/rollouts/{kind}/{name}/undo"): ["agents:update"],
    ("POST", "/v0/homeport/rollouts/{kind}/{name}/abort"): ["agents:update"],
    ("GET", "/v0/homeport/signing-keys"): ["admin"],
    ("POST", "/v0/homeport/signing-keys"): ["admin"],
    ("POST", "/v0/homeport/sealing-keys"): ["admin"],
    ("DELETE", "/v0/homeport/signing-keys/{keyId}"): ["admin"],
    ("GET", "/v0/workspaces"): ["workspaces:list"],
    ("GET", "/v0/workspaces/{workspaceName}"): ["workspaces:get"],
    ("GET", "/v0/service_accounts"): ["workspaces:get"],
    ("POST", "/v0/service_accounts"): ["workspaces:update", *sorted(scopes_of(Role.MEMBER))],
    ("PUT", "/v0/service_accounts/{clientId}"): ["workspaces:update"],
    ("DELETE", "/v0/service_accounts/{clientId}"): ["workspaces:update"],
    ("GET", "/v0/service_accounts/{clientId}/api_keys"): ["apiKey:list"],
    ("POST", "/v0/service_accounts/{clientId}/api_keys"): ["apiKey:write"],
    ("DELETE", "/v0/service_accounts/{clientId}/api_keys/{apiKeyId}"): ["apiKey:write"],
    ("GET", "/v0/observability/logs"): ["agents:get"],
}
for _kind, _name in (("agents", "{agentName}"), ("functions", "{functionName}"), ("jobs", "{jobId}")):
    NEEDS |= {
        ("GET", f"/v0/{_kind}"): [f"{_kind}:list"],
        ("POST", f"/v0/{_kind}"): [f"{_kind}:create"],
        ("GET", f"/v0/{_kind}/{_name}"): [f"{_kind}:get"],
        ("PUT", f"/v0/{_kind}/{_name}"): [f"{_kind}:update"],
        ("DELETE", f"/v0/{_kind}/{_name}"): [f"{_kind}:delete"],
        ("GET", f"/v0/{_kind}/{_name}/revisions"): [f"{_kind}:list"],
    }
# The contract's oddity: revisions of the other kinds are lists.
NEEDS[("GET", "/v0/functions/{functionName}/revisions")] = ["functions:get"]
for _base in ("/v0/jobs/{jobId}/executions", "/{ws}/jobs/{jobId}/executions"):
    NEEDS |= {
        ("GET", _base): ["jobs:list"],
        ("POST", _base): [("jobs:run", "jobs:create")],
        ("GET", f"{_base}/{{executionId}}"): ["jobs:get"],
        ("DELETE", f"{_base}/{{executionId}}"): [("jobs:run", "jobs:create", "jobs:delete")],
        ("GET", f"{_base}/{{executionId}}/tasks"): ["jobs:get"],
    }
for _path, _scope in {
    "applications": "applications:list",
    "customdomains": "customdomains:list",
    "drives": "drives:list",
    "egressgateways": "egressgateways:list",
    "egressips": "egressips:list",
    "features": "featureFlags:list",
    "integrations/connections": "integrations:list",
    "mcp/hub": "mcphub:list",
    "models": "models:list",
    "pending-image-shares": "images:share",
    "sandbox/hub": "sandboxhub:list",
    "sandboxes": "sandboxes:list",
    "templates": "templates:list",
    "users": "workspaces:list",
    "volume_templates": "volumeTemplates:list",
    "vpcs": "admin",
}.items():
    NEEDS[("GET", f"/v0/{_path}")] = [_scope]
    ANY_KEY |= {(method, f"/v0/{_path}") for method in ("POST", "PUT", "DELETE")}
    ANY_KEY |= {(method, f"/v0/{_path}/{{rest:path}}") for method in ("GET", "POST", "PUT", "DELETE")}
_image = "/v0/images/{resourceType}/{imageName}"
NEEDS |= {
    ("GET", "/v0/images"): ["images:list"],
    ("POST", "/v0/images"): ["images:create"],
    ("DELETE", "/v0/images"): ["images:delete"],
    ("GET", _image): ["images:get"],
    ("DELETE", _image): ["images:delete"],
    ("DELETE", f"{_image}/tags/{{tagName}}"): ["images:delete"],
}
ANY_KEY |= {
    ("GET", "/v0/integrations/{name}"),
    ("GET", f"{_image}/share"),
    ("POST", f"{_image}/share"),
    ("DELETE", f"{_image}/share/{{target}}"),
}

VALUES = {
    "name": "one",
    "policyName": "one",
    "agentName": "one",
    "functionName": "one",
    "jobId": "one",
    "executionId": "exec-one",
    "kind": "agents",
    "ws": HOME,
    "rest:path": "one",
    "registry": "r.io",
    "keyId": "one",
    "resourceType": "agent",
    "imageName": "one",
    "tagName": "one",
    "invocationId": "inv-one",
    "target": "one",
    "volumeName": "one",
    "externalId": "one",
}
VALUES |= {"workspaceName": HOME, "clientId": "sa-one", "apiKeyId": "ak_one"}
QUERIES = {"/v0/observability/logs": {"resourceType": "agents", "workloadIds": "one"}}
BODIES: dict[str, dict[str, Any]] = {
    "policies": {
        "metadata": {"name": "one"},
        "spec": {"type": "location", "locations": [{"type": "location", "name": "local"}]},
    },
    "agents": {"metadata": {"name": "one"}, "spec": {}},
    "functions": {"metadata": {"name": "one"}, "spec": {}},
    "volumes": {"metadata": {"name": "one"}, "spec": {}},
    "jobs": {"metadata": {"name": "one"}, "spec": {}},
    "executions": {"tasks": [{}]},
    "service_accounts": {"name": "one"},
    "api_keys": {"name": "one"},
    "secrets": {"value": "one"},
    "images": {"name": "one", "resourceType": "agent"},
    "registries": {"username": "me", "password": "one"},
}


async def call(plane: ControlPlane, key: str | None, route: Route) -> tuple[int, Any]:
    method, template = route
    path = template
    for name, value in VALUES.items():
        path = path.replace(f"{{{name}}}", value)
    body = next((BODIES[part] for part in reversed(template.split("/")) if part in BODIES), {})
    answer = await plane.send(
        key, method, path, json=body if method in ("POST", "PUT") else None, params=QUERIES.get(template)
    )
    return answer.status_code, answer.json() if "json" in answer.headers.get("content-type", "") else {}


def one_of_each(needs: Needs) -> list[str]:
    return [need if isinstance(need, str) else need[0] for need in needs]


def test_every_route_has_a_case(plane: ControlPlane) -> None:
    routes = {
        (method, context.path or "")
        for context in iter_route_contexts(plane.app.routes)
        for method in context.methods or ()
    }
    assert routes == PUBLIC | ANY_KEY | set(NEEDS)


def test_every_scope_that_is_asked_for_exists() -> None:
    asked = {one for needs in NEEDS.values() for need in needs for one in ((need,) if isinstance(need, str) else need)}
    assert asked <= SCOPES


async def test_every_route_but_the_public_ones_is_401_without_a_key(plane: ControlPlane) -> None:
    for route in sorted(ANY_KEY | set(NEEDS)):
        for key in (None, "None", "not.a.key"):
            status, body = await call(plane, key, route)
            assert (status, body.get("error")) == (401, "Unauthenticated"), (route, body)


async def test_a_key_with_just_the_scopes_of_a_route_is_let_in(plane: ControlPlane) -> None:
    for route, needs in NEEDS.items():
        key = await plane.key(Role.ADMIN, one_of_each(needs))
        status, body = await call(plane, key, route)
        assert status in (200, 400, 404, 409), (route, body)


async def test_a_key_that_lacks_one_scope_of_a_route_is_denied_and_told_which(plane: ControlPlane) -> None:
    for route, needs in NEEDS.items():
        for missing in needs:
            lacking = SCOPES - ({missing} if isinstance(missing, str) else set(missing))
            status, body = await call(plane, await plane.key(Role.ADMIN, sorted(lacking)), route)
            assert (status, body["error"]) == (403, "Denied"), (route, missing, body)
            assert (missing if isinstance(missing, str) else missing[0]) in body["message"]


@pytest.mark.parametrize("role", [Role.MEMBER, Role.WORKLOAD])
async def test_a_role_reaches_what_its_scopes_reach_and_nothing_else(plane: ControlPlane, role: Role) -> None:
    key = await plane.key(role)
    for route, needs in NEEDS.items():
        has = all(set([need] if isinstance(need, str) else need) & scopes_of(role) for need in needs)
        status, body = await call(plane, key, route)
        assert (status != 403) is has, (route, body)


async def test_a_member_reads_policies_and_changes_none_and_a_workload_changes_nothing(plane: ControlPlane) -> None:
    denied = {route for route, needs in NEEDS.items() if not {*one_of_each(needs)} <= scopes_of(Role.MEMBER)}
    assert denied == {
        ("GET", "/v0/publicIps"),
        ("GET", "/v0/homeport/signing-keys"),
        ("POST", "/v0/homeport/signing-keys"),
        ("POST", "/v0/homeport/sealing-keys"),
        ("DELETE", "/v0/homeport/signing-keys/{keyId}"),
        ("GET", "/v0/pending-image-shares"),
        ("GET", "/v0/vpcs"),
        ("POST", "/v0/policies"),
        ("PUT", "/v0/policies/{policyName}"),
        ("DELETE", "/v0/policies/{policyName}"),
        ("POST", "/v0/service_accounts"),
        ("PUT", "/v0/service_accounts/{clientId}"),
        ("DELETE", "/v0/service_accounts/{clientId}"),
        ("GET", "/v0/service_accounts/{clientId}/api_keys"),
        ("POST", "/v0/service_accounts/{clientId}/api_keys"),
        ("DELETE", "/v0/service_accounts/{clientId}/api_keys/{apiKeyId}"),
        ("PUT", "/v0/homeport/secrets/{name}"),
        ("DELETE", "/v0/homeport/secrets/{name}"),
        ("PUT", "/v0/homeport/registries/{registry}"),
        ("DELETE", "/v0/homeport/registries/{registry}"),
    }
    reached = {route for route, needs in NEEDS.items() if {*one_of_each(needs)} <= scopes_of(Role.WORKLOAD)}
    assert {path for method, path in reached if method != "GET"} == {
        f"{base}{rest}"
        for base in ("/v0/jobs/{jobId}/executions", "/{ws}/jobs/{jobId}/executions")
        for rest in ("", "/{executionId}")
    }


async def test_refusals_say_how_to_sign_in(plane: ControlPlane) -> None:
    answer = await plane.http.get("/v0/agents")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Authorization: Bearer" in answer.json()["message"]
    denied = await plane.send(await plane.key(Role.MEMBER), "POST", "/v0/policies", json=BODIES["policies"])
    assert "WWW-Authenticate" not in denied.headers
    assert "policies:create" in denied.json()["message"] and "admin" in denied.json()["message"]


async def test_a_revoked_key_is_refused_at_once(plane: ControlPlane) -> None:
    key = await plane.key(Role.ADMIN)
    assert (await plane.send(key, "GET", "/v0/agents")).status_code == 200
    jti = plane.context.keys.verify(key, GATEWAY_AUDIENCE, plane.clock.now()).jti
    await plane.context.store.write(lambda tx: tx.identities.revoke_key(jti, plane.clock.now()))
    answer = await plane.send(key, "GET", "/v0/agents")
    assert (answer.status_code, "revoked" in answer.json()["message"]) == (401, True)


async def test_the_keys_of_an_account_end_with_it(plane: ControlPlane) -> None:
    key = await plane.key(Role.ADMIN)
    sub = plane.context.keys.verify(key, GATEWAY_AUDIENCE, plane.clock.now()).sub
    await plane.context.store.write(lambda tx: tx.identities.remove_account(sub, plane.clock.now()))
    assert (await plane.send(key, "GET", "/v0/agents")).status_code == 401


async def test_an_expired_key_is_refused(plane: ControlPlane) -> None:
    sub = plane.context.keys.verify(await plane.key(Role.ADMIN), GATEWAY_AUDIENCE, plane.clock.now()).sub
    now = plane.clock.now()
    claims = Claims(
        sub=sub, jti="short", workspace=HOME, scopes=("all",), issued_at=now, expires_at=now + timedelta(seconds=60)
    )
    key = plane.context.keys.sign(claims, GATEWAY_AUDIENCE)
    assert (await plane.send(key, "GET", "/v0/agents")).status_code == 200
    plane.clock.move(60)
    assert (await plane.send(key, "GET", "/v0/agents")).status_code == 401


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"headers": {"X-Blaxel-Workspace": HOME}}, 200),
        ({"headers": {"X-Blaxel-Workspace": ""}}, 200),
        ({"headers": {"X-Blaxel-Workspace": AWAY}}, 403),
        ({"headers": {"X-Blaxel-Workspace": "caf\xe9".encode("latin-1")}}, 403),
        ({"params": {"workspace": HOME}}, 200),
        ({"params": {"workspace": AWAY}}, 403),
        ({"headers": {"X-Blaxel-Workspace": HOME}, "params": {"workspace": AWAY}}, 200),
    ],
)
async def test_a_key_works_in_its_own_workspace_only(plane: ControlPlane, sent: Any, status: int) -> None:
    assert (await plane.api.get("/v0/agents", **sent)).status_code == status


async def test_a_workspace_in_the_address_counts_more_than_one_in_the_header(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    home = await plane.api.get(f"/{HOME}/jobs/sums/executions", headers={"X-Blaxel-Workspace": AWAY})
    assert (home.status_code, home.json()["data"]) == (200, [])
    assert (await plane.api.get(f"/{AWAY}/jobs/sums/executions")).status_code == 403


async def test_an_admin_of_another_workspace_has_no_hand_in_the_keys_of_the_installation(plane: ControlPlane) -> None:
    stranger, ring = await plane.key(Role.ADMIN, workspace=AWAY), plane.context.keys.held
    for method, path in (
        ("GET", "/v0/homeport/signing-keys"),
        ("POST", "/v0/homeport/signing-keys"),
        ("POST", "/v0/homeport/sealing-keys"),
        ("DELETE", f"/v0/homeport/signing-keys/{ring[0].kid}"),
    ):
        refused = await plane.send(stranger, method, path, json={"only": True} if method == "POST" else None)
        assert refused.status_code == 403 and "all workspaces" in refused.json()["message"], (method, path)
        assert (await plane.api.request(method, path)).status_code != 403, "an admin of the first workspace"


async def test_what_is_in_another_workspace_is_not_found(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    execution = (await plane.api.post("/v0/jobs/sums/executions", json={})).json()["executionId"]
    stranger = await plane.key(Role.ADMIN, workspace=AWAY)
    for method, path in (
        ("GET", "/v0/jobs/sums"),
        ("DELETE", "/v0/jobs/sums"),
        ("GET", f"/v0/jobs/sums/executions/{execution}"),
        ("DELETE", f"/v0/jobs/sums/executions/{execution}"),
        ("GET", f"/v0/jobs/sums/executions/{execution}/tasks"),
        ("POST", "/v0/jobs/sums/executions"),
        ("GET", "/v0/homeport/logs/job/sums"),
        ("GET", f"/v0/homeport/executions/{execution}/history"),
        ("GET", f"/v0/homeport/executions/{execution}/verification"),
    ):
        answer = await plane.send(stranger, method, path, json={} if method == "POST" else None)
        assert answer.status_code == 404, (path, answer.text)
    assert (await plane.send(stranger, "GET", "/v0/jobs")).json()["data"] == []
    status = (await plane.send(stranger, "GET", "/v0/homeport/status")).json()
    assert (status["jobs"], status["executions"]) == (0, {})


async def test_the_key_of_the_contracts_own_header_counts_more(plane: ControlPlane) -> None:
    key = await plane.key(Role.ADMIN)
    for headers, status in (
        ({"X-Blaxel-Authorization": f"Bearer {key}"}, 200),
        ({"X-Blaxel-Authorization": f"Bearer {key}", "Authorization": "Bearer for-the-workload"}, 200),
        ({"X-Blaxel-Authorization": "Bearer nonsense", "Authorization": f"Bearer {key}"}, 401),
        ({"X-Blaxel-Authorization": "", "Authorization": f"bearer  {key} "}, 200),
        ({"Authorization": f"Basic {key}"}, 401),
        ({"Authorization": key}, 401),
        ({"Authorization": b"Bearer \xff\xfe"}, 401),
        ({"Authorization": "Bearer " + "x" * 20_000}, 401),
    ):
        assert (await plane.http.get("/v0/agents", headers=headers)).status_code == status, headers


async def test_a_token_for_one_use_is_of_no_other_use(plane: ControlPlane) -> None:
    """Archives, task arguments and the API: each takes its own tokens and refuses the others', with the same subject
    or with one that the other knows."""
    await plane.make_job("sums")
    created = await plane.api.post(
        "/v0/jobs", params={"upload": "true"}, json={"metadata": {"name": "new"}, "spec": {}}
    )
    upload_address = created.headers["X-Blaxel-Upload-Url"]
    upload = upload_address.rsplit("/", 1)[1]
    now = plane.clock.now()
    unit = await _running_attempt(plane)
    account = plane.context.keys.verify(await plane.key(Role.ADMIN), GATEWAY_AUDIENCE, now).sub
    revision = plane.context.keys.verify(upload, UPLOAD_AUDIENCE, now).sub

    def token(subject: str, audience: str) -> str:
        claims = Claims(
            sub=subject,
            jti=new_id("any"),
            workspace=HOME,
            scopes=("all",),
            issued_at=now,
            expires_at=now + timedelta(hours=1),
        )
        return plane.context.keys.sign(claims, audience)

    async def tried(token: str) -> tuple[int, int, int]:
        upload = await plane.http.put(f"/v0/homeport/uploads/{token}", content=b"no archive")
        data = await plane.http.get(f"/v0/homeport/task-data/{token}")
        api = await plane.send(token, "GET", "/v0/agents")
        return upload.status_code, data.status_code, api.status_code

    for subject in (account, revision, unit):
        for audience, position in ((UPLOAD_AUDIENCE, 0), (TASK_AUDIENCE, 1), (GATEWAY_AUDIENCE, 2)):
            statuses = await tried(token(subject, audience))
            for index, status in enumerate(statuses):
                own = index == position
                assert (status != 401) or not own or audience == GATEWAY_AUDIENCE, (subject, audience, statuses)
                assert own or status == 401, (subject, audience, statuses)
    assert await tried(token(revision, UPLOAD_AUDIENCE)) == (400, 401, 401)  # 400: no zip archive
    assert await tried(token(unit, TASK_AUDIENCE)) == (401, 200, 401)
    assert await tried(token(account, GATEWAY_AUDIENCE)) == (401, 401, 200)


async def test_the_arguments_of_a_task_are_gone_when_its_attempt_has_ended(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    unit = await _running_attempt(plane)
    now = plane.clock.now()
    claims = Claims(sub=unit, jti="t", workspace=HOME, scopes=(), issued_at=now, expires_at=now + timedelta(hours=1))
    address = f"/v0/homeport/task-data/{plane.context.keys.sign(claims, TASK_AUDIENCE)}"
    assert (await plane.http.get(address)).json() == {"tasks": [{"n": 7}]}

    def finish(tx: Transaction) -> None:
        assert tx.executions.finish_task_if_running(make_finish(unit, "lease", outcome=Outcome(exit_code=0)), now)

    await plane.context.store.write(finish)
    assert (await plane.http.get(address)).status_code == 404


async def _running_attempt(plane: ControlPlane) -> Any:
    """The unit of a task that is being worked on."""
    answer = await plane.api.post("/v0/jobs/sums/executions", json={"tasks": [{"n": 7}]})
    execution_id, now = answer.json()["executionId"], plane.clock.now()

    def claim(tx: Transaction) -> Any:
        (task,) = tx.executions.claim(execution_id, 1, now, "lease", now + timedelta(minutes=1))
        return tx.executions.attempts(execution_id, task.index)[0].unit

    return await plane.context.store.write(claim)


async def test_an_upload_address_ends_with_its_hour(plane: ControlPlane) -> None:
    created = await plane.api.post(
        "/v0/jobs", params={"upload": "true"}, json={"metadata": {"name": "new"}, "spec": {}}
    )
    plane.clock.move(3600)
    assert (await plane.http.put(created.headers["X-Blaxel-Upload-Url"], content=b"x")).status_code == 401


async def test_secrets_are_shown_to_admins_that_ask_and_never_in_lists(plane: ControlPlane) -> None:
    spec = {"runtime": {"envs": [{"name": "TOKEN", "value": "hush-hush", "secret": True}, {"name": "A", "value": "b"}]}}
    member, narrowed = (
        await plane.key(Role.MEMBER),
        await plane.key(Role.ADMIN, ["agents:get", "functions:get", "jobs:get"]),
    )
    for kind in WORKLOADS:
        address = f"/v0/{kind.plural}"
        sent = {"params": {"upload": "true"}, "json": {"metadata": {"name": "one"}, "spec": spec}}
        for text in (
            (await plane.api.post(address, **sent)).text,
            (await plane.api.post(address, **sent)).text,  # 409
            (await plane.api.put(f"{address}/one", **sent)).text,
            (await plane.api.get(f"{address}/one")).text,
            (await plane.api.get(address)).text,
            (await plane.api.get(address, headers={"Blaxel-Version": "2026-04-16"})).text,
            (await plane.api.get(f"{address}/one/revisions")).text,
            (await plane.api.get(f"/v0/homeport/explain/{kind}/one")).text,
        ):
            assert "hush-hush" not in text
        shown = {"params": {"show_secrets": "true"}}
        assert "hush-hush" in (await plane.api.get(f"{address}/one", **shown)).text
        for key in (member, narrowed):
            answer = await plane.send(key, "GET", f"{address}/one", **shown)
            assert (answer.status_code, "hush-hush" in answer.text) == (403, False)
            assert (await plane.send(key, "GET", f"{address}/one")).status_code == 200
        assert "hush-hush" not in (await plane.api.delete(f"{address}/one")).text
