"""Locations and configuration of the public contract: where workloads can run here, and by which names."""

from typing import Any

from fastapi import APIRouter

from homeport.api.bodies import JsonRoute
from homeport.api.dependencies import Caller, Ctx
from homeport.app.places import list_locations, list_regions
from homeport.core.errors import NotFound
from homeport.identity.roles import require
from homeport.policy.rules import CONTINENTS
from homeport.wire import places

router = APIRouter(prefix="/v0", tags=["locations"], route_class=JsonRoute)


@router.get("/locations", operation_id="ListLocations", responses={200: {"model": list[places.LocationResponse]}})
async def list_locations_route(ctx: Ctx, caller: Caller) -> Any:
    """Every name that `spec.region` may have. An alias says of which region it is one."""
    return [
        places.LocationResponse(
            region=named.name,
            status="healthy" if named.healthy else "unhealthy",
            flavors=[places.Flavor(name=flavor.name, type=flavor.type) for flavor in named.region.flavors],
            country=_upper(named.region.country),
            continent=_upper(named.region.continent),
            location=named.region.location,
            same_as=named.region.name if named.is_alias else None,
            same_machine_as=[*named.neighbours] or None,
        ).to_json()
        for named in await list_locations(ctx, caller)
    ]


@router.get("/configuration", operation_id="GetConfiguration", responses={200: {"model": places.Configuration}})
async def get_configuration_route(ctx: Ctx, caller: Caller) -> Any:
    """The places of this installation, as far as its operator has said them."""
    regions = list_regions(ctx, caller)
    countries = sorted({known for region in regions if (known := _upper(region.country))})
    continents = {_upper(region.continent) for region in regions}
    return places.Configuration(
        continents=[places.Continent(name=c, display_name=CONTINENTS[c]) for c in CONTINENTS if c in continents],
        countries=[places.Country(name=country, display_name=country) for country in countries],
        regions=[
            places.Region(
                name=name,
                country=_upper(region.country),
                continent=_upper(region.continent),
                location=region.location,
                same_as=None if name == region.name else region.name,
            )
            for region in regions
            for name in (region.name, *region.aliases)
        ],
        private_locations=[places.PrivateLocation(name=region.name) for region in regions],
        detected_region=regions[0].name if regions else "",
    ).to_json()


@router.get("/publicIps", include_in_schema=False)
async def list_public_ips_route(caller: Caller) -> None:
    """Workloads leave through this machine's own addresses, which Homeport does not know from outside."""
    require(caller, "admin")
    raise NotFound("Public IPs are not served by this version.")


def _upper(code: str | None) -> str | None:
    return code.upper() if code else None
