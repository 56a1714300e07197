"""Rows that nobody owns are found by the store, one kind after the other; a store in use has none."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from homeport.core.clock import SystemClock
from homeport.core.ids import Kind
from homeport.store.sqlite import SqliteStore
from homeport.testing.loops import installation

NOW = SystemClock().now()
AGO = int((NOW - timedelta(days=2)).timestamp() * 1e6)
LATER = int((NOW + timedelta(days=1)).timestamp() * 1e6)
_CALL = (
    'INSERT INTO invocations (id, workspace, agent, agent_uid, "trigger", method, path, status, retries, timeout_s, '
    "attempts, counted, not_before, message, created_at, updated_at, request_length, callback_url) "
    f"VALUES ('i', 'home', 'a', 'gone', '', 'POST', '/', '{{status}}', 0, 1, 1, 0, 0, '', {AGO}, {AGO}, 0, '')"
)

BROKEN = {
    "replicas: its revision is gone": [
        "INSERT INTO replicas (id, revision_id, resource_uid, ordinal, state, unit, port, restarts, message, "
        "created_at, changed_at) "
        f"SELECT 'r', 'gone', uid, 0, 'ready', 'u', 1, 0, '', {AGO}, {AGO} FROM resources LIMIT 1"
    ],
    "accounts: its workload is gone": [
        "INSERT INTO accounts (client_id, workspace, name, description, role, owner_uid, created_at, updated_at) "
        f"VALUES ('a', 'home', 'a', '', 'workload', 'gone', {AGO}, {AGO})"
    ],
    "keys: it is not revoked, and its account is gone": [
        f"INSERT INTO keys (jti, client_id, workspace, name, created_at, created_by, expires_at) "
        f"VALUES ('k', 'gone', 'home', '', {AGO}, '', {LATER})"
    ],
    "keys: it is revoked and has expired": [
        "INSERT INTO keys (jti, client_id, workspace, name, created_at, created_by, expires_at, revoked_at) "
        f"VALUES ('k', 'gone', 'home', '', {AGO}, '', {AGO}, {AGO})"
    ],
    "executions: it was staged and never published": [f"UPDATE executions SET visible = 0, created_at = {AGO}"],
    "executions: its job is gone and it does not end": ["UPDATE executions SET job_uid = 'gone'"],
    "executions: its counts are not those of its tasks": ["UPDATE executions SET running = 2"],
    "attempts: it is open, and its task does not run it": [
        "INSERT INTO attempts (execution, \"index\", number, state, created_at) "
        f"SELECT number, 0, 1, 1, {AGO} FROM executions"
    ],
    "tasks: it runs, and none of its attempts is open": [
        "UPDATE tasks SET status = 1", "UPDATE executions SET running = pending, pending = 0"
    ],
    "executions: it has ended, and tasks of it have not": ["UPDATE executions SET status = 'failed'"],
    "invocations: its agent is gone and it does not end": [_CALL.format(status="queued")],
    "invocations: it runs, and none of its attempts does": [_CALL.format(status="running")],
}  # fmt: skip


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    """A job with an execution of one task, which waits."""
    async with installation(tmp_path) as loops:
        await loops.ready_job("sums")
        await loops.execute("sums")
        return loops.context.data.database


async def _found(database: Path) -> set[str]:
    store = SqliteStore(database)
    await store.start()
    try:
        return {f"{one.table}: {one.why}" for one in await store.read(lambda tx: tx.orphans(NOW))}
    finally:
        await store.stop()


async def test_a_sound_store_has_none(database: Path) -> None:
    assert await _found(database) == set()


@pytest.mark.parametrize("words", BROKEN)
async def test_each_kind_is_found(database: Path, words: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in BROKEN[words]:
            assert connection.execute(statement).rowcount == 1
    assert await _found(database) == {words}


async def test_a_tombstone_of_a_policy_that_exists_is_found(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE resources SET kind = ?", (Kind.POLICY.value,))
        connection.execute(f"INSERT INTO tombstones VALUES ('home', 'sums', {AGO}, 'me')")
    assert "tombstones: the policy exists" in await _found(database)
