"""Locations on the wire (contract §2.14): what the operator says of each region."""

from homeport.wire.body import Reply


class Flavor(Reply):
    name: str
    type: str


class LocationResponse(Reply):
    """`continent` and `country` are absent until the operator says them."""

    region: str
    location: str
    status: str
    flavors: list[Flavor]
    continent: str | None = None
    country: str | None = None
