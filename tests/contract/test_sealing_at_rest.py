"""The store's file holds no secret in plain: after any request, after an upgrade, after a change of keys; and the
server does not start on a store that it could not open."""

import json
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeport.app.sealing import reveal_workload, seal_at_rest
from homeport.build.credentials import open_secret
from homeport.core.errors import StoreUnavailable
from homeport.core.fields import MASK
from homeport.core.ids import ExecutionId, Kind
from homeport.sealing.keys import SealingKeys
from homeport.sealing.specs import Owner, open_env, open_spec
from homeport.store.contract import Transaction
from homeport.testing.control_plane import HOME, ControlPlane
from homeport.testing.factories import make_execution, make_resource, make_revision

ENVS = [{"name": "TOKEN", "value": "hush-env", "secret": True}, {"name": "MODE", "value": "fast"}]
AGENT = {"metadata": {"name": "one"}, "spec": {"runtime": {"envs": ENVS}}}


def written(plane: ControlPlane) -> bytes:
    """All that the store has on disk."""
    database = plane.context.data.database
    return b"".join(path.read_bytes() for path in sorted(database.parent.glob(f"{database.name}*")))


async def test_secrets_are_on_disk_as_tokens_only_and_shown_to_admins_who_ask(plane: ControlPlane) -> None:
    answers = [
        await plane.api.post("/v0/agents", params={"upload": "true"}, json=AGENT),
        await plane.api.put("/v0/agents/one", params={"upload": "true"}, json=AGENT),
        await plane.api.get("/v0/agents/one"),
        await plane.api.get("/v0/agents"),
        await plane.api.get("/v0/agents/one/revisions"),
        await plane.api.delete("/v0/agents/one"),
    ]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert all("hush" not in answer.text for answer in answers)
    assert b"hush" not in written(plane)
    shown = await plane.api.get("/v0/agents/one", params={"show_secrets": "true"})
    assert shown.json()["spec"]["runtime"]["envs"] == ENVS


async def test_an_executions_variables_are_sealed_and_a_retry_is_still_known(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    body = {"id": "again", "env": {"TOKEN": "hush-override"}, "tasks": [{}]}
    first = await plane.api.post("/v0/jobs/sums/executions", json=body)
    again = await plane.api.post("/v0/jobs/sums/executions", json=body)
    other = await plane.api.post("/v0/jobs/sums/executions", json={**body, "env": {"TOKEN": "another"}})
    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 409)
    ident = first.json()["executionId"]
    assert again.json()["executionId"] == ident
    read = await plane.api.get(f"/v0/jobs/sums/executions/{ident}")
    assert read.json()["spec"]["envOverride"] == {"TOKEN": "***"}
    assert b"hush" not in written(plane)
    stored = await plane.context.store.read(lambda tx: tx.executions.get(ExecutionId(ident)))
    assert stored is not None and len(stored.request_digest) > 64  # a bare digest could be tried out
    owner = Owner(HOME, stored.id)
    assert open_env(plane.context.sealing, stored.env_override, owner) == {"TOKEN": "hush-override"}


async def leave_as_an_earlier_version(plane: ControlPlane, padding: int = 0) -> None:
    """Rows in plain, and no note that says otherwise."""
    spec = AGENT["spec"]
    resource = make_resource("old", spec=spec)
    execution = make_execution("exec-old", env_override={"TOKEN": "hush-override"}, request_digest="d" * 64)

    def write(tx: Transaction) -> None:
        tx.resources.insert(resource)
        tx.revisions.insert(make_revision(resource))
        tx.executions.insert(execution)
        for number in range(padding):
            tx.resources.insert(make_resource(f"more-{number}", spec={**spec, "pad": "x" * 3000}))

    await plane.context.store.write(write)
    with closing(sqlite3.connect(plane.context.data.database)) as connection:
        connection.execute("DELETE FROM notes WHERE key = 'sealed-by'")
        connection.commit()
    assert b"hush-env" in written(plane) and b"hush-override" in written(plane)


async def test_what_an_earlier_version_left_in_plain_is_sealed_and_gone_from_the_files(plane: ControlPlane) -> None:
    await leave_as_an_earlier_version(plane, padding=50)
    await seal_at_rest(plane.context)
    assert b"hush" not in written(plane)
    context = plane.context

    def read(tx: Transaction) -> tuple[Any, Any, Any]:
        resource = tx.resources.get("home", Kind.AGENT, "old")
        assert resource is not None
        return resource, tx.revisions.of(resource.uid)[0], tx.executions.get(ExecutionId("exec-old"))

    resource, revision, execution = await context.store.read(read)
    assert reveal_workload(context, resource) == AGENT["spec"]
    assert open_spec(context.sealing, revision.spec, Owner("home", resource.uid)) == AGENT["spec"]
    assert open_env(context.sealing, execution.env_override, Owner("home", "exec-old")) == {"TOKEN": "hush-override"}
    assert resource.generation == 1
    before = written(plane)
    await seal_at_rest(context)
    assert written(plane) == before


async def test_a_start_that_was_killed_before_the_files_were_written_anew_does_it_next_time(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await leave_as_an_earlier_version(plane)
    store = plane.context.store
    scrub = store.scrub

    async def die() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "scrub", die)
    with pytest.raises(KeyboardInterrupt):
        await seal_at_rest(plane.context)
    monkeypatch.setattr(store, "scrub", scrub)
    await seal_at_rest(plane.context)
    assert b"hush" not in written(plane)


async def test_a_missing_key_is_refused_and_none_is_made_in_its_place(plane: ControlPlane) -> None:
    await plane.api.post("/v0/agents", params={"upload": "true"}, json=AGENT)
    path = plane.context.data.sealing_key
    path.rename(path.with_suffix(".lost"))
    context = replace(plane.context, sealing=SealingKeys.generate())
    with pytest.raises(StoreUnavailable, match="is missing") as caught:
        await seal_at_rest(context)
    assert "backup" in caught.value.for_caller() and not path.exists()


async def test_a_foreign_key_is_refused_by_name(plane: ControlPlane) -> None:
    await plane.api.post("/v0/agents", params={"upload": "true"}, json=AGENT)
    right = plane.context.sealing
    wrong = SealingKeys.generate()
    plane.context.data.sealing_key.unlink()
    wrong.save(plane.context.data.sealing_key)
    with pytest.raises(StoreUnavailable) as caught:
        await seal_at_rest(replace(plane.context, sealing=wrong))
    assert right.first in caught.value.message and wrong.first in caught.value.message


async def test_a_new_first_key_seals_everything_anew_and_the_old_one_may_go(plane: ControlPlane) -> None:
    await plane.api.post("/v0/agents", params={"upload": "true"}, json=AGENT)
    await plane.make_job("sums")
    body = {"id": "again", "env": {"TOKEN": "hush-override"}, "tasks": [{}]}
    first = await plane.api.post("/v0/jobs/sums/executions", json=body)
    path = plane.context.data.sealing_key
    await plane.api.put("/v0/homeport/secrets/git", json={"value": "hush-git"})
    old = plane.context.sealing
    old.rotate(path)
    new, kept = json.loads(path.read_text())["keys"]
    assert kept["id"] == old.first and stat.S_IMODE(path.stat().st_mode) == 0o600
    await start_with(plane, path, [new, kept])
    assert old.first.encode() not in written(plane)
    context = await start_with(plane, path, [new])
    plane.app.state.context = context
    shown = await plane.api.get("/v0/agents/one", params={"show_secrets": "true"})
    assert shown.json()["spec"]["runtime"]["envs"] == ENVS
    again = await plane.api.post("/v0/jobs/sums/executions", json=body)
    assert again.json() == first.json()
    stored = await context.store.read(lambda tx: open_secret(tx, context.sealing, HOME, "git", "secret"))
    assert stored.value == "hush-git"


async def test_a_first_start_that_was_killed_after_it_made_the_key_goes_on_with_it(plane: ControlPlane) -> None:
    await leave_as_an_earlier_version(plane)
    before = plane.context.data.sealing_key.read_bytes()
    await seal_at_rest(plane.context)
    assert plane.context.data.sealing_key.read_bytes() == before and b"hush" not in written(plane)


async def start_with(plane: ControlPlane, path: Path, keys: list[dict[str, str]]) -> Any:
    path.write_text(json.dumps({"keys": keys}))
    loaded = SealingKeys.load(path)
    assert loaded is not None
    context = replace(plane.context, sealing=loaded)
    await seal_at_rest(context)
    return context


async def test_configurations_are_masked_and_a_mask_keeps_what_is_stored(plane: ControlPlane) -> None:
    spec = {"configurations": {"DSN": {"secret": True, "value": "hush-dsn"}}}
    await plane.api.post("/v0/jobs", params={"upload": "true"}, json={"metadata": {"name": "old"}, "spec": spec})
    read = (await plane.api.get("/v0/jobs/old")).json()
    assert read["spec"]["configurations"]["DSN"] == {"secret": True, "value": MASK}
    back = await plane.api.put("/v0/jobs/old", params={"upload": "true"}, json=read)
    assert back.status_code == 200 and "hush" not in back.text
    shown = (await plane.api.get("/v0/jobs/old", params={"show_secrets": "true"})).json()
    assert shown["spec"]["configurations"] == spec["configurations"]
    assert b"hush" not in written(plane)


BAD = [
    ("POST", "/v0/agents?upload=true", {"metadata": {"name": "x"}, "spec": {"runtime": {"envs": "hush"}}}),
    ("POST", "/v0/agents?upload=true", {"metadata": {"name": "x"}, "spec": {"runtime": {"envs": ["hush"]}}}),
    (
        "POST",
        "/v0/agents?upload=true",
        {"metadata": {"name": "x"}, "spec": {"runtime": {"envs": [{"name": "A=hush"}]}}},
    ),
    (
        "POST",
        "/v0/agents?upload=true",
        {"metadata": {"name": "x"}, "spec": {"runtime": {"envs": [{"name": 5, "value": "hush"}]}}},
    ),
    (
        "POST",
        "/v0/agents?upload=true",
        {"metadata": {"name": "x"}, "spec": {"runtime": {"envs": [{"name": "A", "value": "hush", "secret": "hush"}]}}},
    ),
    (
        "POST",
        "/v0/agents?upload=true",
        {"metadata": {"name": "x"}, "spec": {"runtime": [{"envs": [{"value": "hush"}]}]}},
    ),
    (
        "POST",
        "/v0/agents?upload=true",
        {"metadata": {"name": "x"}, "spec": {"runtime": {"envs": [{"name": "A", "value": "hush\0"}]}}},
    ),
    ("POST", "/v0/jobs/sums/executions", {"env": {"A": ["hush"]}}),
    ("POST", "/v0/jobs/sums/executions", {"env": {"A=hush": "x"}}),
    ("POST", "/v0/jobs/sums/executions", {"env": "hush"}),
    ("POST", "/v0/jobs/sums/executions", {"env": {"A": "hush\0"}}),
]


@pytest.mark.parametrize(("method", "path", "body"), BAD)
async def test_a_refusal_repeats_no_value_that_may_be_a_secret(
    plane: ControlPlane, method: str, path: str, body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    await plane.make_job("sums")
    answer = await plane.send(plane.api.headers["Authorization"].split()[1], method, path, json=body)
    assert answer.status_code == 400, answer.text
    assert "hush" not in answer.text and "hush" not in caplog.text
    assert b"hush" not in written(plane)
