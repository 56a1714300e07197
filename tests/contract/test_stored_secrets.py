"""Secrets with a name of their own: they go in and never come out, and a build that misses one is told why."""

from typing import Any

import pytest

from homeport.app import stored_secrets
from homeport.build.credentials import Credential, open_secret
from homeport.core.errors import Invalid
from homeport.identity.principals import Role
from homeport.testing.control_plane import AWAY, HOME, ControlPlane

ADDRESS = "/v0/homeport/secrets"


def opened(plane: ControlPlane, name: str, workspace: str = HOME) -> Any:
    keys = plane.context.sealing
    return plane.context.store.read(lambda tx: open_secret(tx, keys, workspace, name, "spec.repository.secret"))


def written(plane: ControlPlane) -> bytes:
    database = plane.context.data.database
    return b"".join(path.read_bytes() for path in database.parent.glob(f"{database.name}*"))


async def test_a_secret_goes_in_and_only_its_name_comes_out(plane: ControlPlane) -> None:
    stored = await plane.api.put(f"{ADDRESS}/git", json={"value": "hush-token"})
    assert stored.status_code == 200
    assert set(stored.json()) == {"name", "createdAt", "createdBy", "updatedAt", "updatedBy"}
    assert (await plane.api.get(f"{ADDRESS}/git")).json() == stored.json()
    listed = (await plane.api.get(ADDRESS)).json()
    assert listed == {"data": [stored.json()], "meta": {"hasMore": False, "nextCursor": "", "total": 1}}
    assert b"hush" not in written(plane)
    assert await opened(plane, "git") == Credential(value="hush-token")


async def test_a_secret_is_replaced_and_may_have_parts(plane: ControlPlane) -> None:
    first = (await plane.api.put(f"{ADDRESS}/git", json={"value": "hush-one"})).json()
    plane.clock.move(60)
    parts = {"username": "ada", "password": "hush-two"}
    second = (await plane.api.put(f"{ADDRESS}/git", json={"data": parts})).json()
    assert second["createdAt"] == first["createdAt"] and second["updatedAt"] > first["updatedAt"]
    assert await opened(plane, "git") == Credential(data=parts)
    assert b"hush" not in written(plane)


async def test_a_deleted_secret_is_gone_and_whoever_needs_it_is_told_who_deleted_it_and_when(
    plane: ControlPlane,
) -> None:
    await plane.api.put(f"{ADDRESS}/git", json={"value": "hush"})
    assert (await plane.api.delete(f"{ADDRESS}/git")).status_code == 200
    for method in ("GET", "DELETE"):
        assert (await plane.api.request(method, f"{ADDRESS}/git")).status_code == 404
    assert (await plane.api.get(ADDRESS)).json()["data"] == []
    with pytest.raises(Invalid, match=r"deleted by the admin \(.*\) on 2026-01-02T12:00:00") as caught:
        await opened(plane, "git")
    assert "homeport secrets set git" in caught.value.for_caller()
    with pytest.raises(Invalid, match="does not exist"):
        await opened(plane, "other")
    again = await plane.api.put(f"{ADDRESS}/git", json={"value": "hush-again"})
    assert again.status_code == 200 and await opened(plane, "git") == Credential(value="hush-again")


async def test_a_secret_with_a_host_goes_nowhere_else(plane: ControlPlane) -> None:
    put = await plane.api.put(f"{ADDRESS}/git", json={"value": "hush", "host": "Git.example.com:8443"})
    assert put.status_code == 200, put.text
    member = await plane.key(Role.MEMBER)
    for number, (url, status) in enumerate(
        (
            ("https://git.example.com:8443/x", 200),
            ("https://GIT.example.com:8443/x", 200),
            ("https://git.example.com/x", 400),
            ("https://thief.example/x", 400),
            ("https://git.example.com:8443.thief.example/x", 400),
        )
    ):
        body = {"metadata": {"name": f"a{number}"}, "spec": {"repository": {"url": url, "secret": "git"}}}
        answer = await plane.send(member, "POST", "/v0/agents", json=body)
        assert answer.status_code == status, (url, answer.text)
        assert "hush" not in answer.text
    body["spec"]["repository"]["url"] = "https://thief.example/x"
    refused = (await plane.send(member, "POST", "/v0/agents", json=body)).json()["message"]
    assert "spec.repository.secret" in refused and "git.example.com:8443 only" in refused
    for host in ("", "a/b", "user@host", "https://host", 7):
        assert (await plane.api.put(f"{ADDRESS}/git", json={"value": "x", "host": host})).status_code in (400, 422)


async def test_what_stands_where_an_object_belongs_is_not_repeated(plane: ControlPlane) -> None:
    secret = await plane.api.put(f"{ADDRESS}/git", json={"data": "hush"})
    body = {"metadata": {"name": "a"}, "spec": {"repository": "https://user:hush@host/x"}}
    agent = await plane.api.post("/v0/agents", json=body)
    for answer, field in ((secret, "data"), (agent, "spec.repository")):
        assert (answer.status_code, answer.json()["message"]) == (400, f"{field}: must be an object.")


async def test_a_workspaces_secrets_are_its_own(plane: ControlPlane) -> None:
    await plane.api.put(f"{ADDRESS}/git", json={"value": "hush"})
    stranger = await plane.key(Role.ADMIN, workspace=AWAY)
    assert (await plane.send(stranger, "GET", f"{ADDRESS}/git")).status_code == 404
    with pytest.raises(Invalid):
        await opened(plane, "git", workspace=AWAY)


async def test_members_see_names_and_change_nothing(plane: ControlPlane) -> None:
    await plane.api.put(f"{ADDRESS}/git", json={"value": "hush"})
    member = await plane.key(Role.MEMBER)
    assert [one["name"] for one in (await plane.send(member, "GET", ADDRESS)).json()["data"]] == ["git"]
    assert (await plane.send(member, "PUT", f"{ADDRESS}/git", json={"value": "x"})).status_code == 403
    assert (await plane.send(member, "DELETE", f"{ADDRESS}/git")).status_code == 403
    program = await plane.key(Role.WORKLOAD)
    assert (await plane.send(program, "GET", ADDRESS)).status_code == 403


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("Git", {"value": "hush"}, "name: must be 1 to 49"),
        ("git", {}, "either value, a string, or data"),
        ("git", {"value": "hush", "data": {"a": "hush"}}, "either value, a string, or data"),
        ("git", {"value": ""}, "value: must not be empty"),
        ("git", {"value": ["hush"]}, "value: must be a string"),
        ("git", {"data": {}}, "data: must have 1 to 64 keys"),
        ("git", {"data": {"": "hush"}}, "keys of 1 to 128 characters"),
        ("git", {"data": {"a": 5}}, "data.a: must be a string"),
        ("git", {"data": "hush"}, "data: must be an object"),
        ("git", "hush", "must be an object"),
        ("git", ["hush"], "must be an object"),
        ("git", {"value": "hush" * 25_000}, "at most 94208 bytes"),
    ],
)
async def test_what_cannot_be_stored_is_refused_without_being_shown(
    plane: ControlPlane, name: str, body: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await plane.api.put(f"{ADDRESS}/{name}", json=body)
    assert (answer.status_code, said in answer.json()["message"]) == (400, True), answer.text
    assert "hush" not in answer.text + caplog.text
    assert (await plane.api.get(ADDRESS)).json()["data"] == []


async def test_a_body_that_is_no_json_is_refused_without_being_shown(plane: ControlPlane) -> None:
    answer = await plane.api.put(f"{ADDRESS}/git", content=b'{"value": "hush', headers={"Content-Type": "text/json"})
    assert answer.status_code == 415
    answer = await plane.api.put(
        f"{ADDRESS}/git", content=b'{"value": hush', headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400 and "hush" not in answer.text


async def test_there_is_a_most(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_secrets, "SECRETS_MOST", 2)
    for name, status in (("a", 200), ("b", 200), ("a", 200), ("c", 409)):
        assert (await plane.api.put(f"{ADDRESS}/{name}", json={"value": "x"})).status_code == status
    await plane.api.delete(f"{ADDRESS}/a")
    assert (await plane.api.put(f"{ADDRESS}/c", json={"value": "x"})).status_code == 200
