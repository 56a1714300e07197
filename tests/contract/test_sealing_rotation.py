"""A new sealing key while everything runs: in small steps, killed at each, nothing lost, and no old key left."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeport.app import sealing
from homeport.app.calls import SECRET, body_place
from homeport.app.sealing import reveal_workload, seal_at_rest
from homeport.build.credentials import place_of
from homeport.core.errors import StoreUnavailable
from homeport.core.ids import Kind
from homeport.sealing.keys import Place, SealingKeys, mark_of
from homeport.sealing.specs import Owner, open_env
from homeport.store.contract import Transaction
from homeport.testing.control_plane import HOME, ControlPlane
from homeport.testing.loops import ADMIN
from homeport.testing.store_suite_invocations import make_call

URL = "/v0/homeport/sealing-keys"
ENVS = [{"name": "TOKEN", "value": "hush-env", "secret": True}, {"name": "MODE", "value": "fast"}]
AGENTS = 7


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_ROWS", 2)


@pytest.fixture
async def filled(plane: ControlPlane) -> AsyncIterator[ControlPlane]:
    """With secrets of every kind that is there."""
    for number in range(AGENTS):
        body = {"metadata": {"name": f"a{number}"}, "spec": {"runtime": {"envs": ENVS}}}
        assert (await plane.api.post("/v0/agents", params={"upload": "true"}, json=body)).status_code == 200
    await plane.make_job("sums")
    body = {"id": "one", "env": {"TOKEN": "hush-override"}, "tasks": [{}]}
    assert (await plane.api.post("/v0/jobs/sums/executions", json=body)).status_code == 200
    assert (await plane.api.put("/v0/homeport/secrets/git", json={"value": "hush-stored"})).status_code == 200
    keys, place = plane.context.sealing, body_place(HOME, "inv-one")
    secret = keys.seal("hush-signing", Place(HOME, "inv-one", SECRET))
    call = make_call(workspace=HOME, callback_url="http://example.com", callback_secret=secret)

    def write(tx: Transaction) -> None:
        tx.invocations.add([call], [keys.seal_bytes(b"hush-request", place)])
        tx.invocations.set_responses({1: keys.seal_bytes(b"hush-response", place)})

    await plane.context.store.write(write)
    yield plane


async def _sealed_by(plane: ControlPlane, ident: str) -> int:
    """How many rows hold something that this key sealed, but for the note that says which keys there are."""
    with closing(sqlite3.connect(plane.context.data.database)) as connection:
        dumped = [line for line in connection.iterdump() if mark_of(ident) in line]
        held = "SELECT count(*) FROM invocation_bodies WHERE instr(request, ?) OR instr(response, ?)"
        bodies = connection.execute(held, [mark_of(ident).encode()] * 2).fetchone()[0]
    return bodies + sum('INSERT INTO "notes"' not in line for line in dumped)


async def _everything_opens(plane: ControlPlane) -> None:
    context = plane.context

    def read(tx: Transaction) -> tuple[Any, ...]:
        agents = [tx.resources.get(HOME, Kind.AGENT, f"a{number}") for number in range(AGENTS)]
        calls = tx.invocations
        bodies = (calls.requests([1])[1], calls.response(1), calls.get("inv-one"))
        return agents, tx.executions.unfinished()[0], tx.secrets.get(HOME, "git"), *bodies

    agents, execution, secret, request, response, call = await context.store.read(read)
    for agent in agents:
        assert reveal_workload(context, agent)["runtime"]["envs"] == ENVS
    assert open_env(context.sealing, execution.env_override, Owner(HOME, execution.id)) == {"TOKEN": "hush-override"}
    assert sealing.digest_of(context, execution)
    keys, place = context.sealing, body_place(HOME, "inv-one")
    assert (keys.open_bytes(request, place), keys.open_bytes(response, place)) == (b"hush-request", b"hush-response")
    assert keys.open(call.callback_secret, Place(HOME, "inv-one", SECRET)) == "hush-signing"
    assert "hush-stored" in context.sealing.open(secret.token, place_of(secret))


async def test_everything_is_sealed_anew_while_it_runs_and_the_next_start_lets_the_old_key_go(
    filled: ControlPlane, tmp_path: Path
) -> None:
    context = filled.context
    old = context.sealing.first
    assert await _sealed_by(filled, old) > AGENTS
    done = (await filled.api.post(URL)).json()
    assert (done["older"], done["id"]) == ([old], context.sealing.first) and done["id"] != old
    assert done["rows"] >= 2 * AGENTS + 2, "agents with their revisions, an execution, a secret, a call"
    assert await _sealed_by(filled, old) == 0
    await _everything_opens(filled)
    body = {"metadata": {"name": "later"}, "spec": {"runtime": {"envs": ENVS}}}
    assert (await filled.api.post("/v0/agents", params={"upload": "true"}, json=body)).status_code == 200
    assert await _sealed_by(filled, old) == 0, "what is new is sealed by the new key"

    assert SealingKeys.load(context.data.sealing_key).ids == (done["id"], old)  # type: ignore[union-attr]
    await seal_at_rest(context)
    assert SealingKeys.load(context.data.sealing_key).ids == context.sealing.ids == (done["id"],)  # type: ignore[union-attr]
    database = context.data.database
    assert not any(mark_of(old).encode() in path.read_bytes() for path in database.parent.glob(f"{database.name}*"))
    await _everything_opens(filled)


class Killed(BaseException):
    """The process died here."""


@pytest.mark.parametrize("step", range(8))
async def test_killed_at_any_step_nothing_is_lost_and_the_next_start_does_the_rest(
    filled: ControlPlane, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Dies before the first write of the rotation, before the second, and so on; the first is that of the file."""
    context, store = filled.context, filled.context.store
    old, write, writes = context.sealing.first, store.write, 0

    async def doomed(work: Any) -> Any:
        nonlocal writes
        writes += 1
        if writes == step:
            raise Killed
        return await write(work)

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(store, "write", doomed)
        if step == 0:
            patched.setattr("homeport.sealing.keys.replace_private", die)
        with pytest.raises(Killed):
            await sealing.rotate_sealing_key(context, ADMIN)
    started = SealingKeys.load(context.data.sealing_key)
    assert started is not None and len(started.ids) == (1 if step == 0 else 2)
    restarted = replace(filled, context=replace(context, sealing=started))
    await _everything_opens(restarted)
    await seal_at_rest(restarted.context)
    await _everything_opens(restarted)
    assert len(started.ids) == 1 and (started.first == old) is (step == 0)
    assert await _sealed_by(restarted, old) == 0 or step == 0


async def test_a_copy_of_the_database_without_the_new_key_is_refused(filled: ControlPlane) -> None:
    path = filled.context.data.sealing_key
    before = path.read_bytes()
    assert (await filled.api.post(URL)).status_code == 200
    path.write_bytes(before)
    stale = SealingKeys.load(path)
    assert stale is not None
    with pytest.raises(StoreUnavailable, match="are sealed by the key"):
        await seal_at_rest(replace(filled.context, sealing=stale))
