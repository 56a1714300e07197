"""One Homeport for the tests that share it; each uses names of its own."""

from collections.abc import Iterator

import pytest

from homeport.testing.system import System


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("system") / "data")
    running.up()
    yield running
    running.down()
