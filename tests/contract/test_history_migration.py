"""Executions that an earlier version left behind, at the first start of this one."""

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from homeport.core.ids import ExecutionId
from homeport.jobs.entries import Entry, EntryKind
from homeport.jobs.states import AttemptState, ExecutionStatus
from homeport.runner.verification import examine_execution
from homeport.store import schema
from homeport.store.contract import Transaction
from homeport.store.rows import micros
from homeport.store.sqlite import SqliteStore
from homeport.testing.factories import NOON

OLD = ExecutionId("old")
# As 0005 had them: a lost attempt and an interrupted one have the same state.
ATTEMPTS = ((1, 5, '{"lost":true,"stopped":false}'), (2, 5, '{"lost":false,"stopped":true}'), (3, 2, '{"exit_code":0}'))


def made_by_0005(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
    engine.dispose()
    at = micros(NOON)
    with closing(sqlite3.connect(path)) as raw, raw:
        columns = [name for _, name, *_ in raw.execute("PRAGMA table_info(executions)")]
        known = {"number": 1, "id": OLD, "visible": 1, "status": "running", "env_override": "{}", "parallelism": 4}
        known |= {"total": 2, "pending": 1, "succeeded": 1, "retried": 2, "max_retries": 2, "timeout_s": 60}
        optional = ("memory_override", "started_at", "completed_at", "cancel_requested_at")
        texts = ("workspace", "job", "job_uid", "revision_id", "request_id", "request_digest", "created_by")
        known |= dict.fromkeys(optional) | dict.fromkeys(texts, "x") | {"created_at": at, "updated_at": at}
        values = [known.get(name, 0) for name in columns]
        raw.execute(f"INSERT INTO executions VALUES ({','.join('?' * len(values))})", values)
        task = 'INSERT INTO tasks (execution, "index", arguments, status, attempts, not_before, created_at, updated_at,'
        raw.execute(f"{task} message) VALUES (1, 0, '{{}}', 2, 3, 0, {at}, {at}, '')")
        raw.execute(f"{task} message) VALUES (1, 1, '{{}}', 0, 0, 0, {at}, {at}, '')")
        attempt = (
            'INSERT INTO attempts (execution, "index", number, state, created_at, outcome) VALUES (1, 0, ?, ?, ?, ?)'
        )
        raw.executemany(attempt, [(number, state, at, outcome) for number, state, outcome in ATTEMPTS])


async def test_an_execution_of_an_earlier_version_goes_on_and_says_that_it_began_before_the_log(tmp_path: Path) -> None:
    path = tmp_path / "homeport.db"
    made_by_0005(path)
    store = SqliteStore(path)
    await store.start()
    try:
        execution = await store.read(lambda tx: tx.executions.get(OLD))
        assert execution is not None
        assert (execution.lost, execution.stop_grace_s, execution.retried) == (1, None, 2)
        attempts = await store.read(lambda tx: tx.executions.stored_tasks(OLD).__next__().attempts)
        assert attempts == (AttemptState.LOST, AttemptState.STOPPED, AttemptState.SUCCEEDED)
        entries = await store.read(lambda tx: [*tx.executions.entries(OLD, 0, 9)])
        assert entries == [Entry(seq=1, at=NOON, kind=EntryKind.BEFORE)]

        def end(tx: Transaction) -> None:
            tx.executions.set_status(OLD, ExecutionStatus.CANCELLING, NOON)
            tx.executions.cancel_pending_tasks(OLD, NOON)
            tx.executions.set_status(OLD, ExecutionStatus.CANCELLED, NOON)

        await store.write(end)
        ended = await store.read(lambda tx: tx.executions.get(OLD))
        assert ended is not None
        report = await store.read(lambda tx: examine_execution(tx, ended))
        assert (report.violations, report.complete, report.terminal, report.entries) == ([], False, 2, 4)
    finally:
        await store.stop()
