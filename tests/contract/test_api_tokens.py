"""`POST /oauth/token`: how a program turns its credentials into a token, and what a wrong attempt is told."""

import base64
from typing import Any

import httpx

from homeport.app.authentication import client_secret
from homeport.core.ids import Kind
from homeport.identity.keys import GATEWAY_AUDIENCE
from homeport.testing.control_plane import ControlPlane

GRANT = {"grant_type": "client_credentials"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def credentials(plane: ControlPlane, name: str = "sums") -> tuple[str, str]:
    """The client id and secret that a revision's program is started with."""
    await plane.make_job(name)
    revision = await plane.serve(Kind.JOB, name)
    account = await plane.context.store.read(lambda tx: tx.identities.account_of(revision.resource_uid))
    assert account is not None
    return account.client_id, client_secret(plane.context, account.client_id, revision.id)


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


def refused(answer: httpx.Response, error: str, field: str) -> None:
    body = answer.json()
    assert (answer.status_code, body["error"]) == (400, error), answer.text
    assert set(body) == {"code", "error", "error_description", "message"}
    assert body["message"].startswith(f"{field}: ") and body["error_description"] == body["message"]
    assert answer.headers["Cache-Control"] == "no-store"


async def test_credentials_become_a_token_in_every_way_that_clients_send_them(plane: ControlPlane) -> None:
    client_id, secret = await credentials(plane)
    in_body = {**GRANT, "client_id": client_id, "client_secret": secret}
    ways: tuple[dict[str, Any], ...] = (
        {"json": GRANT, "headers": basic(client_id, secret)},
        {"json": in_body},
        {"data": GRANT, "headers": basic(client_id, secret)},
        {"data": in_body},
        {"json": {**in_body, "client_secret": "ignored"}, "headers": basic(client_id, secret)},
        {"json": {**GRANT, "scope": "", "newer": None}, "headers": basic(client_id, secret)},
    )
    for path in ("/oauth/token", "/v0/oauth/token"):
        for way in ways:
            answer = await plane.http.post(path, **way)
            assert answer.status_code == 200, (way, answer.text)
            assert set(answer.json()) == {"access_token", "refresh_token", "expires_in", "token_type"}
            assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 7200)
            assert answer.headers["Cache-Control"] == "no-store"


async def test_a_token_lasts_two_hours_and_reaches_what_a_program_may_reach(plane: ControlPlane) -> None:
    client_id, secret = await credentials(plane)
    answer = await plane.http.post("/oauth/token", json=GRANT, headers=basic(client_id, secret))
    token = answer.json()["access_token"]
    claims = plane.context.keys.verify(token, GATEWAY_AUDIENCE, plane.clock.now())
    assert claims.sub == client_id and claims.expires_at is not None
    assert (claims.expires_at - claims.issued_at).total_seconds() == 7200
    assert (await plane.send(token, "POST", "/v0/jobs/sums/executions", json={})).status_code == 200
    assert (await plane.send(token, "GET", "/v0/jobs/sums/executions")).status_code == 200
    for method, path in (
        ("GET", "/v0/policies"),
        ("GET", "/v0/agents"),
        ("GET", "/v0/homeport/status"),
        ("DELETE", "/v0/jobs/sums"),
    ):
        assert (await plane.send(token, method, path)).status_code == 403, path
    plane.clock.move(7200)
    assert (await plane.send(token, "GET", "/v0/jobs/sums/executions")).status_code == 401


async def test_a_token_is_narrowed_to_the_scopes_that_were_asked_for(plane: ControlPlane) -> None:
    made = (await plane.api.post("/v0/service_accounts", json={"name": "ci", "role": "admin"})).json()
    client = basic(made["client_id"], made["client_secret"])
    answer = await plane.http.post(
        "/oauth/token", json={**GRANT, "scope": "policies:list  agents:list"}, headers=client
    )
    assert (answer.status_code, answer.json()["scope"]) == (200, "agents:list policies:list")
    key = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await plane.http.get("/v0/policies", headers=key)).status_code == 200
    assert (await plane.http.get("/v0/jobs", headers=key)).status_code == 403
    for scope in ("policies:list nonsense", "all", 5):
        wrong = await plane.http.post("/oauth/token", json={**GRANT, "scope": scope}, headers=client)
        refused(wrong, "invalid_scope", "scope")
    program = basic(*await credentials(plane))
    narrow = await plane.http.post("/oauth/token", json={**GRANT, "scope": "jobs:run"}, headers=program)
    assert narrow.json()["scope"] == "jobs:run"
    wide = await plane.http.post("/oauth/token", json={**GRANT, "scope": "policies:create"}, headers=program)
    refused(wide, "invalid_scope", "scope")


async def test_another_grant_is_refused_by_its_name(plane: ControlPlane) -> None:
    headers = basic(*await credentials(plane))
    for grant in (
        "password",
        "authorization_code",
        "refresh_token",
        "device_code",
        "",
        None,
        1,
        ["client_credentials"],
        {},
    ):
        answer = await plane.http.post("/oauth/token", json={"grant_type": grant}, headers=headers)
        refused(answer, "unsupported_grant_type", "grant_type")
    for sent in ({"json": {}}, {"content": b""}, {"content": b"", "headers": FORM}):
        answer = await plane.http.post("/oauth/token", **sent)
        refused(answer, "unsupported_grant_type", "grant_type")


async def test_wrong_credentials_are_refused_alike(plane: ControlPlane) -> None:
    client_id, secret = await credentials(plane)
    other_id, other_secret = await credentials(plane, "other")
    revision = secret.partition(".")[0]
    messages = set()
    for said_id, said_secret in (
        (client_id, other_secret),
        (other_id, secret),
        ("nobody", secret),
        (client_id, ""),
        (client_id, "."),
        (client_id, revision),
        (client_id, secret + "0"),
        (client_id, secret[:-1]),
        (client_id, "\0" + secret),
        (client_id, "é" * 5000),
        ("", ""),
    ):
        answers = [
            await plane.http.post("/oauth/token", json={**GRANT, "client_id": said_id, "client_secret": said_secret})
        ]
        answers.append(await plane.http.post("/oauth/token", json=GRANT, headers=basic(said_id, said_secret)))
        for answer in answers:
            refused(answer, "invalid_client", "client_secret")
            messages.add(answer.json()["message"])
            assert secret not in answer.text and other_secret not in answer.text
    assert len(messages) == 1


async def test_credentials_that_cannot_be_read_are_named(plane: ControlPlane) -> None:
    for authorization in ("Basic", "Basic !", "Basic é", "Basic /w==", "basic " + "A" * 5, "Bearer x", ""):
        headers = {"Authorization": authorization.encode("latin-1")}
        answer = await plane.http.post("/oauth/token", json=GRANT, headers=headers)
        refused(answer, "invalid_client", "client_secret")
    for client_id, secret in ((None, None), (1, 2), ("a", None), (None, "b"), (["a"], {"b": 1})):
        sent = {**GRANT, "client_id": client_id, "client_secret": secret}
        refused(await plane.http.post("/oauth/token", json=sent), "invalid_client", "client_secret")


async def test_a_body_that_cannot_be_read_is_named(plane: ControlPlane) -> None:
    for body in (b"{", b"[]", b"null", b'"x"', b'{"a":NaN}', b"[" * 5000):
        refused(await plane.http.post("/oauth/token", content=body), "invalid_request", "body")
    for body in (b"\xff=1", b"a=%FF", b"&".join(b"a=1" for _ in range(30))):
        refused(await plane.http.post("/oauth/token", content=body, headers=FORM), "invalid_request", "body")
    answer = await plane.http.post("/oauth/token", content=b"x", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["error"]) == (415, "UnsupportedMediaType")


async def test_the_credentials_of_a_workload_end_with_it(plane: ControlPlane) -> None:
    client_id, secret = await credentials(plane)
    answer = await plane.http.post("/oauth/token", json=GRANT, headers=basic(client_id, secret))
    token = answer.json()["access_token"]
    await plane.context.store.write(lambda tx: tx.identities.remove_account(client_id, plane.clock.now()))
    answer = await plane.http.post("/oauth/token", json=GRANT, headers=basic(client_id, secret))
    refused(answer, "invalid_client", "client_secret")
    assert (await plane.send(token, "GET", "/v0/jobs/sums/executions")).status_code == 401
