"""Every driver keeps the driver's contract: the scripted one for tests, and the process driver on a real node."""

from collections.abc import AsyncIterator

import pytest

from homeport.drivers.contract import Driver
from homeport.node import host
from homeport.testing.driver_suite import PROGRAMS, DriverSuite, VolumeSuite
from homeport.testing.nodes import running_node
from homeport.testing.scripted_driver import ScriptedDriver


class TestScriptedDriver(DriverSuite):
    @pytest.fixture
    async def driver(self) -> AsyncIterator[Driver]:
        yield ScriptedDriver(lambda spec: PROGRAMS[spec.argv])


@pytest.mark.sandbox
class TestProcessDriver(DriverSuite, VolumeSuite):
    @pytest.fixture
    async def driver(self) -> AsyncIterator[Driver]:
        if cause := host.userns_obstacle():
            pytest.skip(cause)
        async with running_node() as node:
            yield node.driver
