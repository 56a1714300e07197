"""Where workloads can run, and by which names: what the operator says of it, and whether it answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from homeport.app.context import Context
from homeport.core.errors import DriverUnavailable
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.policy.inventory import Region


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRegion:
    """A name that `spec.region` may have, and the region that it means. `healthy`: its driver answers."""

    name: str
    region: Region
    healthy: bool

    @property
    def is_alias(self) -> bool:
        return self.name != self.region.name


async def list_locations(context: Context, principal: Principal) -> list[NamedRegion]:
    """Every region under its own name, then under its aliases."""
    require(principal, "locations:list")
    silent = set()
    for name, driver in context.drivers.items():
        try:
            await driver.info()
        except DriverUnavailable:
            silent.add(name)
    return [
        NamedRegion(name=name, region=region, healthy=region.driver not in silent)
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


def list_regions(context: Context, principal: Principal) -> Sequence[Region]:
    require(principal, "configurations:list")
    return context.regions
