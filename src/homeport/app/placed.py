"""Which drivers have units of one workload: an engine that is away must not hold up what never ran on it."""

import asyncio
from collections.abc import Sequence
from typing import Any

from homeport.app.context import Context
from homeport.core.errors import HomeportError
from homeport.core.units import UnitStatus
from homeport.drivers.contract import Driver


async def units_of(context: Context, resource_uid: str) -> list[tuple[Driver, Sequence[UnitStatus]]]:
    """Each driver of a region in which the workload was placed, and the one that builds, with the workload's units.
    Raises `DriverUnavailable` where one of them is away: what it knows would be missing."""
    placed = await context.store.read(lambda tx: {revision.region for revision in tx.revisions.of(resource_uid)})
    others = {region.driver for region in context.regions if region.runs_images and region.name not in placed}
    asked = [driver for name, driver in context.drivers.items() if name not in others]
    return [
        (driver, [unit for unit in await driver.units() if unit.labels.get("resource") == resource_uid])
        for driver in asked
    ]


def engines_of(context: Context) -> frozenset[str]:
    """The names of the drivers that run images: without one of them everything else goes on."""
    return frozenset(region.driver for region in context.regions if region.runs_images)


async def ask_drivers(context: Context) -> dict[str, dict[str, Any] | HomeportError]:
    """What each driver says of itself, or why it does not, by its name. All are asked together: several that are away
    take as long as one. Raises what is no `HomeportError`."""

    async def ask(driver: Driver) -> dict[str, Any] | HomeportError:
        try:
            return await driver.info()
        except HomeportError as error:
            return error

    drivers = [*context.drivers.values()]
    answers = await asyncio.gather(*(ask(driver) for driver in drivers))
    return {driver.name: answer for driver, answer in zip(drivers, answers, strict=True)}
