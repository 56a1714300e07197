"""Waiting for the units of builds and ending them. Used by the builder and the fetcher."""

import asyncio
from collections.abc import Awaitable, Callable

from homeport.build.errors import BuildFailed
from homeport.core.clock import Clock
from homeport.core.errors import DriverUnavailable, Internal
from homeport.core.ids import UnitId
from homeport.core.units import UnitState, UnitStatus
from homeport.drivers.contract import Driver

POLL_S = 0.2  # of the unit's status: a build takes seconds, and following exits would read their journal from its start
STOP_GRACE_S = 5.0
SILENT_DRIVER_S = 60.0  # a node that restarts is back in a second; the unit lives on meanwhile


class Watch:
    """Looks at units until they are over."""

    def __init__(self, driver: Driver, clock: Clock) -> None:
        self._driver = driver
        self._clock = clock

    async def ended(self, unit: UnitId) -> None:
        """Stop `unit` and return once it is over, or at once where it never was."""
        if await self._driver.status(unit):
            await self._driver.stop(unit, STOP_GRACE_S)
            await self.over(unit, STOP_GRACE_S)

    async def over(
        self, unit: UnitId, timeout_s: float, look: Callable[[], Awaitable[None]] | None = None
    ) -> UnitStatus:
        """The status of `unit` once it is over; `timeout_s` is its own timeout. `look` is called at every poll and may
        raise. A driver that is away for a while is waited for."""
        began = heard = self._clock.monotonic()
        limit_s = timeout_s + STOP_GRACE_S + SILENT_DRIVER_S
        while (now := self._clock.monotonic()) - began < limit_s:
            try:
                status = await self._driver.status(unit)
            except DriverUnavailable:
                if now - heard > SILENT_DRIVER_S:
                    raise
            else:
                heard = now
                if status is None:
                    raise BuildFailed("Building", "was ended: its unit is gone")
                if status.state in (UnitState.EXITED, UnitState.LOST):
                    return status
            if look is not None:
                await look()
            await asyncio.sleep(POLL_S)
        raise Internal(detail=f"unit {unit} did not end within {limit_s} s, beyond its own timeout")
