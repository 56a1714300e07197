"""The store's contract on SQLite."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeport.store.sqlite import SqliteStore
from homeport.testing import (
    store_suite,
    store_suite_executions,
    store_suite_history,
    store_suite_loops,
    store_suite_secrets,
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "homeport.db")
    await store.start()
    yield store
    await store.stop()


class TestTransactions(store_suite.TransactionSuite):
    pass


class TestIdentities(store_suite.IdentitySuite):
    pass


class TestResources(store_suite.ResourceSuite):
    pass


class TestTombstones(store_suite.TombstoneSuite):
    pass


class TestSecrets(store_suite_secrets.SecretSuite):
    pass


class TestPages(store_suite.PageSuite):
    pass


class TestWorkloads(store_suite.WorkloadSuite):
    pass


class TestExecutions(store_suite_executions.ExecutionSuite):
    pass


class TestTasks(store_suite_executions.TaskSuite):
    pass


class TestHistories(store_suite_history.HistorySuite):
    pass


class TestUnsettled(store_suite_loops.UnsettledSuite):
    pass
