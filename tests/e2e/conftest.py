"""One Homeport for the tests that share it; each uses names of its own."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from homeport.testing.engines import EngineProcess
from homeport.testing.system import System


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("system") / "data")
    running.up()
    yield running
    running.down()


@pytest.fixture
def folder(engine: EngineProcess, tmp_path: Path) -> Iterator[Path]:
    """For a driver of containers on the module's `engine`, which has none of ours afterwards."""
    yield tmp_path / "driver"
    with suppress(Exception):
        engine.remove_all()
