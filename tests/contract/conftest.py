"""What the tests of the API share: a control plane of their own each."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeport.settings import DataDir
from homeport.store.sqlite import SqliteStore
from homeport.testing.control_plane import ControlPlane, running_control_plane


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables: making them takes longer than most tests of the API."""
    path = tmp_path_factory.mktemp("empty") / "homeport.db"

    async def make() -> None:
        store = SqliteStore(path)
        await store.start()
        await store.stop()

    asyncio.run(make())
    return path


@pytest.fixture
async def plane(tmp_path: Path, empty_database: Path) -> AsyncIterator[ControlPlane]:
    data = DataDir(tmp_path / "data")
    data.create()
    shutil.copyfile(empty_database, data.database)
    data.database.chmod(0o600)
    async with running_control_plane(data.root) as plane:
        yield plane
