"""Workspaces, service accounts, API keys and discovery (public contract)."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import KeySet

from homeport.core.ids import Kind
from homeport.identity.keys import GATEWAY_AUDIENCE
from homeport.identity.principals import Role
from homeport.testing.control_plane import AWAY, HOME, ControlPlane

ACCOUNTS = "/v0/service_accounts"
ACCOUNT_FIELDS = {"client_id", "name", "description", "role", "created_at", "updated_at"}
KEY_FIELDS = {"id", "name", "sub", "sub_type", "createdAt", "updatedAt", "createdBy", "updatedBy"}


async def make(plane: ControlPlane, **body: Any) -> dict[str, Any]:
    answer = await plane.api.post(ACCOUNTS, json={"name": "robot", **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def make_key(plane: ControlPlane, client_id: str, **body: Any) -> dict[str, Any]:
    answer = await plane.api.post(f"{ACCOUNTS}/{client_id}/api_keys", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def token_of(plane: ControlPlane, account: dict[str, Any]) -> Any:
    pair = f"{account['client_id']}:{account['client_secret']}"
    headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return await plane.http.post("/v0/oauth/token", json={"grant_type": "client_credentials"}, headers=headers)


async def test_a_service_account_is_made_listed_changed_and_removed(plane: ControlPlane) -> None:
    made = await make(plane, description="deploys")
    assert set(made) == ACCOUNT_FIELDS | {"client_secret"}
    assert (made["name"], made["description"], made["role"]) == ("robot", "deploys", "member")
    plane.clock.move(60)
    changed = await plane.api.put(f"{ACCOUNTS}/{made['client_id']}", json={"name": "android"})
    assert changed.status_code == 200 and set(changed.json()) == ACCOUNT_FIELDS
    assert (changed.json()["name"], changed.json()["description"]) == ("android", "deploys")
    assert changed.json()["updated_at"] > changed.json()["created_at"]
    listed = (await plane.api.get(ACCOUNTS)).json()
    assert isinstance(listed, list) and changed.json() in listed
    gone = await plane.api.delete(f"{ACCOUNTS}/{made['client_id']}")
    assert (gone.status_code, gone.json()) == (200, changed.json())
    assert (await plane.api.delete(f"{ACCOUNTS}/{made['client_id']}")).status_code == 404
    assert gone.json() not in (await plane.api.get(ACCOUNTS)).json()


async def test_the_secret_of_an_account_gives_tokens_until_the_account_goes(plane: ControlPlane) -> None:
    account = await make(plane)
    answer = await token_of(plane, account)
    assert answer.status_code == 200 and answer.json()["expires_in"] == 7200, answer.text
    token = answer.json()["access_token"]
    assert (await plane.send(token, "GET", "/v0/agents")).status_code == 200
    denied = await plane.send(token, "DELETE", "/v0/policies/one")
    assert denied.status_code == 403
    await plane.api.delete(f"{ACCOUNTS}/{account['client_id']}")
    assert (await plane.send(token, "GET", "/v0/agents")).status_code == 401
    assert (await token_of(plane, account)).json()["error"] == "invalid_client"
    jti = plane.context.keys.verify(token, GATEWAY_AUDIENCE, plane.clock.now()).jti
    assert jti in await plane.context.store.read(lambda tx: tx.identities.revoked_keys(plane.clock.now()))


async def test_secrets_of_accounts_and_of_programs_are_no_substitutes(plane: ControlPlane) -> None:
    account, other = await make(plane), await make(plane)
    await plane.make_job("sums")
    revision = await plane.serve(Kind.JOB, "sums")
    program = await plane.context.store.read(lambda tx: tx.identities.account_of(revision.resource_uid))
    assert program is not None
    for client_id, secret in (
        (account["client_id"], other["client_secret"]),
        (program.client_id, account["client_secret"]),
        (program.client_id, plane.context.keys.derive(f"account-secret:{program.client_id}")),
        (program.client_id, "account." + plane.context.keys.derive(f"account-secret:{program.client_id}")),
    ):
        answer = await token_of(plane, {"client_id": client_id, "client_secret": secret})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


async def test_no_secret_and_no_key_is_in_the_database(plane: ControlPlane) -> None:
    account = await make(plane)
    key = await make_key(plane, account["client_id"])
    stored = b"".join(path.read_bytes() for path in plane.context.data.root.glob("homeport.db*"))
    for secret in (account["client_secret"], account["client_secret"].partition(".")[2], key["apiKey"]):
        assert secret.encode() not in stored
    assert account["client_id"].encode() in stored


async def test_a_key_is_shown_once_and_acts_until_it_is_revoked(plane: ControlPlane) -> None:
    account = await make(plane)
    at = f"{ACCOUNTS}/{account['client_id']}/api_keys"
    key = await make_key(plane, account["client_id"], name="ci", expires_in="30d")
    assert set(key) == KEY_FIELDS | {"apiKey", "expires_in"}
    assert key["id"].startswith("ak_") and (key["name"], key["expires_in"]) == ("ci", "30d")
    assert (key["sub"], key["sub_type"]) == (account["client_id"], "service_account")
    listed = (await plane.api.get(at)).json()
    assert listed == [{name: value for name, value in key.items() if name != "apiKey"}]
    assert (await plane.send(key["apiKey"], "GET", "/v0/agents")).status_code == 200
    answer = await plane.api.delete(f"{at}/{key['id']}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await plane.send(key["apiKey"], "GET", "/v0/agents")).status_code == 401
    assert (await plane.api.get(at)).json() == []
    assert (await plane.api.delete(f"{at}/{key['id']}")).status_code == 404
    revoked = await plane.context.store.read(lambda tx: tx.identities.revoked_keys(plane.clock.now()))
    assert key["id"] in revoked, "the gateway is told by this list"


@pytest.mark.parametrize(
    ("said", "seconds", "shown"),
    [("24h", 86400, "1d"), ("1w", 604800, "7d"), ("30d", 2592000, "30d"), ("90m", 5400, "5400s"), ("3h", 10800, "3h")],
)
async def test_a_key_ends_at_its_time(plane: ControlPlane, said: str, seconds: int, shown: str) -> None:
    key = await make_key(plane, (await make(plane))["client_id"], expires_in=said)
    assert key["expires_in"] == shown
    plane.clock.move(seconds - 2)
    assert (await plane.send(key["apiKey"], "GET", "/v0/agents")).status_code == 200
    plane.clock.move(2)
    assert (await plane.send(key["apiKey"], "GET", "/v0/agents")).status_code == 401


async def test_a_key_without_a_time_never_ends(plane: ControlPlane) -> None:
    for body in ({}, {"name": None, "expires_in": None}):
        key = await make_key(plane, (await make(plane))["client_id"], **body)
        assert set(key) == KEY_FIELDS | {"apiKey"}
        claims = plane.context.keys.verify(key["apiKey"], GATEWAY_AUDIENCE, plane.clock.now() + timedelta(days=36500))
        assert claims.expires_at is None


@pytest.mark.parametrize(
    "expires_in", ["", "0d", "0", "-1d", "1.5d", "10y", "3651d", "523w", "soon", "999999999w", "1 d", "٣d"]
)
async def test_a_lifetime_that_is_none_is_refused_by_name(plane: ControlPlane, expires_in: str) -> None:
    client_id = (await make(plane))["client_id"]
    answer = await plane.api.post(f"{ACCOUNTS}/{client_id}/api_keys", json={"expires_in": expires_in})
    assert (answer.status_code, answer.json()["message"].split(":")[0]) == (400, "expires_in"), answer.text
    assert (await plane.api.get(f"{ACCOUNTS}/{client_id}/api_keys")).json() == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": "x" * 64}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "a", "description": "x" * 1025}, "description"),
        ({"name": "a", "description": 1}, "description"),
        ({"name": "a", "role": "workload"}, "role"),
        ({"name": "a", "role": "owner"}, "role"),
    ],
)
async def test_an_account_that_breaks_a_rule_is_refused_by_name(
    plane: ControlPlane, body: dict[str, Any], field: str
) -> None:
    answer = await plane.api.post(ACCOUNTS, json=body)
    assert (answer.status_code, answer.json()["message"].split(":")[0]) == (400, field), answer.text


async def test_accounts_of_programs_are_not_to_be_seen_or_touched(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    revision = await plane.serve(Kind.JOB, "sums")
    program = await plane.context.store.read(lambda tx: tx.identities.account_of(revision.resource_uid))
    assert program is not None
    assert program.client_id not in {account["client_id"] for account in (await plane.api.get(ACCOUNTS)).json()}
    at = f"{ACCOUNTS}/{program.client_id}"
    for method, path in (("PUT", at), ("DELETE", at), ("GET", f"{at}/api_keys"), ("POST", f"{at}/api_keys")):
        answer = await plane.api.request(method, path, json={} if method in ("PUT", "POST") else None)
        assert answer.status_code == 404, (method, path)


async def test_accounts_of_other_workspaces_are_not_to_be_seen_or_touched(plane: ControlPlane) -> None:
    account = await make(plane)
    key = await make_key(plane, account["client_id"])
    other = await make(plane)
    foreign = await plane.key(Role.ADMIN, workspace=AWAY)
    at = f"{ACCOUNTS}/{account['client_id']}"
    for method, path in (
        ("PUT", at),
        ("DELETE", at),
        ("GET", f"{at}/api_keys"),
        ("POST", f"{at}/api_keys"),
        ("DELETE", f"{at}/api_keys/{key['id']}"),
    ):
        answer = await plane.send(foreign, method, path, json={} if method in ("PUT", "POST") else None)
        assert answer.status_code == 404, (method, path)
    wrong = await plane.api.delete(f"{ACCOUNTS}/{other['client_id']}/api_keys/{key['id']}")
    assert wrong.status_code == 404
    assert (await plane.send(key["apiKey"], "GET", "/v0/agents")).status_code == 200


async def test_a_role_acts_with_the_next_request(plane: ControlPlane) -> None:
    account = await make(plane, role="admin")
    key = (await make_key(plane, account["client_id"]))["apiKey"]
    assert (await plane.send(key, "GET", f"{ACCOUNTS}/{account['client_id']}/api_keys")).status_code == 200
    await plane.api.put(f"{ACCOUNTS}/{account['client_id']}", json={"role": "member"})
    assert (await plane.send(key, "GET", f"{ACCOUNTS}/{account['client_id']}/api_keys")).status_code == 403


async def test_a_narrowed_key_makes_no_wider_key_and_no_wider_account(plane: ControlPlane) -> None:
    account = await make(plane, role="admin")
    narrow = await plane.key(Role.ADMIN, ["apiKey:write", "workspaces:update"])
    answer = await plane.send(narrow, "POST", f"{ACCOUNTS}/{account['client_id']}/api_keys", json={})
    assert answer.status_code == 200
    assert (await plane.send(answer.json()["apiKey"], "GET", "/v0/agents")).status_code == 403
    for role in ("admin", "member"):  # whose secret would give a token for all that the role may do
        made = await plane.send(narrow, "POST", ACCOUNTS, json={"name": "x", "role": role})
        assert made.status_code == 403 and "is narrowed to" in made.json()["message"], made.text
        raised = await plane.send(narrow, "PUT", f"{ACCOUNTS}/{account['client_id']}", json={"role": role})
        assert raised.status_code == 403
    named = await plane.send(narrow, "PUT", f"{ACCOUNTS}/{account['client_id']}", json={"name": "y"})
    assert named.status_code == 200


async def test_the_last_admin_stays(plane: ControlPlane) -> None:
    (only,) = [account for account in (await plane.api.get(ACCOUNTS)).json() if account["role"] == "admin"]
    at = f"{ACCOUNTS}/{only['client_id']}"
    for answer in (await plane.api.delete(at), await plane.api.put(at, json={"role": "member"})):
        assert (answer.status_code, "last admin" in answer.json()["message"]) == (409, True)
    await make(plane, role="admin")
    assert (await plane.api.delete(at)).status_code == 200


async def test_a_caller_sees_its_own_workspace(plane: ControlPlane) -> None:
    listed = (await plane.api.get("/v0/workspaces")).json()
    one = await plane.api.get(f"/v0/workspaces/{HOME}")
    assert one.status_code == 200 and listed == [one.json()]
    assert one.json()["name"] == one.json()["id"] == HOME and one.json()["status"] == "ready"
    assert "resourceCounts" not in one.json()
    assert (await plane.api.get(f"/v0/workspaces/{AWAY}")).status_code == 403
    assert (await plane.api.get("/v0/workspaces/nowhere")).status_code == 404
    assert (await plane.api.get("/v0/workspaces", headers={"X-Blaxel-Workspace": AWAY})).status_code == 403
    assert (await plane.api.get("/v0/workspaces", headers={"X-Blaxel-Workspace": ""})).status_code == 200
    assert (await plane.api.get("/v0/workspaces", params={"workspace": AWAY})).status_code == 403


async def test_a_workspace_counts_what_is_in_it(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    await make(plane)
    counts = (await plane.api.get(f"/v0/workspaces/{HOME}", params={"countResources": "true"})).json()["resourceCounts"]
    assert set(counts) == {
        *("agents", "functions", "models", "sandboxes", "policies", "jobs", "volumes", "volumetemplates"),
        *("integrationconnections", "previews", "customdomains", "serviceaccounts", "images"),
    }
    assert (counts["jobs"], counts["agents"], counts["serviceaccounts"]) == (1, 0, 2)


async def test_making_and_changing_workspaces_is_refused_as_not_served(plane: ControlPlane) -> None:
    for method, path in (
        ("POST", ""),
        ("POST", "/availability"),
        ("PUT", f"/{HOME}"),
        ("DELETE", f"/{HOME}"),
        ("DELETE", f"/{HOME}/leave"),
    ):
        answer = await plane.api.request(method, f"/v0/workspaces{path}")
        assert (answer.status_code, "not served by this version" in answer.text) == (404, True), (method, path)


async def test_clients_discover_where_tokens_are_given_and_how_to_verify_them(plane: ControlPlane) -> None:
    account = await make(plane)
    token = (await token_of(plane, account)).json()["access_token"]
    for prefix in ("", "/v0"):
        found = (await plane.http.get(f"{prefix}/.well-known/openid-configuration")).json()
        assert found["token_endpoint"] == "http://127.0.0.1:8080/v0/oauth/token"
        assert found["grant_types_supported"] == ["client_credentials"]
        assert "agents:list" in found["scopes_supported"]
        keys = (await plane.http.get(found["jwks_uri"])).json()
        assert all("d" not in key for key in keys["keys"])
        allowed = found["id_token_signing_alg_values_supported"]
        with pytest.warns(SecurityWarning, match="EdDSA"):  # its other name is one that Envoy does not know
            verified = jwt.decode(token, KeySet.import_key_set(keys), algorithms=allowed)
        assert verified.claims["iss"] == found["issuer"] and verified.claims["sub"] == account["client_id"]


async def test_a_refresh_is_refused_with_what_to_do(plane: ControlPlane) -> None:
    answer = await plane.http.post("/v0/oauth/token", json={"grant_type": "refresh_token", "refresh_token": "x"})
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    assert "client's id and secret" in answer.json()["message"]
