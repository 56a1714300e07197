"""What the simulation's store has beyond the store's contract, which `test_store` shows of it."""

from collections.abc import AsyncIterator

import pytest

from homeport.store.contract import Transaction
from homeport.testing.simulation.store import MemoryStore


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    store = MemoryStore()
    await store.start()
    yield store
    await store.stop()


async def test_what_was_read_before_is_read_again_after_a_commit_that_concerns_it(store: MemoryStore) -> None:
    def read(tx: Transaction) -> str | None:
        return tx.note("cursor")

    assert await store.read(read) is None
    await store.write(lambda tx: tx.set_note("cursor", "1"))
    assert await store.read(read) == "1"


async def test_work_without_its_commit_leaves_nothing(store: MemoryStore) -> None:
    store.write_now(lambda tx: tx.set_note("cursor", "1"), keep=False)
    assert await store.read(lambda tx: tx.note("cursor")) is None
    assert store.commits == 0
