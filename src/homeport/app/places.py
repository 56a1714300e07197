"""Where workloads can run, and by which names: what the operator says of it, and whether it answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from homeport.app.context import Context
from homeport.app.machines import driver_facts, one_machine
from homeport.core.errors import DriverMissing, DriverUnavailable
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.policy.inventory import Region


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRegion:
    """A name that `spec.region` may have, and the region that it means. `healthy`: its driver answers. `neighbours`:
    other regions that are the same machine."""

    name: str
    region: Region
    healthy: bool
    neighbours: tuple[str, ...] = ()

    @property
    def is_alias(self) -> bool:
        return self.name != self.region.name


async def list_locations(context: Context, principal: Principal) -> list[NamedRegion]:
    """Every region under its own name, then under its aliases."""
    require(principal, "locations:list")
    facts = await driver_facts(context)
    groups = one_machine(context.regions, facts)

    def neighbours(region: Region) -> tuple[str, ...]:
        return tuple(name for group in groups if region.name in group for name in group if name != region.name)

    return [
        NamedRegion(name=name, region=region, healthy=region.driver in facts, neighbours=neighbours(region))
        for region in context.regions
        for name in (region.name, *region.aliases)
    ]


def no_way_back(context: Context, region: str) -> str | None:
    """That programs there do not reach the gateway, in words; None where they do."""
    table = context.configuration.regions.get(region)
    if table is None or not table.remote or table.gateway_url:
        return None
    return (
        f"Programs in the region {region!r} do not reach the gateway: they call no other workload, and tasks read no "
        f"arguments. Give [regions.{region}] a gateway_url."
    )


async def missing_engines(context: Context) -> dict[str, str]:
    """By region, why its engine cannot be used before somebody has seen to it. One that has just gone is no reason to
    refuse anything: it may be back in a moment."""
    missing = {}
    for region in context.regions:
        if region.runs_images and (driver := context.drivers.get(region.driver)):
            try:
                await driver.units()
            except DriverMissing as error:
                missing[region.name] = error.for_caller()
            except DriverUnavailable:
                continue
    return missing


def list_regions(context: Context, principal: Principal) -> Sequence[Region]:
    require(principal, "configurations:list")
    return context.regions
