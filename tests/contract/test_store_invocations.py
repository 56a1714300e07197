"""Both stores keep their promises about asynchronous calls."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeport.store.contract import Store
from homeport.store.sqlite import SqliteStore
from homeport.testing.simulation.store import MemoryStore
from homeport.testing.store_suite_invocations import InvocationSuite


@pytest.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store: Store = SqliteStore(tmp_path / "homeport.db") if request.param == "sqlite" else MemoryStore()
    await store.start()
    yield store
    await store.stop()


class TestInvocations(InvocationSuite):
    pass
