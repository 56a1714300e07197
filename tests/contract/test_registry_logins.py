"""Logins of registries, however they come in: sealed, never shown, and had by each revision that may use them."""

import base64
import io
import json
import zipfile
from dataclasses import replace
from typing import Any

import pytest

from homeport.app.sealing import seal_at_rest
from homeport.core.fields import MASK
from homeport.core.ids import Kind
from homeport.core.logins import Logins
from homeport.reconcile.logins import RevisionLogins
from homeport.sealing.keys import SealingKeys
from homeport.store.records import Revision
from homeport.testing.control_plane import HOME, ControlPlane

CONFIG = ".docker/config.json"


def config(**passwords: str) -> str:
    auths = {name: {"auth": base64.b64encode(f"me:{one}".encode()).decode()} for name, one in passwords.items()}
    return json.dumps({"auths": auths})


def packed(logins: str, program: str = "x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # not packed: what is in it can be found
        archive.writestr("main.py", program)
        archive.writestr(CONFIG, logins)
    return buffer.getvalue()


def body(**runtime: Any) -> dict[str, Any]:
    return {"metadata": {"name": "one"}, "spec": {"runtime": runtime}}


async def upload(plane: ControlPlane, method: str, content: bytes, **runtime: Any) -> Any:
    path = "/v0/agents" if method == "POST" else "/v0/agents/one"
    accepted = await plane.api.request(method, path, params={"upload": "true"}, json=body(**runtime))
    assert accepted.status_code == 200, accepted.text
    return await plane.http.put(accepted.headers["X-Blaxel-Upload-Url"], content=content)


async def newest(plane: ControlPlane) -> Revision:
    def read(tx: Any) -> Revision:
        found: Revision = tx.revisions.of(tx.resources.get(HOME, Kind.AGENT, "one").uid)[0]
        return found

    return await plane.context.store.read(read)


async def had(plane: ControlPlane) -> Logins:
    """By the newest revision."""
    return await RevisionLogins(plane.context.store, plane.context.sealing).of(await newest(plane))


def passwords(logins: Logins) -> dict[str, str]:
    return {host: login.fields["password"] for host, login in logins.known.items()}


def written(plane: ControlPlane) -> bytes:
    return b"".join(path.read_bytes() for path in plane.context.data.root.rglob("*") if path.is_file())


def encoded(secret: str) -> bytes:
    return base64.b64encode(f"me:{secret}".encode())


async def test_a_docker_config_is_sealed_masked_and_kept_when_the_mask_comes_back(plane: ControlPlane) -> None:
    sent = config(**{"r.io": "hush-order"})
    made = await plane.api.post("/v0/agents", params={"upload": "true"}, json=body(dockerConfig=sent))
    assert made.json()["spec"]["runtime"]["dockerConfig"] == MASK
    read = (await plane.api.get("/v0/agents/one")).json()
    back = await plane.api.put("/v0/agents/one", params={"upload": "true"}, json=read)
    assert back.status_code == 200, back.text
    assert passwords(await had(plane)) == {"r.io": "hush-order"}
    listed = await plane.api.get("/v0/agents/one/revisions")
    for answer in (made, back, listed):
        assert "hush" not in answer.text and encoded("hush-order").decode() not in answer.text
    assert "X-Homeport-Ignored-Fields" not in made.headers
    assert encoded("hush-order") not in written(plane)
    shown = await plane.api.get("/v0/agents/one", params={"show_secrets": "true"})
    assert shown.json()["spec"]["runtime"]["dockerConfig"] == sent


async def test_a_mask_without_a_stored_one_and_a_bad_config_are_refused_before_anything_is_stored(
    plane: ControlPlane,
) -> None:
    for sent in (MASK, "hush", '{"auths": {"r.io": {"auth": "hush"}}}', {"auths": {"r.io": "hush"}}):
        refused = await plane.api.post("/v0/agents", params={"upload": "true"}, json=body(dockerConfig=sent))
        assert refused.status_code == 400 and "spec.runtime.dockerConfig" in refused.json()["message"]
        assert "hush" not in refused.text and MASK not in refused.text
    assert (await plane.api.get("/v0/agents/one")).status_code == 404


async def test_logins_in_an_upload_are_sealed_with_the_revision_and_leave_the_archive(plane: ControlPlane) -> None:
    sent = packed(config(**{"r.io": "hush-upload", "s.io": "hush-upload"}))
    order = config(**{"r.io": "hush-order"})
    assert (await upload(plane, "POST", sent, dockerConfig=order)).status_code == 200
    assert passwords(await had(plane)) == {"r.io": "hush-order", "s.io": "hush-upload"}
    assert encoded("hush-upload") not in written(plane) and b"hush" not in written(plane)
    assert "hush" not in repr(await newest(plane))
    assert "ource_logins" not in (await plane.api.get("/v0/agents/one/revisions")).text


async def test_the_same_upload_twice_is_one_and_a_later_update_without_one_keeps_its_logins(
    plane: ControlPlane,
) -> None:
    sent = packed(config(**{"r.io": "hush-upload"}))
    accepted = await plane.api.post("/v0/agents", params={"upload": "true"}, json=body())
    for _ in range(2):
        answer = await plane.http.put(accepted.headers["X-Blaxel-Upload-Url"], content=sent)
        assert answer.status_code == 200, answer.text
    first = await newest(plane)
    assert (await plane.api.put("/v0/agents/one", json=body(memory=256))).status_code == 200
    second = await newest(plane)
    assert first.id != second.id and first.source_digest == second.source_digest
    assert passwords(await had(plane)) == {"r.io": "hush-upload"}
    plain = packed(config(), program="y")
    assert (await upload(plane, "PUT", plain)).status_code == 200
    assert passwords(await had(plane)) == {}


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("hush", "must be JSON"),
        ('{"auths": {"r.io": {"auth": "hush!"}}}', "is no base64"),
        ('{"auths": {}, "credsStore": "hush"}', "credsStore"),
    ],
)
async def test_bad_logins_in_an_upload_are_refused_and_nothing_is_kept(
    plane: ControlPlane, content: str, rule: str
) -> None:
    refused = await upload(plane, "POST", packed(content))
    assert refused.status_code == 400
    assert refused.json()["message"].startswith(f"{CONFIG}: ") and rule in refused.json()["message"]
    assert "hush" not in refused.text
    assert [*plane.context.data.sources.iterdir(), *plane.context.data.uploads.iterdir()] == []


async def test_a_new_first_key_seals_the_logins_of_uploads_anew(plane: ControlPlane) -> None:
    await upload(plane, "POST", packed(config(**{"r.io": "hush-upload"})))
    path = plane.context.data.sealing_key
    plane.context.sealing.rotate(path)
    rotated = SealingKeys.load(path)
    assert rotated is not None
    await seal_at_rest(replace(plane.context, sealing=rotated))
    keys = json.loads(path.read_text())["keys"][:1]
    path.write_text(json.dumps({"keys": keys}))
    alone = SealingKeys.load(path)
    assert alone is not None
    logins = await RevisionLogins(plane.context.store, alone).of(await newest(plane))
    assert passwords(logins) == {"r.io": "hush-upload"}


ADDRESS = "/v0/homeport/registries"


async def test_a_stored_login_goes_in_and_all_but_its_password_comes_out(plane: ControlPlane) -> None:
    sent = {"username": "ada", "password": "hush-stored"}
    stored = await plane.api.put(f"{ADDRESS}/R.io:5000", json=sent)
    assert stored.status_code == 200, stored.text
    assert {**stored.json(), "registry": "r.io:5000", "username": "ada"} == stored.json()
    assert set(stored.json()) == {"registry", "username", "createdAt", "createdBy", "updatedAt", "updatedBy"}
    assert (await plane.api.get(f"{ADDRESS}/r.io:5000")).json() == stored.json()
    assert (await plane.api.get(ADDRESS)).json()["data"] == [stored.json()]
    assert b"hush" not in written(plane)
    assert (await plane.api.get("/v0/homeport/secrets")).json()["data"] == []
    for method in ("GET", "DELETE"):
        assert (await plane.api.request(method, "/v0/homeport/secrets/registry:r.io:5000")).status_code == 404


async def test_the_orders_login_counts_before_the_uploads_and_that_before_the_workspaces(plane: ControlPlane) -> None:
    for host in ("a.io", "b.io", "index.docker.io"):
        await plane.api.put(f"{ADDRESS}/{host}", json={"username": "ada", "password": "hush-stored"})
    order = config(**{"a.io": "hush-order", "c.io": "hush-order"})
    sent = packed(config(**{"a.io": "hush-upload", "b.io": "hush-upload", "c.io": "hush-upload"}))
    await upload(plane, "POST", sent, dockerConfig=order)
    logins = await had(plane)
    assert passwords(logins) == {
        "a.io": "hush-order",
        "b.io": "hush-upload",
        "c.io": "hush-order",
        "docker.io": "hush-stored",
    }
    assert {host: login.source for host, login in logins.known.items()} == {
        "a.io": "runtime.dockerConfig",
        "b.io": ".docker/config.json in the upload",
        "c.io": "runtime.dockerConfig",
        "docker.io": "the workspace's stored logins",
    }


async def test_a_login_is_replaced_deleted_and_had_by_its_own_workspace_only(plane: ControlPlane) -> None:
    for password in ("hush-first", "hush-second"):
        await plane.api.put(f"{ADDRESS}/r.io", json={"username": "ada", "password": password})
    await plane.api.post("/v0/agents", params={"upload": "true"}, json=body())
    assert passwords(await had(plane)) == {"r.io": "hush-second"}
    other = replace(await newest(plane), workspace="away")
    assert (await RevisionLogins(plane.context.store, plane.context.sealing).of(other)).known == {}
    assert (await plane.api.delete(f"{ADDRESS}/r.io")).status_code == 200
    assert (await had(plane)).known == {}
    gone = await plane.api.delete(f"{ADDRESS}/r.io")
    assert gone.status_code == 404 and "no login for r.io" in gone.json()["message"]


@pytest.mark.parametrize(
    ("registry", "sent", "field"),
    [
        ("no registry", {"username": "a", "password": "hush"}, "registry"),
        ("-.io", {"username": "a", "password": "hush"}, "registry"),
        ("r.io", {"username": "ada:hush", "password": "hush"}, "username"),
        ("r.io", {"password": "hush"}, "username"),
        ("r.io", {"username": "a"}, "password"),
        ("r.io", {"username": "a", "password": ""}, "password"),
        ("r.io", {"username": "a", "password": 4711}, "password"),
        ("r.io", {"username": "a", "password": ["hush"]}, "password"),
    ],
)
async def test_a_bad_login_is_refused_by_field_and_repeats_no_password(
    plane: ControlPlane, registry: str, sent: dict[str, Any], field: str
) -> None:
    refused = await plane.api.put(f"{ADDRESS}/{registry}", json=sent)
    assert refused.status_code == 400 and field in refused.json()["message"], refused.text
    assert "hush" not in refused.text and "4711" not in refused.text
    assert (await plane.api.get(ADDRESS)).json()["data"] == []
