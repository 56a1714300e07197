"""One installation a test: the server's loops on a real store, without processes and without Envoy."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeport.testing.loops import Loops, installation


@pytest.fixture
async def loops(tmp_path: Path) -> AsyncIterator[Loops]:
    async with installation(tmp_path / "data") as running:
        yield running


@pytest.fixture
async def fast(tmp_path: Path) -> AsyncIterator[Loops]:
    """Time passes a thousand times as quickly: a back-off of a second is a millisecond."""
    async with installation(tmp_path / "data", speed=1000) as running:
        yield running


@pytest.fixture
async def still(tmp_path: Path) -> AsyncIterator[Loops]:
    """Time stands still until the test moves it."""
    async with installation(tmp_path / "data", speed=0) as running:
        yield running
