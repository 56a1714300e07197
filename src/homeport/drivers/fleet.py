"""The drivers of several regions as one, for the loops that look at every unit of the installation.

A unit is started where its specification says, and found afterwards wherever it is. A driver that is away does not hold
up the others: its regions are `silent`, and of its units nothing is said. Readers of ends keep a place for each driver,
so they ask the drivers themselves.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from homeport.core.errors import DriverUnavailable, NotFound, Unavailable
from homeport.core.ids import UnitId
from homeport.core.units import LogLine, UnitExit, UnitSpec, UnitStatus
from homeport.drivers.contract import Driver

REFUSED = 10_000  # units of which a refused start is remembered


class Fleet:
    """`by_region`; one driver may serve several regions. Keeps the contract of a driver, but for `exits`."""

    name = "fleet"

    def __init__(self, by_region: Mapping[str, Driver]) -> None:
        self._by_region = by_region
        self._drivers = [*dict.fromkeys(by_region.values())]
        self._homes: dict[UnitId, Driver] = {}
        self._refused: OrderedDict[UnitId, Driver] = OrderedDict()  # the newest: nowhere else they need be looked for
        self.silent: frozenset[str] = frozenset()

    async def start(self, spec: UnitSpec) -> UnitStatus:
        driver = self._by_region.get(spec.region)
        if driver is None:
            raise DriverUnavailable(f"The region {spec.region!r} is not in the configuration any more.")
        self._refused[spec.id] = driver
        while len(self._refused) > REFUSED:
            self._refused.popitem(last=False)
        status = await driver.start(spec)
        self._homes[spec.id] = self._refused.pop(spec.id, driver)
        return status

    async def stop(self, unit: UnitId, grace_s: float) -> None:
        for driver in self._likely(unit):
            await driver.stop(unit, grace_s)

    async def freeze(self, unit: UnitId) -> None:
        await (await self._home(unit)).freeze(unit)

    async def thaw(self, unit: UnitId) -> None:
        await (await self._home(unit)).thaw(unit)

    async def signal(self, unit: UnitId, number: int) -> None:
        await (await self._home(unit)).signal(unit, number)

    async def status(self, unit: UnitId) -> UnitStatus | None:
        """Raises `DriverUnavailable` where a driver that may have it is away, and no other has it."""
        away: DriverUnavailable | None = None
        for driver in self._likely(unit):
            try:
                found = await driver.status(unit)
            except DriverUnavailable as error:
                away = error
                continue
            if found is not None:
                self._homes[unit] = driver
                return found
        if away is not None:
            raise away
        return None

    async def units(self) -> list[UnitStatus]:
        """Of every driver that answers; the regions of the others are `silent` then. Raises when none answers."""
        answers = await asyncio.gather(*(driver.units() for driver in self._drivers), return_exceptions=True)
        found: list[UnitStatus] = []
        away: list[Driver] = []
        for driver, answer in zip(self._drivers, answers, strict=True):
            if isinstance(answer, DriverUnavailable):
                away.append(driver)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found += answer
                self._homes |= {unit.id: driver for unit in answer}
        if len(away) == len(self._drivers):
            raise DriverUnavailable("No driver answers.")
        self.silent = frozenset(region for region, driver in self._by_region.items() if driver in away)
        known = {unit.id for unit in found}
        self._homes = {unit: home for unit, home in self._homes.items() if unit in known or home in away}
        return found

    async def listening(self, unit: UnitId) -> frozenset[int]:
        ports: frozenset[int] = frozenset()
        for driver in self._likely(unit):
            ports |= await driver.listening(unit)
        return ports

    async def listening_inside(self, unit: UnitId) -> frozenset[int]:
        ports: frozenset[int] = frozenset()
        for driver in self._likely(unit):
            ports |= await driver.listening_inside(unit)
        return ports

    async def exits(self, after: int) -> AsyncIterator[UnitExit]:
        """The ends of every driver as they come. Only `after` 0 means something: their numbers are apart."""
        assert after == 0, "each driver numbers its own ends"
        queue: asyncio.Queue[UnitExit] = asyncio.Queue(maxsize=1)  # whoever reads slowly is waited for

        async def read(driver: Driver) -> None:
            async for end in driver.exits(0):
                await queue.put(end)

        readers = [asyncio.ensure_future(read(driver)) for driver in self._drivers]
        try:
            while True:
                yield await queue.get()
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def log(self, unit: UnitId, offset: int, limit: int) -> list[LogLine]:
        for driver in self._likely(unit):
            if lines := await driver.log(unit, offset, limit):
                return lines
        return []

    async def log_before(self, unit: UnitId, before: datetime, limit: int) -> list[LogLine]:
        for driver in self._likely(unit):
            if lines := await driver.log_before(unit, before, limit):
                return lines
        return []

    async def forget(self, unit: UnitId) -> None:
        for driver in self._likely(unit):
            await driver.forget(unit)
        self._homes.pop(unit, None)
        self._refused.pop(unit, None)

    async def discard_volume(self, volume: str) -> None:
        for driver in self._drivers:
            await driver.discard_volume(volume)

    async def info(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for driver in self._drivers:
            with suppress(Unavailable):
                found[driver.name] = await driver.info()
        return found

    async def close(self) -> None:
        for driver in self._drivers:
            await driver.close()

    async def _home(self, unit: UnitId) -> Driver:
        """The driver that has it. Raises `NotFound` where none does."""
        if unit not in self._homes and await self.status(unit) is None:
            raise NotFound(f"There is no unit {unit}.")
        return self._homes[unit]

    def _likely(self, unit: UnitId) -> Iterator[Driver]:
        """Where it is known to be, or was refused, or else everywhere."""
        home = self._homes.get(unit) or self._refused.get(unit)
        yield from self._drivers if home is None else (home,)
