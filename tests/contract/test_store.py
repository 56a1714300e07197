"""The store's contract: on SQLite, and on the simulation's store, the same statements in memory on the caller's own
thread."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeport.store.contract import Store
from homeport.store.sqlite import SqliteStore
from homeport.testing import (
    store_suite,
    store_suite_executions,
    store_suite_history,
    store_suite_images,
    store_suite_invocations,
    store_suite_loops,
    store_suite_placed,
    store_suite_secrets,
)
from homeport.testing.simulation.store import MemoryStore


@pytest.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store: Store = SqliteStore(tmp_path / "homeport.db") if request.param == "sqlite" else MemoryStore()
    await store.start()
    yield store
    await store.stop()


class TestTransactions(store_suite.TransactionSuite):
    async def test_two_readers_each_see_one_snapshot_while_a_writer_writes(self, store: Store) -> None:
        if isinstance(store, MemoryStore):
            pytest.skip("on one thread a read is over before a write begins")
        await super().test_two_readers_each_see_one_snapshot_while_a_writer_writes(store)


class TestIdentities(store_suite.IdentitySuite):
    pass


class TestResources(store_suite.ResourceSuite):
    pass


class TestTombstones(store_suite.TombstoneSuite):
    pass


class TestSecrets(store_suite_secrets.SecretSuite):
    pass


class TestImages(store_suite_images.ImageSuite):
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


class TestPlaced(store_suite_placed.PlacedSuite):
    pass


class TestInvocations(store_suite_invocations.InvocationSuite):
    pass
