"""What the SQLite store promises beyond the contract: durability under SIGKILL, refusals at the start, and statements
that stay quick however large the tables grow."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event

from homeport.core.errors import DiskFull, HomeportError, Internal, Invalid, StoreUnavailable
from homeport.core.ids import ExecutionId, Kind
from homeport.store import sqlite, writer
from homeport.store.contract import Transaction, attempt_unit
from homeport.store.records import ListQuery, TaskQuery
from homeport.store.sqlite import SqliteStore
from homeport.store.tables import metadata
from homeport.testing.factories import (
    NOON,
    make_event,
    make_execution,
    make_finish,
    make_resource,
    make_revision,
    page_query,
)

ONE = ExecutionId("exec-one")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home%20port?.db"  # a name that a careless path or configuration would misread


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.start()
    yield store
    await store.stop()


async def test_the_log_gives_back_what_it_grew_by_while_a_read_went_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LOG_KEPT_BYTES", 1024 * 1024)
    log = path.with_name(f"{path.name}-wal")
    store, reads, over = SqliteStore(path), threading.Event(), threading.Event()
    await store.start()
    try:

        def read(tx: Transaction) -> None:
            tx.note("any")
            reads.set()
            over.wait(30)

        reading = asyncio.ensure_future(store.read(read))
        await asyncio.to_thread(reads.wait, 30)
        for number in range(8):
            await store.write(lambda tx, number=number: tx.set_note(f"note {number}", "x" * 1024 * 1024))
        assert log.stat().st_size > 8 * 1024 * 1024
        over.set()
        await reading
        for number in range(2):  # the first copies it all, the second begins at its front
            await store.write(lambda tx, number=number: tx.set_note("last", str(number)))
        assert log.stat().st_size <= 1024 * 1024
    finally:
        over.set()
        await store.stop()


_WRITING_CHILD = """
import asyncio, sys
from pathlib import Path
from homeport.store.sqlite import SqliteStore

async def write_for_ever(store, lane):
    number = 0
    while True:
        await store.write(lambda tx: tx.set_note(f"{lane}-{number}", "kept"))
        print(f"{lane}-{number}", flush=True)
        number += 1

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.start()
    await asyncio.gather(*(write_for_ever(store, lane) for lane in range(8)))

asyncio.run(main())
"""


async def test_what_a_killed_process_reported_as_written_is_there(path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", _WRITING_CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child:
        reported = [child.stdout.readline() for _ in range(300)]
        child.send_signal(signal.SIGKILL)
        reported += child.stdout.readlines()
    keys = [line.strip() for line in reported if line.endswith("\n")]
    assert len(keys) >= 300
    store = SqliteStore(path)
    await store.start()
    assert await store.read(lambda tx: {tx.note(key) for key in keys}) == {"kept"}
    await store.stop()


async def test_only_the_owner_can_read_the_files(store: SqliteStore, path: Path) -> None:
    await store.write(lambda tx: tx.set_note("a", "b"))
    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}


async def test_writes_that_wait_share_a_commit(store: SqliteStore) -> None:
    commits: list[Any] = []

    def remember(connection: Any) -> None:
        commits.append(connection)

    event.listen(Engine, "commit", remember)
    try:
        held, release = threading.Event(), threading.Event()
        first = asyncio.create_task(store.write(lambda tx: (held.set(), release.wait(10))))
        await asyncio.to_thread(held.wait, 10)
        rest = [asyncio.create_task(store.write(lambda tx, n=n: tx.set_note(f"n{n}", ""))) for n in range(100)]
        await asyncio.sleep(0)  # each has handed over its work
        release.set()
        await asyncio.gather(first, *rest)
    finally:
        event.remove(Engine, "commit", remember)
    assert len(commits) <= 3


async def test_a_full_disk_fails_the_group_and_the_store_goes_on(store: SqliteStore, path: Path) -> None:
    pages = await store.write(lambda tx: tx._connection.exec_driver_sql("PRAGMA page_count").scalar())
    await store.write(lambda tx: tx._connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}").scalar())
    small = [store.write(lambda tx, n=n: tx.set_note(f"n{n}", "kept")) for n in range(3)]
    answers = await asyncio.gather(
        *small, store.write(lambda tx: tx.set_note("big", "x" * 100_000)), return_exceptions=True
    )
    assert isinstance(answers[3], DiskFull)
    assert str(path.parent) in answers[3].message
    assert isinstance(store.failure, DiskFull)
    for number, answer in enumerate(answers[:3]):
        noted = await store.read(lambda tx, number=number: tx.note(f"n{number}"))
        assert (answer, noted) == (None, "kept") or (isinstance(answer, DiskFull) and noted is None)
    await store.write(lambda tx: tx._connection.exec_driver_sql("PRAGMA max_page_count = 100000").scalar())
    await store.write(lambda tx: tx.set_note("big", "x" * 100_000))
    assert store.failure is None


async def test_a_lock_of_another_process_is_reported_and_passes(store: SqliteStore, path: Path) -> None:
    await store.write(lambda tx: tx._connection.exec_driver_sql("PRAGMA busy_timeout = 50"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.write(lambda tx: tx.set_note("a", "b"))
        assert await store.read(lambda tx: tx.note("a")) is None
    await store.write(lambda tx: tx.set_note("a", "b"))


async def test_a_read_that_writes_is_a_mistake(store: SqliteStore) -> None:
    with pytest.raises(Internal):
        await store.read(lambda tx: tx.set_note("a", "b"))


async def test_text_that_is_not_unicode_is_invalid(store: SqliteStore) -> None:
    with pytest.raises(Invalid, match="Unicode"):
        await store.write(lambda tx: tx.set_note("a", "\ud800"))


async def test_a_store_that_is_closed_says_so(path: Path) -> None:
    store = SqliteStore(path)
    for action in (store.read, store.write):
        with pytest.raises(StoreUnavailable, match="not open"):
            await action(lambda tx: None)
    await store.start()
    await store.stop()
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.write(lambda tx: None)


async def test_stopping_finishes_what_was_handed_over(path: Path) -> None:
    store = SqliteStore(path)
    await store.start()
    writes = [asyncio.create_task(store.write(lambda tx, n=n: tx.set_note(f"n{n}", "kept"))) for n in range(600)]
    await asyncio.sleep(0)
    await store.stop()
    await asyncio.gather(*writes)
    await store.start()
    assert await store.read(lambda tx: {tx.note(f"n{n}") for n in range(600)}) == {"kept"}
    await store.stop()


async def test_more_writes_than_may_wait_are_all_done(store: SqliteStore) -> None:
    count = writer.WAITING + 300
    await asyncio.gather(*(store.write(lambda tx, n=n: tx.set_note(f"n{n}", "kept")) for n in range(count)))
    assert await store.read(lambda tx: {tx.note(f"n{n}") for n in range(count)}) == {"kept"}


async def test_a_cancelled_write_blocks_nothing(store: SqliteStore) -> None:
    for _ in range(3):
        writes = [asyncio.create_task(store.write(lambda tx: tx.set_note("a", "b"))) for _ in range(writer.WAITING)]
        await asyncio.sleep(0)
        for write in writes:
            write.cancel()
        await asyncio.gather(*writes, return_exceptions=True)
    await store.write(lambda tx: tx.set_note("a", "c"))


async def test_the_migrations_make_exactly_the_tables_of_the_statements(store: SqliteStore, path: Path) -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection, closing(sqlite3.connect(path)) as migrated:
        metadata.create_all(connection)
        query = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%' AND sql IS NOT NULL"
        expected = {name: _spaced(sql) for name, sql in connection.exec_driver_sql(query)}
        found = {name: _spaced(sql) for name, sql in migrated.execute(query)}
    engine.dispose()
    assert found == expected


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\x00" + b"\xff" * 5000])
async def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    await _assert_refused(path, "damaged|not a database", "backup")
    assert path.read_bytes() == content


async def test_a_damaged_database_is_refused_and_left_as_it_is(path: Path) -> None:
    store = SqliteStore(path)
    await store.start()
    await store.write(
        lambda tx: [tx.resources.insert(make_resource(f"a{n}", spec={"a": "b" * 500})) for n in range(200)]
    )
    await store.stop()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 40960] = os.urandom(40960)
    path.write_bytes(content)
    await _assert_refused(path, "damaged", "backup")
    assert path.read_bytes() == content


async def test_a_newer_database_is_refused(store: SqliteStore, path: Path) -> None:
    await store.stop()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    await _assert_refused(path, "newer Homeport.*9999", "newer version")


async def test_another_programs_database_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("CREATE TABLE theirs (a)")
    await _assert_refused(path, "another program", "--data")


async def test_a_directory_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    await _assert_refused(tmp_path / "none" / "homeport.db", "cannot be opened", "directory")


@pytest.mark.parametrize(
    ("table", "change", "read"),
    [
        ("resources", "spec = '[]'", lambda tx: tx.resources.by_uid("agent-one")),
        ("resources", "spec = '{'", lambda tx: tx.resources.by_uid("agent-one")),
        ("resources", "status = 'HAPPY'", lambda tx: tx.resources.get("home", Kind.AGENT, "one")),
        ("resources", "created_at = 'noon'", lambda tx: tx.resources.by_uid("agent-one")),
        ("revisions", "state = ''", lambda tx: tx.revisions.of("agent-one")),
        ("events", "time = 1e40", lambda tx: tx.events.of("agent-one")),
        ("executions", "env_override = 'null'", lambda tx: tx.executions.unfinished()),
        ("tasks", "status = 9", lambda tx: tx.executions.tasks(ONE, 0, 5)),
        ("attempts", "outcome = '{\"odd\": 1}'", lambda tx: tx.executions.attempts(ONE, 0)),
    ],
)
async def test_a_row_that_cannot_be_read_is_an_internal_error_with_its_id(
    store: SqliteStore, path: Path, table: str, change: str, read: Any
) -> None:
    def fill(tx: Any) -> None:
        tx.resources.insert(make_resource())
        tx.revisions.insert(make_revision())
        tx.events.add(make_event())
        tx.executions.insert(make_execution())
        tx.executions.add_tasks(ONE, 0, ["{}"], NOON)
        tx.executions.claim(ONE, 1, NOON, "lease", NOON)

    await store.write(fill)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(f"UPDATE {table} SET {change}")
    with pytest.raises(Internal) as caught:
        await store.read(read)
    ids = {"resources": "agent-one", "revisions": "rev-one-1", "events": "agent-one", "executions": "exec-one"}
    assert repr(ids.get(table, {"tasks": 0, "attempts": "exec-one-0-1"}.get(table))) in caught.value.detail
    assert table in caught.value.detail
    assert "agent-one" not in caught.value.for_caller()


async def test_no_busy_statement_scans_or_sorts(store: SqliteStore, path: Path) -> None:
    """Asked of SQLite's planner, so that a page or a claim costs the same in a table of a million rows."""
    unit = attempt_unit(ONE, 0, 1)

    def work(tx: Any) -> None:
        tx.executions.claim(ONE, 5, NOON, "lease", NOON)
        tx.executions.start_attempt(unit, "lease", NOON)
        tx.executions.finish_task_if_running(make_finish(unit, "lease"), NOON + timedelta(seconds=1))
        tx.executions.tasks(ONE, 3, 5)
        tx.executions.attempt(unit)
        tx.executions.open_attempts()
        tx.executions.page(page_query(5, ("1", "x")))
        tx.executions.page(page_query(5, ("1", "x"), sort="createdAt:asc"))
        tx.executions.task_page(TaskQuery(execution_id=ONE, limit=5, after=3))
        tx.executions.by_request("home", "sums", "req")
        for sort in ("createdAt:desc", "createdAt:asc"):
            tx.resources.page(ListQuery(workspace="home", kind=Kind.AGENT, limit=5, sort=sort, after=("1", "x")))
        tx.resources.page(ListQuery(workspace="home", kind=Kind.AGENT, limit=5, sort="name:asc", after=("a", "x")))
        tx.resources.using_policy("home", "near")
        tx.identities.account_of("agent-one")

    await store.write(lambda tx: tx.executions.insert(make_execution()))
    await store.write(lambda tx: tx.executions.add_tasks(ONE, 0, ["{}"] * 3, NOON))
    with _statements() as statements:
        await store.write(work)
    assert len(statements) > 20
    with closing(sqlite3.connect(path)) as raw:
        for statement, values in statements:
            plan = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            scans = [step for step in plan if step.startswith("SCAN") and "ix_attempts_open" not in step]
            sorts = [step for step in plan if "TEMP B-TREE" in step and "resource_policies" not in statement]
            assert not scans + sorts, (statement, plan)


@contextmanager
def _statements() -> Iterator[list[tuple[str, Any]]]:
    """Every statement that changes or reads a table meanwhile, with one set of its values."""
    seen: list[tuple[str, Any]] = []

    def remember(_connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if statement.startswith(("SELECT", "UPDATE", "INSERT", "DELETE")):
            seen.append((statement, values[0] if many else values))

    event.listen(Engine, "before_cursor_execute", remember)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", remember)


async def _assert_refused(path: Path, message: str, hint: str) -> None:
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match=message) as caught:
        await store.start()
    assert isinstance(caught.value, HomeportError)
    assert hint in caught.value.hint


def _spaced(sql: str) -> str:
    return " ".join(sql.split())
