"""A database that is found damaged while it is in use: nothing more is written, and everybody is told why."""

import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from homeport.core.ids import Kind
from homeport.store import schema
from homeport.store.failures import StoreDamaged
from homeport.store.sqlite import SqliteStore
from homeport.testing.control_plane import HOME, ControlPlane
from homeport.testing.factories import make_resource
from homeport.testing.system import eventually

STARTS = 50


@pytest.fixture
async def damaged(plane: ControlPlane) -> AsyncIterator[ControlPlane]:
    """A control plane with many policies, whose database was spoilt after it was opened and before it was read."""
    store = plane.context.store
    resources = [
        make_resource(f"p{number}", kind=Kind.POLICY, workspace=HOME, spec={"a": "b" * 3000}) for number in range(190)
    ]
    await store.write(lambda tx: [tx.resources.insert(resource) for resource in resources])
    await store.stop()  # which empties the log
    await store.start()
    _spoil(plane.context.data.database)
    yield plane


async def test_damage_that_a_read_meets_ends_all_writing_and_is_said_everywhere(damaged: ControlPlane) -> None:
    path = str(damaged.context.data.database)
    policy = {
        "metadata": {"name": "near"},
        "spec": {"type": "location", "locations": [{"type": "country", "name": "DE"}]},
    }
    answer = await damaged.api.get("/v0/policies", params={"limit": 200})
    assert answer.status_code == 503 and f"{path} is damaged" in answer.json()["message"], answer.text[:500]
    for _ in range(2):
        answer = await damaged.api.post("/v0/policies", json=policy)
        assert answer.status_code == 503 and "put back a backup" in answer.json()["message"], answer.text
    ready = await damaged.http.get("/readyz")
    assert ready.status_code == 503 and f"{path} is damaged" in ready.text


async def test_a_large_database_is_checked_on_while_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_CHECK_TIMEOUT_S", 0.0)
    monkeypatch.setattr(schema, "_TURN_S", 0.0)
    path = tmp_path / "homeport.db"
    resources = [make_resource(f"a{number}", spec={"a": "b" * 3000}) for number in range(5000)]
    store = SqliteStore(path)
    await store.start()
    await store.write(lambda tx: [tx.resources.insert(resource) for resource in resources])
    await store.stop()
    _spoil(path)
    for _ in range(STARTS):
        # On a busy machine the interruption may come late, and then the check of the start finds it: once more.
        with contextlib.suppress(StoreDamaged):
            await store.start()
            break
    try:
        eventually(lambda: isinstance(store.failure, StoreDamaged), "the damage is found")
        with pytest.raises(StoreDamaged, match="damaged"):
            await store.write(lambda tx: tx.set_note("a", "b"))
    finally:
        await store.stop()


def _spoil(path: Path) -> None:
    """Overwrite pages in the middle, as a broken disk does."""
    with closing(sqlite3.connect(path)) as raw:
        size = raw.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // size * size)
        file.write(os.urandom(40 * size))
