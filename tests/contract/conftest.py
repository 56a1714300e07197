"""What the tests of the API share: a control plane of their own each."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeport.testing.control_plane import ControlPlane, running_control_plane


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with running_control_plane(tmp_path / "data") as plane:
        yield plane
